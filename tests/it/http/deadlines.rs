//! A request has one deadline; a load outlives the requests that wait for it.

use crate::harness::cluster::Cluster;
use crate::harness::setup::Setup;
use crate::testkit::http::{Connection, get};
use crate::testkit::wait::until;

const TOM: &str = "/v1/scores/Tom";

#[tokio::test]
async fn a_request_whose_deadline_passes_is_504_and_its_load_fills_the_cache() {
    let set = ["frontend.deadline=100ms", "origin.memory_latency=500ms"];
    let cluster = Cluster::start(Setup {
        nodes: 1,
        ..Setup::with(&set)
    })
    .await;
    let answer = get(cluster.http(0), TOM).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (504, "deadline")
    );
    until("the load fills the cache", async || {
        let answer = get(cluster.http(1), TOM).await;
        if answer.status == 200 && answer.cache_status().contains("hit") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    assert_eq!(cluster.loaded_keys().await, 1.0);
}

pub(super) async fn a_load_goes_on_when_all_its_callers_have_left(cluster: &Cluster) {
    for http in cluster.all_http() {
        let mut leaving = Connection::open(http).await.unwrap();
        leaving
            .send(b"GET /v1/scores/Tom HTTP/1.1\r\nhost: test\r\n\r\n")
            .await
            .unwrap();
        until("its call has reached the node", async || {
            let calls = cluster.calls_in("scores").await;
            if calls > 0.0 { Ok(()) } else { Err(calls) }
        })
        .await;
    }
    until("the load fills the cache", async || {
        let answer = get(cluster.http(0), TOM).await;
        if answer.cache_status().contains("hit") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    assert_eq!(cluster.loaded_in("scores").await, 1.0);
}
