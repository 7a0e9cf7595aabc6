//! Request and value bodies that are too large, too slow, or end early.

use std::io;

use crate::harness::cluster::Cluster;
use crate::harness::metrics;
use crate::harness::setup::{Setup, group};
use crate::testkit::http::{Answer, Connection, ask_raw, get, request};
use crate::testkit::wait::in_time;

async fn assert_others_are_served(cluster: &Cluster) {
    assert_eq!(get(cluster.http(0), "/v1/scores/Tom").await.text(), "630");
}

#[tokio::test]
async fn a_body_said_to_be_too_large_is_refused_before_it_is_sent() {
    let cluster = Cluster::start(Setup::with(&["frontend.max_body_bytes=1KiB"])).await;
    let head = "POST /v1/scores HTTP/1.1\r\nhost: test\r\ncontent-length: 100000000\r\n\r\n";
    let answer = ask_raw(cluster.http(0), head.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (413, "body-too-large")
    );
    assert!(answer.text().contains("1024 bytes"), "{}", answer.text());
    assert_others_are_served(&cluster).await;
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused() {
    let cluster = Cluster::start(Setup::with(&["frontend.max_body_bytes=1KiB"])).await;
    let head = "POST /v1/scores HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024)).repeat(2);
    let answer = ask_raw(cluster.http(0), [head, &chunk].concat().as_bytes()).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (413, "body-too-large")
    );
    assert_others_are_served(&cluster).await;
}

#[tokio::test]
async fn a_client_that_sends_all_of_a_large_body_first_still_reads_why_it_is_refused() {
    let cluster = Cluster::start(Setup::default()).await;
    for round in 0..10 {
        let exchange = async {
            let mut connection = Connection::open(cluster.http(0)).await?;
            let body = vec![b' '; 2 << 20];
            // Its writing may fail once the server has had enough; what counts is what it reads.
            let _sent = connection
                .send(&request("POST", "/v1/scores", &[], &body))
                .await;
            connection.answer().await
        };
        let answer: io::Result<Answer> = in_time("a large body is answered", exchange).await;
        let answer = answer.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (413, "body-too-large")
        );
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let cluster = Cluster::start(Setup::with(&["frontend.body_timeout=200ms"])).await;
    let head = "POST /v1/scores HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n{\"keys\":";
    let answer = ask_raw(cluster.http(0), head.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (408, "body-too-slow")
    );
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert_others_are_served(&cluster).await;
}

#[tokio::test]
async fn a_value_larger_than_the_group_keeps_is_served_and_not_stored() {
    let value = "x".repeat(100_000);
    let rows = format!("{}\n", serde_json::json!({"k": "large", "v": value}));
    let groups = group("scores", "ttl = '60s'\nmax_value_bytes = '4KiB'");
    let cluster = Cluster::start(Setup {
        groups,
        rows,
        ..Setup::default()
    })
    .await;
    for load in [1.0, 2.0] {
        let answer = get(cluster.http(0), "/v1/scores/large").await;
        assert_eq!((answer.status, answer.body.len()), (200, value.len()));
        assert!(answer.cache_status().contains("fwd=miss"), "{answer:?}");
        assert!(!answer.cache_status().contains("stored"), "{answer:?}");
        assert_eq!(cluster.loaded_keys().await, load);
    }
}

#[tokio::test]
async fn a_value_larger_than_a_message_is_413_and_the_pipeline_goes_on() {
    let value = "x".repeat(1 << 20);
    let rows = format!("{}\n", serde_json::json!({"k": "large", "v": value}));
    let groups = group("scores", "ttl = '60s'\nmax_value_bytes = '4KiB'");
    let set = ["pipeline.max_message=256KiB"];
    let cluster = Cluster::start(Setup {
        groups,
        rows,
        ..Setup::with(&set)
    })
    .await;
    let answer = get(cluster.http(0), "/v1/scores/large").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (413, "value-too-large")
    );
    assert_others_are_served(&cluster).await;
    for node in 1..=3 {
        let peer = format!("peer=\"n{node}\"");
        let name = "gcache_pipeline_connects_total";
        let connects = metrics::sum(cluster.frontend_admin(0), name, &[&peer]).await;
        assert_eq!(connects, 1.0, "{peer}");
    }
}
