//! A process that is frozen, so that its connections stay open and nothing answers.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::cluster::Cluster;
use crate::harness::load::Load;
use crate::harness::setup::{Setup, value};
use crate::testkit::http::get;
use crate::testkit::wait::until;

const VICTIM: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_costs_no_request_and_is_used_again_when_it_thaws() {
    let cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(&cluster.all_http());
    load.go_on_for(2_000).await;
    cluster.process(VICTIM).signal(Signal::SIGSTOP);
    cluster.reached(2).await;
    load.go_on_for(4_000).await;
    assert!(load.detailed("standby") > 0, "standbys take its place");
    cluster.process(VICTIM).signal(Signal::SIGCONT);
    cluster.reached(3).await;
    let before = cluster.calls(VICTIM).await;
    until("the thawed node is asked again", async || {
        let calls = cluster.calls(VICTIM).await;
        if calls > before {
            Ok(())
        } else {
            Err((calls, before))
        }
    })
    .await;
    load.go_on_for(2_000).await;
    let report = load.stop().await;
    report.assert_none_failed();
}

#[tokio::test]
async fn a_frontend_that_was_frozen_does_not_blame_the_nodes() {
    // Longer than a ping may stay unanswered; the pause is what is tried, not waited for.
    const PAUSE: Duration = Duration::from_secs(1);
    let cluster = Cluster::start(Setup {
        frontends: 1,
        ..Setup::default()
    })
    .await;
    cluster.frontends[0].signal(Signal::SIGSTOP);
    tokio::time::sleep(PAUSE).await;
    cluster.frontends[0].signal(Signal::SIGCONT);
    for row in 0..100 {
        let answer = get(cluster.http(0), &format!("/v1/scores/key-{row}")).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, value(row)),
            "{answer:?}"
        );
        assert!(!answer.cache_status().contains("detail="), "{answer:?}");
    }
}

#[tokio::test]
async fn a_node_that_stays_frozen_until_its_stream_is_given_up_is_used_again() {
    let set = [
        "pipeline.ping_interval=10ms",
        "pipeline.ping_timeout=100ms",
        "pipeline.reconnect_max=100ms",
    ];
    let cluster = Cluster::start(Setup {
        frontends: 1,
        ..Setup::with(&set)
    })
    .await;
    let path = "/v1/scores/key-1";
    let owner = cluster.layout.owner("scores", "key-1");
    cluster.process(owner).signal(Signal::SIGSTOP);
    until("the frontend gives the stream up", async || {
        let log = cluster.frontends[0].stderr();
        let said = get(cluster.http(0), path).await;
        assert_eq!(said.status, 200, "{said:?}");
        // The kernel of a frozen node still accepts connections; a stream needs the node itself.
        let answer = get(cluster.frontend_admin(0), "/metrics").await.text();
        let unreachable = format!(
            "gcache_pipeline_reachable_peers{{peer=\"n{}\"}} 0",
            owner + 1
        );
        if answer.contains(&unreachable) {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    cluster.process(owner).signal(Signal::SIGCONT);
    until("the owner answers again", async || {
        let answer = get(cluster.http(0), path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        if answer.cache_status().contains("detail=") {
            Err(answer)
        } else {
            Ok(())
        }
    })
    .await;
}
