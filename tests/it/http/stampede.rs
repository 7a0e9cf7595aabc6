//! Ten thousand clients at once.

use std::process::Command;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::cluster::Cluster;
use crate::harness::metrics;
use crate::harness::setup::Setup;
use crate::testkit::http::{Connection, get};
use crate::testkit::process::Start;
use crate::testkit::wait::{PATIENCE, in_time, until};

const CLIENTS: usize = 10_000;

/// Connections that are being opened at once: below the kernel's backlog, beyond which a SYN is lost
/// and comes again a second later.
const OPENING: usize = 256;

/// Every client is a socket of this process.
fn raise_open_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has this limit");
    assert!(
        hard > CLIENTS as u64 + 1000,
        "open files are limited to {hard}"
    );
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit it may be raised");
}

async fn connect_all(cluster: &Cluster) -> Vec<Connection> {
    let places = Arc::new(Semaphore::new(OPENING));
    let mut opening = JoinSet::new();
    for client in 0..CLIENTS {
        let (places, http) = (Arc::clone(&places), cluster.http(client % 2));
        opening.spawn(async move {
            let _place = places.acquire_owned().await.expect("nobody closes it");
            Connection::open(http)
                .await
                .expect("a place among the connections")
        });
    }
    in_time("all clients connect", opening.join_all()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_clients_of_one_cold_key_are_one_load_and_no_error() {
    raise_open_files();
    // On a starved machine a node may be silent for longer than the usual 300 ms: then it counts as
    // unreachable and its standby loads too, which is right and not what is claimed here.
    let set = ["origin.memory_latency=3s", "pipeline.ping_timeout=5s"];
    let cluster = Cluster::start(Setup::with(&set)).await;
    let mut asking = JoinSet::new();
    for mut connection in connect_all(&cluster).await {
        asking.spawn(async move { connection.ask("GET", "/v1/scores/Tom").await });
    }
    let answers = in_time("all clients are answered", asking.join_all()).await;
    let mut collapsed = 0;
    for answer in &answers {
        let answer = answer
            .as_ref()
            .unwrap_or_else(|error| panic!("a client has no answer: {error}"));
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "630"),
            "{answer:?}"
        );
        collapsed += usize::from(answer.cache_status().contains("collapsed"));
    }
    assert_eq!(answers.len(), CLIENTS);
    assert_eq!(cluster.loaded_keys().await, 1.0);
    assert!(
        collapsed > CLIENTS / 2,
        "only {collapsed} came while the load ran: no stampede"
    );
}

pub(super) async fn a_frontend_takes_more_clients_than_its_soft_limit_of_open_files(
    cluster: &Cluster,
) {
    raise_open_files();
    let args = format!(
        "frontend --host 127.0.0.1 --port 0 --admin-port 0 --seeds {}",
        cluster.seeds()
    );
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &format!("ulimit -Sn 128; exec \"$0\" {args}")])
        .arg(env!("CARGO_BIN_EXE_gcache"));
    let frontend = Start::new("limited", cluster.folder()).spawn(shell);
    let http = until("the frontend says where it listens", async || {
        let log = frontend.stderr();
        let address = log
            .split("address=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        address.and_then(|address| address.parse().ok()).ok_or(log)
    })
    .await;
    let mut held = Vec::new();
    for client in 0..300 {
        let mut connection = Connection::open(http).await.unwrap();
        let asked = tokio::time::timeout(PATIENCE, connection.ask("GET", "/livez"));
        let answer = asked
            .await
            .unwrap_or_else(|_| panic!("client {client} is not served"));
        assert_eq!(answer.unwrap().text(), "alive\n");
        held.push(connection);
    }
}

pub(super) async fn more_clients_than_a_frontend_takes_wait_for_a_place(cluster: &Cluster) {
    let http = cluster.http(0);
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut connection = Connection::open(http).await.unwrap();
        assert_eq!(connection.ask("GET", "/livez").await.unwrap().status, 200);
        held.push(connection);
    }
    let waiting = tokio::spawn(async move { get(http, "/v1/scores/Tom").await });
    let open = metrics::sum(
        cluster.frontend_admin(0),
        "gcache_frontend_connections",
        &[],
    )
    .await;
    assert_eq!(open, 10.0);
    held.pop();
    let answer = in_time("the waiting client is served", waiting).await;
    assert_eq!(answer.unwrap().text(), "630");
}

pub(super) async fn callers_beyond_the_bound_of_one_load_are_refused_at_once(cluster: &Cluster) {
    const CALLERS: usize = 50;
    let mut asking = JoinSet::new();
    for caller in 0..CALLERS {
        let http = cluster.http(caller % 2);
        asking.spawn(async move { get(http, "/v1/crowded/Tom").await });
    }
    let answers = in_time("all callers are answered", asking.join_all()).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((served.len(), refused.len()), (10, CALLERS - 10));
    for answer in refused {
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (503, "overloaded")
        );
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    }
    assert_eq!(cluster.loaded_in("crowded").await, 1.0);
}
