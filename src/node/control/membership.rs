//! What the leader does about members: looks, decides, and does one thing at a time.

use std::time::Duration;

use super::decide::{Facts, Step, decide};
use crate::ids::NodeId;
use crate::raft::event::Outcome;
use crate::raft::thread::Handle;
use crate::shutdown::Shutdown;

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long one step may take before the leader looks again.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks after the members for as long as this node leads, whenever it does.
pub(super) async fn look_after(me: NodeId, raft: Handle, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.begun() => return,
        }
        let standing = raft.standing().borrow().clone();
        // Until its own term has begun to be applied, a leader does not know what is committed.
        if !standing.role.is_leader || standing.applied < standing.commit {
            continue;
        }
        let state = raft.state().borrow().clone();
        let facts = Facts {
            me,
            state: &state,
            last_index: standing.commit,
            progress: &standing.progress,
        };
        let Some(step) = decide(&facts) else {
            continue;
        };
        let outcome = match &step {
            Step::Propose(command) => raft.propose(command, PATIENCE).await,
            Step::ChangeQuorum(change) => raft.change_quorum(change.clone(), PATIENCE).await,
        };
        match outcome {
            Outcome::Applied { result: Ok(_), .. } => tracing::debug!(?step, "members changed"),
            other => tracing::debug!(?step, outcome = ?other, "members not changed"),
        }
    }
}
