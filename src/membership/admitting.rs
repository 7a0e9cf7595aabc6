//! What a member answers to another node that joins, has started again or leaves. Pure.
//!
//! The leader commits what such a node asks for, unless the state has it already or would refuse it.

use super::Reason;
use crate::ids::{ClusterId, NodeId};
use crate::topology::commands::Command;
use crate::topology::commands::refusal::Refusal;
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// What a member does with the command of a node about itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission {
    /// The state already has the start that the node announces: the node asks until it sees that itself.
    Known,
    /// The state would refuse the command. A refused node asks again and again: that must not cost an entry
    /// of the log each time.
    Refused(Refusal),
    /// The command is to be committed. A member that does not lead learns so from its Raft.
    Propose,
}

/// Decides what a member with this state does with a `command`. Only a leader refuses: another member's state
/// may be old.
#[must_use]
pub fn admit(state: &State, command: &Command, leads: bool) -> Admission {
    if is_known(state, command) {
        return Admission::Known;
    }
    match leads.then(|| state.clone().apply(command)) {
        Some(Err(refusal)) => Admission::Refused(refusal),
        Some(Ok(_)) | None => Admission::Propose,
    }
}

fn is_known(state: &State, command: &Command) -> bool {
    let Command::Resume(resume) = command else {
        return false;
    };
    let known = state.member(resume.id);
    known.is_some_and(|member| member.incarnation >= resume.node.incarnation)
}

/// The member that a join, resume or leave is about, 0 for one that joins; none for any other command.
#[must_use]
pub fn member_of(command: &Command) -> Option<NodeId> {
    match command {
        Command::Join(_) => Some(NodeId(0)),
        Command::Resume(resume) => Some(resume.id),
        Command::SetStatus(set) if set.status == MemberStatus::Leaving => Some(set.id),
        _ => None,
    }
}

/// Checks that a node which means the cluster `meant`, if it means one, asks a member of that.
///
/// # Errors
/// This node is a member of another cluster, `own`.
pub fn is_meant(own: ClusterId, meant: Option<ClusterId>) -> Result<(), Reason> {
    match meant {
        Some(meant) if meant != own => Err(format!("this node belongs to cluster {own}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;
    use crate::topology::commands::{Joiner, Resume};
    use crate::topology::fixtures::{cluster, named, status};

    fn resume(incarnation: u64) -> Command {
        let node = Joiner {
            incarnation: Incarnation(incarnation),
            ..named("node-2")
        };
        Command::Resume(Resume {
            id: NodeId(2),
            node,
        })
    }

    #[test]
    fn a_leader_proposes_what_its_state_would_accept() {
        let state = cluster(2);
        let (join, taken) = (Command::Join(named("c")), Command::Join(named("node-1")));
        let leave = status(2, MemberStatus::Leaving);
        let too_old = Command::Join(Joiner {
            version: 0,
            ..named("c")
        });
        for (command, leads, expected) in [
            (&join, true, "propose"),
            (&leave, true, "propose"),
            (&resume(2), true, "propose"),
            (&resume(1), true, "known"),
            (&resume(1), false, "known"),
            (&taken, true, "refused"),
            (&too_old, true, "refused"),
            // What another member knows may be old.
            (&taken, false, "propose"),
        ] {
            let admission = match admit(&state, command, leads) {
                Admission::Known => "known",
                Admission::Refused(_) => "refused",
                Admission::Propose => "propose",
            };
            assert_eq!(admission, expected, "{command:?} {leads}");
        }
    }

    #[test]
    fn a_node_asks_only_about_itself_and_its_cluster() {
        for (command, member) in [
            (Command::Join(named("c")), Some(0)),
            (resume(2), Some(2)),
            (status(2, MemberStatus::Leaving), Some(2)),
            (status(2, MemberStatus::Up), None),
            (Command::RemoveMember(NodeId(2)), None),
        ] {
            assert_eq!(member_of(&command), member.map(NodeId), "{command:?}");
        }
        let (own, other) = (ClusterId(1), ClusterId(2));
        assert_eq!(is_meant(own, None), Ok(()));
        assert_eq!(is_meant(own, Some(own)), Ok(()));
        assert!(is_meant(own, Some(other)).is_err());
    }
}
