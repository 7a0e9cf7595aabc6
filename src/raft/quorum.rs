//! Between the topology's words for a quorum and `raft`'s.

use std::collections::BTreeSet;

use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState,
};

use crate::ids::NodeId;
use crate::topology::model::quorum::{Quorum, QuorumChange, QuorumRole};

/// The quorum that `conf` describes.
pub(super) fn quorum(conf: &ConfState) -> Quorum {
    let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    Quorum {
        voters: set(conf.get_voters()),
        outgoing: set(conf.get_voters_outgoing()),
        learners: set(conf.get_learners()),
        learners_next: set(conf.get_learners_next()),
    }
}

/// `quorum` as `raft` describes it. A joint configuration is always left by our own proposal.
pub(super) fn conf_state(quorum: &Quorum) -> ConfState {
    let list = |ids: &BTreeSet<NodeId>| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    ConfState {
        voters: list(&quorum.voters),
        voters_outgoing: list(&quorum.outgoing),
        learners: list(&quorum.learners),
        learners_next: list(&quorum.learners_next),
        auto_leave: false,
    }
}

/// The entry that makes `change`. More than one at once goes through a joint configuration, which the
/// leader leaves explicitly: `raft`'s own leaving can be lost with the leader (etcd#12136).
pub(super) fn conf_change(change: &QuorumChange) -> ConfChangeV2 {
    let mut entry = ConfChangeV2::default();
    let transition = if change.changes.len() > 1 {
        ConfChangeTransition::Explicit
    } else {
        ConfChangeTransition::Auto
    };
    entry.set_transition(transition);
    let singles = change.changes.iter().map(|(node, role)| {
        let mut single = ConfChangeSingle {
            node_id: node.0,
            ..ConfChangeSingle::default()
        };
        single.set_change_type(match role {
            QuorumRole::Voter => ConfChangeType::AddNode,
            QuorumRole::Learner => ConfChangeType::AddLearnerNode,
            QuorumRole::Removed => ConfChangeType::RemoveNode,
        });
        single
    });
    entry.set_changes(singles.collect());
    entry
}

/// Returns what the entry `change` asks for; empty: to leave the joint configuration.
pub(super) fn quorum_change(change: &ConfChangeV2) -> QuorumChange {
    let changes = change.get_changes().iter().map(|single| {
        let role = match single.get_change_type() {
            ConfChangeType::AddNode => QuorumRole::Voter,
            ConfChangeType::AddLearnerNode => QuorumRole::Learner,
            ConfChangeType::RemoveNode => QuorumRole::Removed,
        };
        (NodeId(single.node_id), role)
    });
    QuorumChange {
        changes: changes.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_the_two() {
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let joint = Quorum {
            voters: set(&[1, 2, 9]),
            outgoing: set(&[1, 2, 3]),
            learners: set(&[4, 5]),
            learners_next: set(&[3]),
        };
        assert_eq!(quorum(&conf_state(&joint)), joint);
        let change = QuorumChange {
            changes: vec![
                (NodeId(9), QuorumRole::Voter),
                (NodeId(3), QuorumRole::Learner),
                (NodeId(2), QuorumRole::Removed),
            ],
        };
        assert_eq!(quorum_change(&conf_change(&change)), change);
        assert_eq!(
            conf_change(&change).get_transition(),
            ConfChangeTransition::Explicit
        );
    }
}
