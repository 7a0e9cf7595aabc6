//! A node that stops answers what it was asked, waits for nobody else, and may still die on the way.

use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use gcache::rpc::proto::GetRequest;
use gcache::rpc::proto::cache_client::CacheClient;

use crate::harness::cluster::Cluster;
use crate::harness::grpc::connect;
use crate::harness::setup::Setup;
use crate::testkit::http::try_ask;
use crate::testkit::wait::{in_time, until};

const CALLERS: usize = 30;

async fn slow_cluster(frontends: usize) -> Cluster {
    // What is looked at here is how a node stops, not how it gives away what it owns before.
    let set = ["origin.memory_latency=2s", "node.leave_timeout=0ms"];
    let mut setup = Setup::with(&set);
    setup.frontends = frontends;
    Cluster::start(setup).await
}

/// Waits until so many calls have reached their nodes.
async fn calls_have_begun(cluster: &Cluster, calls: usize) {
    until("the loads have begun", async || {
        let begun = cluster.node_sum("gcache_node_calls_total", &[]).await;
        if begun >= calls as f64 {
            Ok(())
        } else {
            Err(begun)
        }
    })
    .await;
}

#[tokio::test]
async fn a_unary_look_up_that_waits_for_its_load_is_answered() {
    let mut cluster = slow_cluster(0).await;
    let owner = cluster.layout.owner("scores", "Tom");
    let mut client = CacheClient::new(connect(&cluster, owner).await);
    let request = GetRequest {
        group: "scores".into(),
        key: "Tom".into(),
    };
    let asked = tokio::spawn(async move { client.get(request).await });
    calls_have_begun(&cluster, 1).await;
    let node = cluster.nodes[owner].take().expect("it runs");
    node.signal(Signal::SIGTERM);
    let reply = in_time("the look-up ends", asked).await.unwrap();
    assert_eq!(reply.expect("it is answered").into_inner().value, "630");
    let ended = node.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn whoever_watches_its_health_learns_of_the_stop_and_does_not_hold_it_up() {
    let mut cluster = slow_cluster(0).await;
    let mut health = HealthClient::new(connect(&cluster, 0).await);
    let request = HealthCheckRequest {
        service: "gcache.v1.Cache".into(),
    };
    let mut watching = health.watch(request).await.unwrap().into_inner();
    let mut next = async || {
        let told = in_time("the health service tells", watching.message()).await;
        told.unwrap().map(|told| told.status())
    };
    assert_eq!(next().await, Some(ServingStatus::Serving));
    let node = cluster.nodes[0].take().expect("it runs");
    node.signal(Signal::SIGTERM);
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    let ended = node.ended().await;
    assert!(
        ended.stderr.contains("stopped") && !ended.stderr.contains("work in progress"),
        "{}",
        ended.stderr
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_freezes_while_it_stops_is_replaced_by_the_standbys() {
    let cluster = slow_cluster(1).await;
    let http = cluster.http(0);
    let mut asking = JoinSet::new();
    for row in 0..CALLERS {
        asking.spawn(async move { try_ask(http, "GET", &format!("/v1/scores/key-{row}")).await });
    }
    calls_have_begun(&cluster, CALLERS).await;
    let node = cluster.process(0);
    node.signal(Signal::SIGTERM);
    until("the frontend knows of the stop", async || {
        let log = cluster.frontends[0].stderr();
        if log.contains("node is stopping") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    node.signal(Signal::SIGSTOP);
    let answers = in_time("all are answered", asking.join_all()).await;
    let mut from_standby = 0;
    for answer in answers {
        let answer = answer.expect("it is answered");
        assert_eq!(answer.status, 200, "{answer:?}");
        from_standby += usize::from(answer.cache_status().contains("detail=standby"));
    }
    assert!(from_standby > 0, "the frozen node owned some of the keys");
}
