//! SIGTERM: a process ends with 0, soon, and what was asked of it is answered.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::harness::cluster::Cluster;
use crate::harness::load::Load;
use crate::harness::setup::Setup;
use crate::testkit::address::is_free;
use crate::testkit::http::{Connection, get, try_ask};
use crate::testkit::wait::{in_time, until};

/// Below the grace of 10 s, also on a starved machine.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

const TOM: &str = "/v1/scores/Tom";

#[tokio::test]
async fn a_frontend_that_is_stopped_answers_what_it_was_asked_and_ends_with_0() {
    let set = ["origin.memory_latency=1s"];
    let mut cluster = Cluster::start(Setup {
        frontends: 1,
        ..Setup::with(&set)
    })
    .await;
    let http = cluster.http(0);
    let mut idle = Connection::open(http).await.unwrap();
    assert_eq!(idle.ask("GET", "/livez").await.unwrap().status, 200);
    let asked = tokio::spawn(async move { try_ask(http, "GET", TOM).await });
    until("the load has begun", async || {
        let calls = cluster.node_sum("gcache_node_calls_total", &[]).await;
        if calls == 1.0 { Ok(()) } else { Err(calls) }
    })
    .await;
    let frontend = cluster.frontends.pop().unwrap();
    frontend.signal(Signal::SIGTERM);
    let answer = in_time("the request in flight ends", asked).await.unwrap();
    let answer = answer.expect("the request in flight is answered");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "630"),
        "{answer:?}"
    );
    let ended = frontend.ended().await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), ""),
        "{}",
        ended.stderr
    );
    assert!(is_free(http), "{http} is given back");
    assert_eq!(
        idle.rest().await.unwrap(),
        b"",
        "the idle connection is closed"
    );
}

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    let mut cluster = Cluster::start(Setup {
        frontends: 1,
        ..Setup::default()
    })
    .await;
    get(cluster.http(0), TOM).await;
    for process in [
        cluster.nodes[0].take().expect("it runs"),
        cluster.frontends.remove(0),
    ] {
        let told = Instant::now();
        process.signal(Signal::SIGTERM);
        let ended = process.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            told.elapsed() < ENDS_WITHIN,
            "{:?}: {}",
            told.elapsed(),
            ended.stderr
        );
        assert!(ended.stderr.contains("stopped"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn work_that_does_not_end_is_cut_off_after_the_grace() {
    let set = [
        "origin.memory_hang_ratio=1",
        "origin.timeout=5m",
        "process.shutdown_grace=300ms",
    ];
    let mut cluster = Cluster::start(Setup {
        nodes: 1,
        frontends: 1,
        ..Setup::with(&set)
    })
    .await;
    let mut waiting = Connection::open(cluster.http(0)).await.unwrap();
    waiting
        .send(b"GET /v1/scores/Tom HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    until("the load has begun", async || {
        let calls = cluster.calls(0).await;
        if calls == 1.0 { Ok(()) } else { Err(calls) }
    })
    .await;
    for process in [
        cluster.frontends.remove(0),
        cluster.nodes[0].take().expect("it runs"),
    ] {
        let told = Instant::now();
        process.signal(Signal::SIGTERM);
        let ended = process.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            told.elapsed() < ENDS_WITHIN,
            "{:?}: {}",
            told.elapsed(),
            ended.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_under_load_costs_no_request() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(&cluster.all_http());
    load.go_on_for(2_000).await;
    let node = cluster.nodes[0].take().expect("it runs");
    node.signal(Signal::SIGTERM);
    let ended = node.ended().await;
    load.go_on_for(2_000).await;
    let report = load.stop().await;
    report.assert_none_failed();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
