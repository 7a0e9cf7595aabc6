//! Every critical task is ended, by a return and by a panic: the process stops and says which it was.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt};

use super::*;
use crate::config::{Flag, Layers, load};
use crate::origin::embedded;
use crate::origin::memory::Faults;
use crate::shutdown::drill::End;

/// Those of two nodes and a frontend in one process. Discovery has one only for seeds that are names.
const CRITICAL: [&str; 21] = [
    "HTTP port",
    "Raft port",
    "admin port",
    "checker of groups",
    "collector of directories",
    "end of Raft's transport",
    "end of the frontend",
    "end of the node",
    "follower of addresses",
    "follower of the state",
    "follower of the topology",
    "follower of views",
    "gRPC port",
    "keeper of a Raft lane",
    "keeper of a pipeline",
    "leader",
    "membership",
    "reporter of Raft's losses",
    "sender of Raft's snapshots",
    "sweeper",
    "upkeep of metrics",
];

/// How many processes are run at once.
const AT_ONCE: usize = 4;

fn config() -> Config {
    let layers = Layers {
        sets: vec![
            "frontend.port=0".to_owned(),
            "process.admin_port=0".to_owned(),
        ],
        flags: Vec::<Flag>::new(),
        ..Layers::default()
    };
    load(&layers).unwrap().config
}

/// Starts all roles, until all are ready or the process stops itself; true if they got ready.
async fn start_all(shutdown: &Shutdown) -> bool {
    let (config, folder) = (config(), tempfile::tempdir().unwrap());
    let parts = Parts {
        nodes: 2,
        origin: embedded("t", "k,v\na,1\n", Faults::default()).unwrap(),
        groups: Vec::new(),
        data_dir: folder.path().to_owned(),
        at_unix_ms: 0,
        lost: LostLines::default(),
        shutdown: shutdown.clone(),
    };
    let is_ready = tokio::select! {
        started = Box::pin(super::super::start(&config, parts)) => started.map(drop).is_ok(),
        () = shutdown.begun() => false,
    };
    // What begins only after the start is looked at too.
    assert!(
        shutdown.finish(Duration::from_secs(20)).await,
        "{:?}",
        shutdown.failure()
    );
    is_ready
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_critical_task_ends_without_ending_the_process_with_a_reason() {
    let all = Shutdown::drilled(None);
    assert!(start_all(&all).await);
    assert_eq!(all.failure(), None);
    assert_eq!(all.critical(), BTreeSet::from(CRITICAL));
    let ends = [
        (End::Return, "has ended"),
        (End::Panic, "has panicked: a drill"),
    ];
    let drills = CRITICAL
        .iter()
        .flat_map(|task| ends.map(|end| (*task, end)));
    let drills = stream::iter(drills).map(async |(task, (end, reason))| {
        let process = Shutdown::drilled(Some((task, end)));
        start_all(&process).await;
        let failed = process.failure();
        let failed =
            failed.unwrap_or_else(|| panic!("{task} ended by a {end:?}, and nothing stopped"));
        assert_eq!((failed.task, &*failed.reason), (task, reason));
    });
    drills.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}
