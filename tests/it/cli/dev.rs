//! `gcache dev`: a whole cluster in one process, started with one command.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::Instant;

use crate::harness::claims::claims;
use crate::harness::dev::{Dev, spawn};
use crate::testkit::address::is_free;
use crate::testkit::http::{Connection, ask, get};
use crate::testkit::process::Ended;

/// Below the grace of 10 s, also on a starved machine.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

async fn interrupt(dev: Dev) -> Ended {
    dev.process.signal(Signal::SIGINT);
    dev.process.ended().await
}

async fn reachable(dev: &Dev) -> f64 {
    dev.sum("gcache_pipeline_reachable_peers").await
}

#[tokio::test]
async fn the_sample_and_what_operators_see_of_one_dev() {
    claims!(Dev::start(&[]).await;
        the_sample_is_a_miss_and_then_a_hit,
        its_nodes_are_three_voters_that_operators_commands_reach,
    );
}

async fn the_sample_is_a_miss_and_then_a_hit(dev: &Dev) {
    let first = get(dev.http, "/v1/scores/Tom").await;
    assert_eq!(
        (first.status, first.text().as_str()),
        (200, "630"),
        "{first:?}"
    );
    assert!(first.cache_status().contains("fwd=miss"), "{first:?}");
    let second = get(dev.http, "/v1/scores/Tom").await;
    assert_eq!(second.text(), "630");
    assert!(second.cache_status().contains("hit"), "{second:?}");
    assert_eq!(ask(dev.http, "DELETE", "/v1/scores/Tom").await.status, 204);
    let third = get(dev.http, "/v1/scores/Tom").await;
    assert!(third.cache_status().contains("fwd=miss"), "{third:?}");
    assert_eq!(reachable(dev).await, 3.0);
}

#[tokio::test]
async fn what_the_banner_says_can_be_typed_and_stdout_holds_nothing_else() {
    let dev = Dev::start(&[]).await;
    let banner = dev.process.stdout();
    assert!(
        banner.starts_with("gcache dev: 3 nodes and a frontend over "),
        "{banner}"
    );
    let lines: Vec<_> = banner
        .lines()
        .filter(|line| line.trim_start().starts_with("curl"))
        .collect();
    assert_eq!(lines.len(), 3, "{banner}");
    for line in lines {
        assert!(
            line.contains(&format!("http://{}/v1/scores/Tom", dev.http)),
            "{line}"
        );
    }
    assert_eq!(get(dev.http, "/openapi.json").await.status, 200);
    assert_eq!(get(dev.admin, "/metrics").await.status, 200);
    let ended = interrupt(dev).await;
    assert_eq!(ended.stdout, banner, "nothing was added to stdout");
}

async fn its_nodes_are_three_voters_that_operators_commands_reach(dev: &Dev) {
    let status = dev.json(&["cluster", "status"]).await;
    let members = status["members"].as_array().unwrap();
    let zones: BTreeSet<_> = members
        .iter()
        .map(|member| member["zone"].as_str())
        .collect();
    assert_eq!((members.len(), zones.len()), (3, 3), "{status}");
    assert_eq!(status["quorum"], true, "{status}");
    for member in members {
        assert_eq!(member["status"], "up", "{status}");
        assert_ne!(member["role"], "learner", "{status}");
        let owned = member["partitions"].as_u64().unwrap();
        assert!((1365..=1366).contains(&owned), "{status}");
    }
    // Whoever was told that it is ready asks owners that may act.
    for name in ["Tom", "Jack", "Sam", "Ada", "Grace", "Edsger"] {
        let answer = get(dev.http, &format!("/v1/scores/{name}")).await;
        assert!(!answer.cache_status().contains("detail="), "{answer:?}");
    }
    let reset = dev.json(&["group", "reset", "scores"]).await;
    assert_eq!(reset["group"], "scores");
    let again = get(dev.http, "/v1/scores/Tom").await;
    assert!(again.cache_status().contains("fwd=miss"), "{again:?}");
    // Every node has the metrics of its own Raft.
    let metrics = get(dev.admin, "/metrics").await.text();
    for node in 1..=3 {
        let term = format!("gcache_raft_current_term{{node=\"node-{node}\"}}");
        assert!(metrics.contains(&term), "{term} in {metrics}");
    }
}

