//! Processes that take who they are from the metadata of an ECS task.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::metrics;
use crate::harness::setup::Setup;
use crate::testkit::address::{ADMIN, Block};
use crate::testkit::process::{Ended, Process, Start};
use crate::testkit::wait::until;

/// The variable in which ECS tells where the metadata are.
pub(super) const VARIABLE: &str = "ECS_CONTAINER_METADATA_URI_V4";

/// The id of the task.
const TASK: &str = "e9028f8d5d8e4f258373e7b93ce9a3c3";

/// A task, its metadata endpoint and its files.
struct Tasked {
    folder: TempDir,
    block: Block,
    endpoint: String,
}

impl Tasked {
    /// A task in zone `us-west-2b` with the first node's address. Its endpoint fails twice before it
    /// answers.
    async fn start() -> Self {
        let (folder, block) = (tempfile::tempdir().expect("room for files"), Block::claim());
        std::fs::write(
            folder.path().join("rows.jsonl"),
            Setup::default().all_rows(),
        )
        .expect("the test's folder is writable");
        let endpoint = endpoint(TASK, block.node(0)).await;
        Self {
            folder,
            block,
            endpoint,
        }
    }

    fn gcache(&self, name: &str, env: &[(&str, &str)], args: &[&str]) -> Process {
        Start::new(name, self.folder.path()).env(env).gcache(args)
    }

    /// Starts a frontend, and waits until it says that it is in `zone`.
    async fn front(&self, number: usize, more: &[&str], zone: &str) {
        let host = self.block.frontend(number);
        let name = format!("f{number}");
        let text = host.to_string();
        let seed = self.block.node(0).to_string();
        let args = [&["frontend", "--host", &text, "--seeds", &seed], more].concat();
        let _frontend = self.gcache(&name, &[(VARIABLE, &self.endpoint)], &args);
        let label = format!("zone=\"{zone}\"");
        until(&format!("the frontend is in {zone}"), async || {
            let admin: SocketAddr = (host, ADMIN).into();
            match metrics::sum(admin, "gcache_process_info", &[&label]).await {
                1.0 => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
}

/// The metadata endpoint of a task in zone `us-west-2b`, whose container has this address.
pub(super) async fn endpoint(task: &str, address: Ipv4Addr) -> String {
    let task = json!({
        "TaskARN": format!("arn:aws:ecs:us-west-2:111122223333:task/default/{task}"),
        "AvailabilityZone": "us-west-2b",
        // A sidecar, which is not this process.
        "Containers": [{ "Networks": [{ "IPv4Addresses": ["192.0.2.3"] }] }],
    });
    let own = json!({
        "Networks": [{ "NetworkMode": "awsvpc", "IPv4Addresses": [address.to_string()] }],
    });
    format!("http://{}/v4/abc", serve(task, own).await)
}

/// Serves the metadata of a task and of its container.
async fn serve(task: Value, own: Value) -> SocketAddr {
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = move |body: Value| {
        let asked = Arc::clone(&asked);
        get(async move || match asked.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            _ => (StatusCode::OK, body.to_string()),
        })
    };
    let app = Router::new()
        .route("/v4/abc/task", answer(task))
        .route("/v4/abc", answer(own));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn a_node_takes_its_name_its_zone_and_its_address_from_its_task() {
    let tasked = Tasked::start().await;
    let seed = tasked.block.node(0).to_string();
    let args = [
        &["node", "--id", "from-task-metadata"][..],
        &["--host", "from-task-metadata", "--seeds", &seed],
        &["--data-dir", "data", "--origin", "memory:rows.jsonl"],
    ]
    .concat();
    let _node = tasked.gcache("node", &[(VARIABLE, &tasked.endpoint)], &args);
    let member = until("it is a member", async || {
        let args = ["cluster", "status", "--json", "--seeds", &seed];
        let ended: Ended = tasked.gcache("status", &[], &args).ended().await;
        let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        match status["members"].get(0) {
            Some(member) => Ok(member.clone()),
            None => Err(ended),
        }
    })
    .await;
    assert_eq!(member["name"], TASK);
    assert_eq!(member["zone"], "us-west-2b");
    assert_eq!(member["host"], json!(seed));
    assert!(
        tasked
            .folder
            .path()
            .join(format!("data/nodes/{TASK}"))
            .exists()
    );
    let args = ["healthcheck", "--host", "from-task-metadata"];
    let env = [(VARIABLE, tasked.endpoint.as_str())];
    let ended = tasked.gcache("health", &env, &args).ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let args = ["healthcheck", "--host", "here"];
    let ended = tasked.gcache("health", &env, &args).ended().await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("an IP address"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_zone_that_was_given_wins_over_the_one_of_the_task() {
    let tasked = Tasked::start().await;
    let id = ["--set", "process.id=from-task-metadata"];
    tasked.front(0, &id, "us-west-2b").await;
    tasked
        .front(1, &["--zone", "from-task-metadata"], "us-west-2b")
        .await;
    tasked
        .front(2, &[&id[..], &["--zone", "mine"]].concat(), "mine")
        .await;
    tasked.front(3, &[], "default").await;
}

#[tokio::test]
async fn a_process_that_cannot_learn_who_it_is_says_what_it_tried() {
    let tasked = Tasked::start().await;
    let args = [
        &["node", "--id", "from-task-metadata", "--seeds", "127.0.0.1"][..],
        &["--data-dir", "data", "--origin", "memory:rows.jsonl"],
    ]
    .concat();
    // Nobody listens there: the port belongs to no process.
    let closed = format!("http://{}:1/v4/abc", tasked.block.node(0));
    for (env, code, words) in [
        (&[][..], 2, &["process.id", VARIABLE, "give a value"][..]),
        (&[(VARIABLE, "ftp://x")], 2, &[VARIABLE, "http://"]),
        (
            &[(VARIABLE, closed.as_str())],
            1,
            &["tried 5 times", closed.as_str(), "/task"],
        ),
    ] {
        let ended = tasked.gcache("node", env, &args).ended().await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        for word in words {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
    }
}
