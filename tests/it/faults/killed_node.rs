//! A node that is killed under load costs no request, and is used again when it is back.

use tokio::task::JoinSet;

use crate::harness::cluster::Cluster;
use crate::harness::load::Load;
use crate::harness::setup::{ROWS, Setup, value};
use crate::testkit::http::{Answer, get};
use crate::testkit::wait::{in_time, until};

/// The first row whose key this node owns.
fn row_of(cluster: &Cluster, node: usize) -> usize {
    let owned = |row: &usize| cluster.layout.owner("scores", &format!("key-{row}")) == node;
    (0..ROWS)
        .find(owned)
        .expect("every node owns some of a thousand keys")
}

async fn ask_for(cluster: &Cluster, row: usize) -> Answer {
    get(cluster.http(0), &format!("/v1/scores/key-{row}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_costs_no_request_and_is_used_again_when_it_is_back() {
    const VICTIM: usize = 1;
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(&cluster.all_http());
    load.go_on_for(2_000).await;
    assert!(cluster.calls(VICTIM).await > 0.0, "the victim is in use");
    cluster.kill(&[VICTIM]);
    // Also while it stays dead.
    load.go_on_for(4_000).await;
    cluster.restart_node(VICTIM).await;
    cluster.reached(3).await;
    load.go_on_for(2_000).await;
    let report = load.stop().await;
    report.assert_none_failed();
    assert!(
        report.detailed("standby") > 0,
        "standbys took its place: {report:#?}"
    );

    let calls = cluster.calls(VICTIM).await;
    assert!(calls > 0.0, "it was used again under load");
    // On a slow machine it was away for so long that others own what it had, for a while.
    cluster.complete().await;
    let row = row_of(&cluster, VICTIM);
    let before = cluster.calls(VICTIM).await;
    let answer = ask_for(&cluster, row).await;
    assert!(!answer.cache_status().contains("detail="), "{answer:?}");
    assert_eq!(cluster.calls(VICTIM).await, before + 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_the_many_requests_that_wait_for_a_killed_owner_fails() {
    const WAITING: usize = 500;
    let set = ["origin.memory_latency=1s"];
    let mut cluster = Cluster::start(Setup {
        frontends: 1,
        ..Setup::with(&set)
    })
    .await;
    let (http, row) = (cluster.http(0), row_of(&cluster, 0));
    let mut asking = JoinSet::new();
    for _ in 0..WAITING {
        asking.spawn(async move { get(http, &format!("/v1/scores/key-{row}")).await });
    }
    until("all of them wait for the owner", async || {
        let calls = cluster.calls(0).await;
        if calls == WAITING as f64 {
            Ok(())
        } else {
            Err(calls)
        }
    })
    .await;
    cluster.kill(&[0]);
    let answers = in_time("all of them are answered", asking.join_all()).await;
    let failed: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status != 200)
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {WAITING} failed, such as {:?}",
        failed.len(),
        failed[0]
    );
    assert_eq!(
        cluster.loaded_keys().await,
        1.0,
        "the standby's load serves all of them"
    );
}

#[tokio::test]
async fn an_owner_known_to_be_dead_costs_no_second_attempt() {
    let set = [
        "frontend.retry_ratio=0.0",
        "frontend.retry_floor_per_second=0",
    ];
    let mut cluster = Cluster::start(Setup::with(&set)).await;
    let row = row_of(&cluster, 0);
    cluster.kill(&[0]);
    cluster.reached(2).await;
    for _ in 0..100 {
        let answer = ask_for(&cluster, row).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, value(row)),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn the_standby_of_a_dead_owner_coalesces_and_keeps_what_it_loads_for_a_moment() {
    let mut cluster = Cluster::start(Setup::with(&["origin.memory_latency=300ms"])).await;
    let row = row_of(&cluster, 0);
    cluster.kill(&[0]);
    cluster.reached(2).await;
    let (one, other) = tokio::join!(ask_for(&cluster, row), ask_for(&cluster, row));
    for answer in [&one, &other] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer.cache_status().ends_with("detail=standby"),
            "{answer:?}"
        );
    }
    let kept = ask_for(&cluster, row).await;
    assert!(kept.cache_status().contains("hit"), "{kept:?}");
    assert_eq!(cluster.loaded_keys().await, 1.0);
    // Two seconds after its load began it is too old to stand for the owner's.
    until("the standby's copy is loaded again", async || {
        let answer = ask_for(&cluster, row).await;
        if answer.cache_status().contains("fwd=") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    assert_eq!(cluster.loaded_keys().await, 2.0);
}
