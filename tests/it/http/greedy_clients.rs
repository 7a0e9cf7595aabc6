//! Clients that ask for more than they take do not cost the others their memory or their places.

use std::time::Duration;

use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::metrics;
use crate::harness::setup::{ROWS, Setup, value};
use crate::testkit::http::{Connection, ask_raw, get, request};
use crate::testkit::proc;
use crate::testkit::wait::{in_time, until};

const BIG: &str = "/v1/scores/big";
const BIG_BYTES: usize = 1 << 19;
const MEBIBYTE: u64 = 1 << 20;

/// Waits until the frontend has no client left.
async fn no_client_is_left(cluster: &Cluster) {
    until("the client is closed", async || {
        let open = metrics::sum(
            cluster.frontend_admin(0),
            "gcache_frontend_connections",
            &[],
        )
        .await;
        if open == 0.0 { Ok(()) } else { Err(open) }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_asks_on_and_on_and_reads_nothing_is_closed_and_takes_no_memory() {
    let cluster = Cluster::start(Setup {
        rows: format!("{{\"k\":\"big\",\"v\":\"{}\"}}\n", "x".repeat(BIG_BYTES)),
        nodes: 1,
        frontends: 1,
        ..Setup::with(&["frontend.write_timeout=1s"])
    })
    .await;
    assert_eq!(get(cluster.http(0), BIG).await.text().len(), BIG_BYTES);
    let mut greedy = Connection::open(cluster.http(0)).await.unwrap();
    // Answered whole, these would be a gigabyte.
    let asked = request("GET", BIG, &[], b"").repeat(2 * 1024);
    // The frontend may close before it has read all of it.
    let _whole_or_not = tokio::time::timeout(Duration::from_secs(1), greedy.send(&asked)).await;
    no_client_is_left(&cluster).await;
    let peak = proc::peak_bytes(cluster.frontends[0].id()).expect("it runs");
    assert!(peak < 200 * MEBIBYTE, "it took {} MiB", peak / MEBIBYTE);
    assert_eq!(get(cluster.http(0), "/v1/scores/Tom").await.text(), "630");
}

pub(super) async fn the_values_of_one_answer_to_many_keys_are_bounded_together(cluster: &Cluster) {
    const BOUND: usize = 1024;
    let keys: Vec<_> = (0..ROWS).map(|row| format!("key-{row}")).collect();
    let body = json!({ "keys": keys }).to_string();
    let answer = ask_raw(
        cluster.http(0),
        &request("POST", "/v1/scores", &[], body.as_bytes()),
    )
    .await
    .json();
    let (mut bytes, mut too_large) = (0, 0);
    for (row, result) in answer["results"].as_array().unwrap().iter().enumerate() {
        if result["status"] == 200 {
            assert_eq!(result["value"], value(row));
            bytes += value(row).len();
        } else {
            assert_eq!(
                result["problem"]["type"],
                "urn:gcache:problem:values-too-large"
            );
            too_large += 1;
        }
    }
    assert!((BOUND - 10..=BOUND).contains(&bytes), "{bytes} bytes");
    assert!(too_large > ROWS / 2, "{too_large} did not fit");
}

pub(super) async fn a_grpc_connection_that_does_not_begin_loses_its_place(cluster: &Cluster) {
    let mut silent = Connection::open(cluster.grpc(0)).await.unwrap();
    let mut begun = Connection::open(cluster.grpc(0)).await.unwrap();
    begun.send(b"PRI * HTTP/2.0").await.unwrap();
    // An end and a reset both close them.
    let closed = async { tokio::join!(silent.rest(), begun.rest()) };
    let _closed_either_way = in_time("both are closed", closed).await;
}
