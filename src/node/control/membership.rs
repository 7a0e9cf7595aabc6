//! What the leader does about members: looks, decides, and does one thing at a time.

use std::time::Duration;

use tokio::time::Instant;

use super::decide::{Facts, Step, decide};
use crate::clock::as_millis;
use crate::ids::NodeId;
use crate::raft::event::Outcome;
use crate::raft::thread::{Handle, TICK};
use crate::shutdown::Shutdown;

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long one step may take before the leader looks again.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long handing over may take: less than an election would.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(1);

/// Ticks since a voter was last heard of, for it to be a good heir.
const HEARD_TICKS: u64 = 5;

/// Hands the leadership to the voter that is furthest, if this node leads. Nothing is lost if that does
/// not work: then the others elect somebody.
pub(super) async fn hand_over(me: NodeId, raft: &Handle) {
    let standing = raft.standing().borrow().clone();
    if !standing.role.is_leader {
        return;
    }
    let state = raft.state().borrow().clone();
    let heirs = standing.progress.iter().filter(|peer| {
        let is_heard = peer.silent_ticks.is_some_and(|ticks| ticks <= HEARD_TICKS);
        peer.node != me && is_heard && state.quorum().voters.contains(&peer.node)
    });
    let Some(heir) = heirs.max_by_key(|peer| peer.matched) else {
        return;
    };
    let handed_over = async {
        raft.transfer(heir.node, HAND_OVER_PATIENCE).await;
        let mut standing = raft.standing();
        let lost = standing.wait_for(|standing| !standing.role.is_leader).await;
        lost.is_ok()
    };
    match tokio::time::timeout(HAND_OVER_PATIENCE, handed_over).await {
        Ok(true) => tracing::info!(to = %heir.node, "leadership handed over"),
        Ok(false) | Err(_) => tracing::warn!(to = %heir.node, "leadership not handed over"),
    }
}

/// Looks after the members for as long as this node leads, whenever it does.
pub(super) async fn look_after(me: NodeId, raft: Handle, shutdown: Shutdown) {
    let mut led_since = None;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.begun() => return,
        }
        let standing = raft.standing().borrow().clone();
        // Until its own term has begun to be applied, a leader does not know what is committed.
        if !standing.role.is_leader {
            led_since = None;
            continue;
        }
        let since = *led_since.get_or_insert_with(Instant::now);
        if standing.applied < standing.commit {
            continue;
        }
        let state = raft.state().borrow().clone();
        let facts = Facts {
            me,
            state: &state,
            last_index: standing.commit,
            progress: &standing.progress,
            led_ticks: as_millis(since.elapsed()) / as_millis(TICK),
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
