//! Hands the leadership over, for a leader that is about to stop.

use std::time::Duration;

use crate::ids::NodeId;
use crate::raft::thread::Handle;

/// How long the hand-over may take: less than an election takes.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(1);

/// A voter is a good heir if it was heard within this many ticks.
const HEARD_TICKS: u64 = 5;

/// Hands the leadership to the voter whose log is furthest, if this node leads. If that fails, nothing is
/// lost: the other voters elect a leader. Dropping the future does not stop a hand-over that has begun.
pub(in crate::node) async fn step_down(me: NodeId, raft: &Handle) {
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
