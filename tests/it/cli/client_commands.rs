//! `gcache get`, `del` and `healthcheck`: exit codes, and nothing but the result on stdout.

use crate::harness::cluster::Cluster;
use crate::harness::setup::{Setup, group};
use crate::testkit::address::Block;
use crate::testkit::http::get;
use crate::testkit::process::{Ended, Start};

async fn run(args: &[&str]) -> Ended {
    let folder = tempfile::tempdir().expect("the machine has room for files");
    let start = Start::new("command", folder.path());
    start.gcache(args).ended().await
}

/// Exits 1 with one line that says this, and nothing on stdout.
fn assert_failed(ended: &Ended, told: &str) {
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(1), ""),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.starts_with("gcache: "), "{}", ended.stderr);
    assert!(ended.stderr.contains(told), "{told:?} in {}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn get_prints_the_value_and_nothing_else() {
    let rows = format!("{}\n", serde_json::json!({"k": "a/b ü%", "v": "odd"}));
    let groups = group("scores", "ttl = '60s'") + &group("team-a", "ttl = '60s'");
    let cluster = Cluster::start(Setup {
        nodes: 1,
        frontends: 1,
        rows,
        groups,
        ..Setup::default()
    })
    .await;
    let url = format!("http://{}", cluster.http(0));
    let slash = format!("{url}/");
    for (group, key, url, value) in [
        ("scores", "Tom", &url, "630"),
        ("scores", "a/b ü%", &url, "odd"),
        ("scores", "Tom", &slash, "630"),
        ("team-a", "Tom", &url, "630"),
    ] {
        let ended = run(&["get", group, key, "--url", url]).await;
        let said = (ended.code, ended.stdout.as_str(), ended.stderr.as_str());
        assert_eq!(said, (Some(0), value, ""), "{group}/{key}");
    }
    for (group, key, told) in [
        (
            "scores",
            "nobody",
            "the origin has no such key (404 Not Found)",
        ),
        (
            "unknown",
            "Tom",
            "there is no group \"unknown\" (404 Not Found)",
        ),
        ("scores", "", "the key is empty"),
    ] {
        assert_failed(&run(&["get", group, key, "--url", &url]).await, told);
    }
}

#[tokio::test]
async fn del_deletes_and_says_nothing_and_fails_without_the_owner() {
    let mut cluster = Cluster::start(Setup {
        frontends: 1,
        ..Setup::default()
    })
    .await;
    let url = format!("http://{}", cluster.http(0));
    get(cluster.http(0), "/v1/scores/Tom").await;
    let ended = run(&["del", "scores", "Tom", "--url", &url]).await;
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(0), "", "")
    );
    let next = get(cluster.http(0), "/v1/scores/Tom").await;
    assert!(next.cache_status().contains("fwd=miss"), "{next:?}");
    let ended = run(&["del", "scores", "Tom", "--expire", "--url", &url]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));

    let owner = cluster.layout.owner("scores", "Tom");
    cluster.kill(&[owner]);
    cluster.reached(2).await;
    let ended = run(&["del", "scores", "Tom", "--url", &url]).await;
    assert_failed(&ended, "can be reached (503 Service Unavailable)");
}

#[tokio::test]
async fn a_url_where_nobody_answers_or_that_is_none_exits_1_and_is_named() {
    let block = Block::claim();
    let url = format!("http://{}:9999", block.frontend(0));
    assert_failed(&run(&["get", "scores", "Tom", "--url", &url]).await, &url);
    assert_failed(&run(&["del", "scores", "Tom", "--url", &url]).await, &url);
    assert_failed(
        &run(&["healthcheck", "--url", &url]).await,
        "Connection refused",
    );
    for url in [
        "https://localhost",
        "localhost:9999",
        "nonsense with spaces",
    ] {
        assert_failed(
            &run(&["get", "scores", "Tom", "--url", url]).await,
            "is not a usable URL",
        );
    }
}

#[tokio::test]
async fn healthcheck_tells_alive_from_ready() {
    let mut cluster = Cluster::start(Setup {
        frontends: 1,
        nodes: 1,
        ..Setup::default()
    })
    .await;
    let url = format!("http://{}", cluster.frontend_admin(0));
    for args in [
        &["healthcheck", "--url", &url][..],
        &["healthcheck", "--ready", "--url", &url],
    ] {
        let ended = run(args).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
            (Some(0), "", "")
        );
    }
    cluster.kill(&[0]);
    cluster.reached(0).await;
    assert_eq!(
        run(&["healthcheck", "--url", &url]).await.code,
        Some(0),
        "still alive"
    );
    let ended = run(&["healthcheck", "--ready", "--url", &url]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("none of 1 is reachable"),
        "{}",
        ended.stderr
    );
}
