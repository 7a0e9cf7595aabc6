//! All voters are stopped within seconds while new nodes start, as a deployment stops the tasks of a service: the
//! quorum lives on, and no read fails.
//!
//! `GCACHE_ROLLOVERS` says how often in a row.

use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;
use tokio::sync::oneshot;

use crate::harness::grown::Grown;
use crate::harness::versions::{Versions, rows};
use crate::testkit::postgres::Postgres;
use crate::testkit::process::Process;
use crate::testkit::wait::{in_time, pause};

/// How many nodes a service has: all of them vote.
const NODES: usize = 3;

/// How often in a row, where nobody says.
const ROLLOVERS: usize = 1;

/// Within so many milliseconds all nodes of a service are stopped.
const STOPPED_WITHIN_MS: u64 = 5_000;

/// Stops all of them, in any order and with any gaps. They end whenever they do.
async fn stop(mut processes: Vec<Process>) -> Vec<Process> {
    fastrand::shuffle(&mut processes);
    let last = processes.len() as u64 - 1;
    let gaps: Vec<_> = (0..last)
        .map(|_| fastrand::u64(0..STOPPED_WITHIN_MS / last))
        .collect();
    let (answer, stopped) = oneshot::channel();
    // A thread of its own: the load goes on meanwhile.
    std::thread::spawn(move || {
        let mut gaps = gaps.into_iter();
        for process in &processes {
            process.signal(SIGTERM);
            if let Some(gap) = gaps.next() {
                pause(Duration::from_millis(gap));
            }
        }
        let _asked = answer.send(processes);
    });
    in_time("they are stopped", stopped)
        .await
        .expect("the thread sends them")
}

#[tokio::test]
async fn all_voters_are_replaced_within_seconds_and_no_read_fails() {
    let rollovers = std::env::var("GCACHE_ROLLOVERS").ok();
    let rollovers = rollovers.and_then(|count| count.parse().ok());
    let folder = tempfile::tempdir().expect("the machine has room for files");
    let postgres = Postgres::start(folder.path(), &[], None);
    postgres.sql(&rows());
    let mut grown = Grown::new(NODES);
    grown.origin = postgres.url().to_owned();
    grown.set_nodes = vec!["node.leave_on_term=true".into()];
    for node in 0..NODES {
        grown.run(node);
    }
    grown.front();
    grown.front();
    grown.complete(NODES).await;
    let versions = Versions::over(&grown, &postgres).await;
    for _ in 0..rollovers.unwrap_or(ROLLOVERS) {
        versions.go_on_for(1).await;
        let first = grown.nodes.len();
        for _ in 0..NODES {
            let new = grown.another();
            grown.run(new);
        }
        grown.complete(2 * NODES).await;
        let old = grown.nodes[..first].iter_mut();
        let old: Vec<Process> = old.filter_map(Option::take).collect();
        assert_eq!(old.len(), NODES);
        for process in stop(old).await {
            let ended = process.ended().await;
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
        // Also who has left is forgotten, and as many vote as before.
        grown.complete(NODES).await;
    }
    versions.go_on_for(1).await;
    versions.assert_kept().await;
}
