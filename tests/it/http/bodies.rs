//! Request and value bodies that are too large, too slow, or end early.

use std::io;

use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::metrics;
use crate::harness::setup::group;
use crate::testkit::http::{Answer, Connection, ask_raw, get, request};
use crate::testkit::wait::in_time;

/// More than the group `small` keeps of a value.
const LARGE_BYTES: usize = 100_000;

/// The rows that the claims ask for.
pub(super) fn rows() -> String {
    let row = |key: &str, bytes: usize| format!("{}\n", json!({"k": key, "v": "x".repeat(bytes)}));
    row("large", LARGE_BYTES) + &row("huge", 1 << 20)
}

/// The group that keeps small values only.
pub(super) fn groups() -> String {
    group("small", "ttl = '60s'\nmax_value_bytes = '4KiB'")
}

async fn assert_others_are_served(cluster: &Cluster) {
    assert_eq!(get(cluster.http(0), "/v1/scores/Tom").await.text(), "630");
}

pub(super) async fn a_body_said_to_be_too_large_is_refused_before_it_is_sent(cluster: &Cluster) {
    let head = "POST /v1/scores HTTP/1.1\r\nhost: test\r\ncontent-length: 100000000\r\n\r\n";
    let answer = ask_raw(cluster.http(0), head.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (413, "body-too-large")
    );
    assert!(answer.text().contains("1024 bytes"), "{}", answer.text());
    assert_others_are_served(cluster).await;
}

pub(super) async fn a_body_that_grows_too_large_is_refused(cluster: &Cluster) {
    let head = "POST /v1/scores HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024)).repeat(2);
    let answer = ask_raw(cluster.http(0), [head, &chunk].concat().as_bytes()).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (413, "body-too-large")
    );
    assert_others_are_served(cluster).await;
}

pub(super) async fn a_client_that_sends_all_of_a_large_body_first_still_reads_why_it_is_refused(
    cluster: &Cluster,
) {
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

pub(super) async fn a_body_that_does_not_arrive_in_time_is_refused(cluster: &Cluster) {
    let head = "POST /v1/scores HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n{\"keys\":";
    let answer = ask_raw(cluster.http(0), head.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (408, "body-too-slow")
    );
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert_others_are_served(cluster).await;
}

pub(super) async fn a_value_larger_than_the_group_keeps_is_served_and_not_stored(
    cluster: &Cluster,
) {
    for load in [1.0, 2.0] {
        let answer = get(cluster.http(0), "/v1/small/large").await;
        assert_eq!((answer.status, answer.body.len()), (200, LARGE_BYTES));
        assert!(answer.cache_status().contains("fwd=miss"), "{answer:?}");
        assert!(!answer.cache_status().contains("stored"), "{answer:?}");
        assert_eq!(cluster.loaded_in("small").await, load);
    }
}

pub(super) async fn a_value_larger_than_a_message_is_413_and_the_pipeline_goes_on(
    cluster: &Cluster,
) {
    let answer = get(cluster.http(0), "/v1/small/huge").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (413, "value-too-large")
    );
    assert_others_are_served(cluster).await;
    for node in 1..=3 {
        let peer = format!("peer=\"n{node}\"");
        let name = "gcache_pipeline_connects_total";
        let connects = metrics::sum(cluster.frontend_admin(0), name, &[&peer]).await;
        assert_eq!(connects, 1.0, "{peer}");
    }
}
