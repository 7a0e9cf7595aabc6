//! Lets a node whose log has failed serve on, isolated, until other members own what it owned; then it stops. If
//! none takes over, it ends as soon as the node's disk is well: then `life` opens the log again.
//!
//! The rules are in [`crate::membership::ending`].

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Running, Shared};
use crate::clock::Clock;
use crate::ids::NodeId;
use crate::membership::ending::{self, LOOK_EVERY_MS, Next, Outliving};
use crate::rpc::control::shown;
use crate::topology::state::State;

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(LOOK_EVERY_MS);

/// How long another node may take to show its state.
const SHOWN_PATIENCE: Duration = Duration::from_secs(1);

/// How many bytes a disk must take to be well: a log that is opened writes less.
const PROBE_BYTES: usize = 1 << 20;

/// The file that is written to see whether the disk is well.
const PROBE_FILE: &str = "PROBE";

/// How the life of a node without a log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlived {
    /// The process stops.
    Stops,
    /// The log is to be opened again.
    Reopens,
}

/// Waits until other members own what this node owned, and then stops the process; or until its disk, with the
/// directory `path`, is well. Ends early at a shutdown. Cancel-safe.
pub(super) async fn outlive(shared: &Shared, running: &Running, path: &Path) -> Outlived {
    let clock = Clock::start();
    let outliving = Outliving::new(clock.now());
    let ends = async {
        let known = running.raft.state().borrow().clone();
        // A disk may hang for minutes: others may take over meanwhile.
        let mut probe: Option<BoxFuture<'_, bool>> = None;
        loop {
            let is_relieved = is_relieved(shared, &known, running.ident.node).await;
            match outliving.next(clock.now(), is_relieved) {
                Next::Stops => return Outlived::Stops,
                Next::Probes => {
                    let pending = probe.get_or_insert_with(|| is_well(path.to_owned()).boxed());
                    match timeout(LOOK_EVERY, pending).await {
                        Ok(true) => return Outlived::Reopens,
                        Ok(false) => probe = None,
                        Err(_) => {}
                    }
                }
                Next::Waits => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let ended = tokio::select! {
        ended = ends => ended,
        () = shared.shutdown.begun() => return Outlived::Stops,
    };
    match ended {
        Outlived::Stops => {
            tracing::error!("stopping after a failed log: other members own what this node owned");
            shared.shutdown.begin();
        }
        Outlived::Reopens => {
            tracing::warn!("nobody took over and the disk is well: opening the log again")
        }
    }
    ended
}

/// Whether another node shows a topology that goes on without this node.
async fn is_relieved(shared: &Shared, known: &State, own: NodeId) -> bool {
    let others = shared.seeds_and_members(known);
    let asked = others.iter().map(|other| shown(other, SHOWN_PATIENCE));
    let states = futures_util::future::join_all(asked).await;
    ending::is_relieved(known, own, states.iter().flatten())
}

/// Whether the disk of the directory `path` takes a write and syncs it. Waits for as long as the disk hangs; in a
/// thread of its own, which outlives the process's end.
async fn is_well(path: PathBuf) -> bool {
    let (answer, answered) = oneshot::channel();
    let probe = move || {
        let written = probe(&path.join(PROBE_FILE));
        if let Err(error) = &written {
            tracing::debug!(%error, "disk probed");
        }
        // The asker may have left.
        let _left = answer.send(written.is_ok());
    };
    let thread = std::thread::Builder::new().name("disk-probe".into());
    match thread.spawn(probe) {
        Ok(_) => answered.await.unwrap_or(false),
        Err(_) => false,
    }
}

fn probe(path: &Path) -> io::Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_all()
    });
    // Also what was written in part takes space.
    let removed = std::fs::remove_file(path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_that_takes_writes_is_well_and_none_is_not() {
        let root = tempfile::tempdir().unwrap();
        assert!(is_well(root.path().to_owned()).await);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(!is_well(root.path().join("missing")).await);
    }
}
