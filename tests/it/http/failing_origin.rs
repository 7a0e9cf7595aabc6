//! An origin that fails, hangs or refuses, and what is served all the same.

use crate::harness::cluster::Cluster;
use crate::harness::setup::{Setup, group};
use crate::testkit::http::get;
use crate::testkit::wait::until;

/// A group that the origin lacks.
pub(super) fn groups() -> String {
    group("lacking", "ttl = '60s'").replace("'rows'", "'nowhere'")
}

const TOM: &str = "/v1/scores/Tom";

#[tokio::test]
async fn an_origin_that_fails_is_503_and_is_remembered_for_a_moment() {
    let cluster = Cluster::start(Setup {
        nodes: 1,
        ..Setup::with(&["origin.memory_failure_ratio=1.0"])
    })
    .await;
    let answer = get(cluster.http(0), TOM).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "origin-unavailable")
    );
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    let again = get(cluster.http(1), TOM).await;
    assert_eq!(again.status, 503, "{again:?}");
    assert_eq!(
        cluster.loaded_keys().await,
        1.0,
        "the second was not asked of the origin"
    );
}

#[tokio::test]
async fn an_origin_that_hangs_is_504_after_its_timeout() {
    let set = ["origin.memory_hang_ratio=1", "origin.timeout=200ms"];
    let cluster = Cluster::start(Setup {
        nodes: 1,
        frontends: 1,
        ..Setup::with(&set)
    })
    .await;
    let answer = get(cluster.http(0), TOM).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (504, "origin-timeout")
    );
    let timeouts = ["outcome=\"timeout\""];
    assert_eq!(
        cluster
            .node_sum("gcache_origin_loaded_keys_total", &timeouts)
            .await,
        1.0
    );
}

pub(super) async fn a_slow_origin_is_not_an_unreachable_owner(cluster: &Cluster) {
    let answer = get(cluster.http(0), "/v1/slow/Tom").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "630"),
        "{answer:?}"
    );
    assert!(!answer.cache_status().contains("detail="), "{answer:?}");
    assert_eq!(cluster.loaded_in("slow").await, 1.0);
}

pub(super) async fn a_group_that_the_origin_lacks_is_502_and_the_others_are_served(
    cluster: &Cluster,
) {
    let answer = get(cluster.http(0), "/v1/lacking/Tom").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (502, "bad-statement")
    );
    assert_eq!(get(cluster.http(0), TOM).await.text(), "630");
    let told = "lacking cannot be loaded: no table \"nowhere\"";
    until("the node tells, and is ready all the same", async || {
        let said = get(cluster.node_admin(0), "/readyz?verbose").await;
        assert_eq!(said.status, 200);
        said.text().contains(told).then_some(()).ok_or(said.text())
    })
    .await;
}

#[tokio::test]
async fn a_value_outlives_failures_of_its_origin() {
    // Half of the loads fail. Once there is a value, each refresh that fails falls back to it.
    let groups = group(
        "scores",
        "ttl = '10ms'\nstale_if_error = '1h'\nerror_ttl = '100ms'",
    );
    let set = ["origin.memory_failure_ratio=0.5"];
    let cluster = Cluster::start(Setup {
        nodes: 1,
        frontends: 1,
        groups,
        ..Setup::with(&set)
    })
    .await;
    let http = cluster.http(0);
    until("the first load succeeds", async || {
        let answer = get(http, TOM).await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    until("a refresh fails", async || {
        let answer = get(http, TOM).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "630"),
            "{answer:?}"
        );
        if answer.cache_status().ends_with("detail=stale-if-error") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
}
