//! Removes a member for ever when an operator asks: the leader takes the steps, this module asks it and
//! answers in the wire's words.

use crate::ids::NodeId;
use crate::node::member::Running;
use crate::rpc::control_proto::Removed;
use crate::rpc::control_proto::remove_reply::Outcome as Reply;
use crate::topology::leader::event::Removal;

/// Removes member `id`, if this node leads. It takes as long as
/// [`REMOVAL_MAX_MS`](crate::topology::leader::REMOVAL_MAX_MS), and the end of a step that is under way then.
///
/// Dropping the future ends the removal and undoes no step: a second request goes on from there.
pub(super) async fn remove(running: &Running, id: NodeId) -> Reply {
    let role = running.raft.standing().borrow().role;
    if !role.is_leader {
        return Reply::Redirect(running.redirect(role.leader));
    }
    match running.leader.remove(id).await {
        Removal::Removed {
            was_gone,
            done,
            epoch,
        } => Reply::Removed(Removed {
            was_gone,
            done,
            epoch: epoch.0,
        }),
        Removal::Refused(why) => Reply::Refused(why),
        Removal::Elsewhere(leader) => {
            let leader = leader.or_else(|| running.raft.standing().borrow().role.leader);
            Reply::Redirect(running.redirect(leader))
        }
        Removal::Unfinished(why) => Reply::Unfinished(why),
    }
}
