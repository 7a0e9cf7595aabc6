//! Requests of operators to the node that leads: commit a command, and hand the leadership over.

use crate::ids::NodeId;
use crate::node::member::Running;
use crate::node::member::proposals::{PATIENCE, redirect};
use crate::raft::event::Outcome;
use crate::rpc::control_proto::commit_reply::Outcome as CommitOutcome;
use crate::rpc::control_proto::{Committed, TransferReply};
use crate::topology::commands::Command;

/// Whether operators may commit this command. The leader alone decides what members do and own.
pub(super) fn is_for_operators(command: &Command) -> bool {
    matches!(
        command,
        Command::SetGroups(_)
            | Command::ResetGroup(_)
            | Command::SetPaused(_)
            | Command::Finalize(_)
    )
}

/// Commits an operator's command, if this node leads. Dropping the future leaves it unknown whether the
/// command is committed.
pub(super) async fn commit(running: &Running, command: &Command) -> CommitOutcome {
    let state = running.raft.state().borrow().clone();
    let (needed, known) = (command.version(), state.known_version());
    let leads = running.raft.standing().borrow().role.is_leader;
    if leads && needed > known {
        let older = state.members().find(|member| member.version < needed);
        let name = older.map_or("a member", |member| &member.name);
        return CommitOutcome::Refused(format!(
            "this needs version {needed} of the commands, and {name} knows up to {known}: upgrade all nodes first"
        ));
    }
    if let (true, Err(refusal)) = (leads, state.may_use(command)) {
        return CommitOutcome::Refused(refusal.to_string());
    }
    match running.raft.propose(command, PATIENCE).await {
        Outcome::Applied { index, result } => match result {
            Ok(_) => CommitOutcome::Committed(Committed {
                index,
                epoch: running.raft.state().borrow().epoch().0,
            }),
            Err(refusal) => CommitOutcome::Refused(refusal.to_string()),
        },
        Outcome::NotLeader(leader) => CommitOutcome::Redirect(running.redirect(leader)),
        // This node has proposed nothing: another node may, or this one in a moment.
        Outcome::Refused(_) => CommitOutcome::Redirect(redirect(None)),
        Outcome::Unknown | Outcome::Done | Outcome::Readable(_) => {
            CommitOutcome::Unknown(format!("not committed within {PATIENCE:?}"))
        }
    }
}

/// Hands the leadership to `to`, and waits until `to` leads. Dropping the future does not stop the hand-over.
pub(super) async fn transfer(running: &Running, to: NodeId) -> TransferReply {
    let mut reply = TransferReply::default();
    match running.raft.transfer(to, PATIENCE).await {
        Outcome::Done => {
            let mut standing = running.raft.standing();
            let arrived = standing.wait_for(|standing| standing.role.leader == Some(to));
            if tokio::time::timeout(PATIENCE, arrived).await.is_err() {
                reply.refused = format!("member {to} did not take over within {PATIENCE:?}");
            }
        }
        Outcome::NotLeader(leader) => reply.redirect = Some(running.redirect(leader)),
        Outcome::Refused(why) => reply.refused = why.into(),
        Outcome::Unknown | Outcome::Applied { .. } | Outcome::Readable(_) => {
            reply.refused = format!("no answer within {PATIENCE:?}");
        }
    }
    reply
}
