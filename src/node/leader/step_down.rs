//! Hands the leadership over, for a leader that is about to stop.

use std::time::Duration;

use crate::ids::NodeId;
use crate::raft::thread::Handle;
use crate::topology::leader::heir;

/// How long the hand-over may take: less than an election takes.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(1);

/// Hands the leadership to the best [`heir`], if this node leads. If that fails, nothing is lost: the other
/// voters elect a leader. Dropping the future does not stop a hand-over that has begun.
pub(in crate::node) async fn step_down(me: NodeId, raft: &Handle) {
    let seen = raft.standing().borrow().leading();
    let state = raft.state().borrow().clone();
    let Some(heir) = heir(me, &state, &seen) else {
        return;
    };
    let handed_over = async {
        raft.transfer(heir, HAND_OVER_PATIENCE).await;
        let mut standing = raft.standing();
        let lost = standing.wait_for(|standing| !standing.role.is_leader).await;
        lost.is_ok()
    };
    match tokio::time::timeout(HAND_OVER_PATIENCE, handed_over).await {
        Ok(true) => tracing::info!(to = %heir, "leadership handed over"),
        Ok(false) | Err(_) => tracing::warn!(to = %heir, "leadership not handed over"),
    }
}
