//! `gcache dev`: a whole cluster in one process, started with one command.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::harness::address::is_free;
use crate::harness::dev::{Dev, spawn};
use crate::harness::http::{Connection, ask, get};
use crate::harness::process::Ended;

async fn interrupt(dev: Dev) -> Ended {
    dev.process.signal(Signal::SIGINT);
    dev.process.ended().await
}

async fn reachable(dev: &Dev) -> f64 {
    dev.sum("gcache_pipeline_reachable_peers").await
}

#[tokio::test]
async fn the_sample_is_a_miss_and_then_a_hit() {
    let dev = Dev::start(&[]).await;
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
    assert_eq!(reachable(&dev).await, 3.0);
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
        told.elapsed() < Duration::from_secs(3),
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