#[tokio::test]
async fn a_data_directory_that_is_kept_holds_the_same_cluster_the_next_time() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("data").display().to_string();
    let first = Dev::start(&["--data-dir", &path]).await;
    let before = first.json(&["cluster", "status"]).await;
    let more = "[groups.more]\ntable='dev'\nkey_column='name'\nvalue_column='score'\nttl='1m'\n";
    std::fs::write(first.folder.path().join("more.toml"), more).unwrap();
    first.json(&["group", "apply", "more.toml"]).await;
    assert_eq!(interrupt(first).await.code, Some(0));
    let second = Dev::start(&["--data-dir", &path]).await;
    let after = second.json(&["cluster", "status"]).await;
    assert_eq!(after["cluster"], before["cluster"], "{after}");
    let names = |status: &Value| {
        let members = status["members"].as_array().unwrap().iter();
        let names = members.map(|member| (member["id"].clone(), member["name"].clone()));
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&after), names(&before));
    // Nothing was changed by starting it again, and what an operator applied is still there.
    let groups = second.json(&["group", "list"]).await;
    assert_eq!(groups["revision"], 2, "{groups}");
    for group in ["scores", "more"] {
        let answer = get(second.http, &format!("/v1/{group}/Tom")).await;
        assert_eq!(answer.text(), "630", "{group}");
    }
    assert_eq!(interrupt(second).await.code, Some(0));
    let folder = tempfile::tempdir().unwrap();
    let fewer = spawn(&folder, &[], &["--data-dir", &path, "--nodes", "2"]);
    let ended = fewer.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("has 3 nodes: give --nodes 3"),
        "{}",
        ended.stderr
    );
    let four = Dev::start(&["--data-dir", &path, "--nodes", "4"]).await;
    let grown = four.json(&["cluster", "status"]).await;
    assert_eq!(grown["cluster"], before["cluster"]);
    assert_eq!(grown["members"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn without_a_data_directory_nothing_is_left() {
    let dev = Dev::start(&[]).await;
    let banner = dev.process.stdout();
    let data = banner
        .lines()
        .find_map(|line| line.trim().strip_prefix("data"));
    let data = data.unwrap().trim().split(',').next().unwrap().to_owned();
    assert!(Path::new(&data).join("nodes/node-1").is_dir(), "{data}");
    assert_eq!(interrupt(dev).await.code, Some(0));
    assert!(!Path::new(&data).exists(), "{data}");
}

#[tokio::test]
async fn ctrl_c_ends_it_with_0_soon_and_frees_its_ports() {
    let dev = Dev::start(&[]).await;
    let (http, admin) = (dev.http, dev.admin);
    let mut idle = Connection::open(http).await.unwrap();
    assert_eq!(idle.ask("GET", "/v1/scores/Tom").await.unwrap().status, 200);
    let told = Instant::now();
    let ended = interrupt(dev).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        told.elapsed() < ENDS_WITHIN,
        "{:?}: {}",
        told.elapsed(),
        ended.stderr
    );
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ERROR"), "{}", ended.stderr);
    for address in [http, admin] {
        assert!(is_free(address), "{address}");
    }
}

#[tokio::test]
async fn one_node_is_enough_and_five_share_the_keys() {
    for nodes in [1, 5] {
        let dev = Dev::start(&[
            "--nodes",
            &nodes.to_string(),
            "--set",
            "origin.memory_latency=0ms",
        ])
        .await;
        for name in ["Tom", "Jack", "Sam", "Ada", "Grace", "Edsger"] {
            let answer = get(dev.http, &format!("/v1/scores/{name}")).await;
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
        }
        assert_eq!(reachable(&dev).await, f64::from(nodes));
        assert_eq!(interrupt(dev).await.code, Some(0));
    }
}

#[tokio::test]
async fn own_groups_and_rows_take_the_place_of_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("people.csv");
    let groups = folder.path().join("groups.toml");
    std::fs::write(&rows, "id,name\n1,Tom\n2,\"a, b\"\n").unwrap();
    let text = "[groups.people]\ntable='people'\nkey_column='id'\nvalue_column='name'\nttl='1m'\n";
    std::fs::write(&groups, text).unwrap();
    let origin = format!("memory:{}", rows.display());
    let dev = Dev::start(&["--origin", &origin, "--groups", groups.to_str().unwrap()]).await;
    assert_eq!(get(dev.http, "/v1/people/2").await.text(), "a, b");
    assert_eq!(
        get(dev.http, "/v1/scores/Tom").await.problem(),
        "no-such-group"
    );
    assert!(dev.folder.path().exists());
}

#[tokio::test]
async fn an_origin_that_cannot_be_read_is_a_usage_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("short.csv"), "name,score\nTom\n").unwrap();
    for (origin, told) in [
        ("memory:nowhere.csv", "nowhere.csv: No such file"),
        ("memory:short.csv", "short.csv:2:"),
        ("memory:short.txt", ".csv, .jsonl or .ndjson"),
        ("postgres://u:secret@db/x", "give --groups FILE"),
        ("postgres://u:secret@db/x?sslmode=allow", "sslmode"),
        (
            "postgres://u:secret@db/x?sslmode=verify-full&sslrootcert=none.pem",
            "none.pem",
        ),
        ("mysql://db/x", "expected \"memory:FILE\""),
    ] {
        std::fs::write(folder.path().join("short.txt"), "").unwrap();
        let ended = spawn(&folder, &[], &["--origin", origin]).ended().await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{origin}: {}",
            ended.stderr
        );
        assert!(ended.stderr.contains(told), "{origin}: {}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_number_of_nodes_that_cannot_be_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    for nodes in ["0", "-1", "1000000", "three"] {
        let ended = spawn(&folder, &[], &[&format!("--nodes={nodes}")])
            .ended()
            .await;
        assert_eq!(ended.code, Some(2), "{nodes}: {}", ended.stderr);
    }
}
