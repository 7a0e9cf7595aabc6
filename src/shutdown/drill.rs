//! Drills of critical tasks: any one of them ends when it is to begin, by a panic or by a return.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Failed, Shutdown};

/// How a task ends in a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Return,
    Panic,
}

/// The drill of one process.
#[derive(Debug, Default)]
pub(crate) struct Drill {
    ends: Option<(&'static str, End)>,
    seen: BTreeSet<&'static str>,
}

impl Drill {
    /// The task, or its end.
    pub(super) async fn apply(
        drill: &Mutex<Self>,
        name: &'static str,
        task: impl Future<Output = ()>,
    ) {
        let ends = {
            let mut drill = drill.lock();
            drill.seen.insert(name);
            drill.ends
        };
        match ends {
            Some((ending, End::Return)) if ending == name => {}
            Some((ending, End::Panic)) if ending == name => panic!("a drill"),
            _ => task.await,
        }
    }
}

impl Shutdown {
    /// That of a process in which the task of this name ends when it is to begin.
    pub(crate) fn drilled(ends: Option<(&'static str, End)>) -> Self {
        let shutdown = Self::new();
        shutdown.process.drill.lock().ends = ends;
        shutdown
    }

    /// The critical tasks that have begun.
    pub(crate) fn critical(&self) -> BTreeSet<&'static str> {
        self.process.drill.lock().seen.clone()
    }
}

#[tokio::test]
async fn a_critical_task_that_ends_before_its_time_stops_the_process_with_the_reason() {
    for (end, reason) in [
        (End::Return, "has ended"),
        (End::Panic, "has panicked: a drill"),
    ] {
        let process = Shutdown::drilled(Some(("clock", end)));
        let later = process.apart().child();
        later.spawn_critical("clock", std::future::pending());
        process.begun().await;
        let reason = reason.to_owned();
        assert_eq!(
            process.failure(),
            Some(Failed {
                task: "clock",
                reason
            })
        );
        assert!(!later.has_begun(), "its maker finishes it");
        assert!(later.finish(Duration::from_secs(5)).await);
    }
}

#[tokio::test]
async fn a_critical_task_that_was_asked_to_stop_may_end() {
    let process = Shutdown::new();
    let part = process.child();
    let stop = part.clone();
    part.spawn_critical("clock", async move { stop.begun().await });
    assert!(part.finish(Duration::from_secs(5)).await);
    assert_eq!(process.failure(), None);
    assert!(!process.has_begun());
}
