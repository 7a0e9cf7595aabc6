//! The quorum is never given away: raft's rules for changing it, written once more.

use std::collections::BTreeSet;

use gcache::ids::NodeId;
use gcache::topology::model::quorum::{Quorum, QuorumChange, QuorumRole};
use gcache::topology::state::State;
use prost::Message as _;

use crate::violation::{Checked, Promise, ensure};

/// `eraftpb.ConfChangeV2`.
#[derive(Clone, PartialEq, prost::Message)]
struct ConfChange {
    /// 0: joint if it must be, 1: joint and left by itself, 2: joint and left when asked.
    #[prost(int32, tag = "1")]
    transition: i32,
    #[prost(message, repeated, tag = "2")]
    changes: Vec<Single>,
}

/// `eraftpb.ConfChangeSingle`.
#[derive(Clone, PartialEq, prost::Message)]
struct Single {
    /// 0: vote, 1: be removed, 2: listen.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    node: u64,
}

/// What an entry that asks for this change makes of the quorum of `state`; nothing if it is refused.
pub(crate) fn after(state: &State, entry: &[u8]) -> Option<Quorum> {
    let change = ConfChange::decode(entry).ok()?;
    let words = QuorumChange {
        changes: change.changes.iter().map(Single::words).collect(),
    };
    state.may_change_quorum(&words).ok()?;
    let mut quorum = state.quorum().clone();
    let is_joint = change.transition != 0 || change.changes.len() > 1;
    if is_joint == quorum.is_joint() && (is_joint || change.changes.is_empty()) {
        return None;
    }
    if change.changes.is_empty() && !is_joint {
        quorum.learners.append(&mut quorum.learners_next);
        quorum.outgoing.clear();
        return Some(quorum);
    }
    if quorum.is_joint() {
        return None;
    }
    if is_joint {
        quorum.outgoing = quorum.voters.clone();
    }
    for (node, role) in words.changes {
        make(&mut quorum, node, role);
    }
    (!quorum.voters.is_empty()).then_some(quorum)
}

/// Gives `node` its role.
fn make(quorum: &mut Quorum, node: NodeId, role: QuorumRole) {
    quorum.voters.remove(&node);
    quorum.learners.remove(&node);
    quorum.learners_next.remove(&node);
    match role {
        QuorumRole::Voter => quorum.voters.insert(node),
        QuorumRole::Learner if quorum.outgoing.contains(&node) => quorum.learners_next.insert(node),
        QuorumRole::Learner => quorum.learners.insert(node),
        QuorumRole::Removed => false,
    };
}

impl Single {
    fn words(&self) -> (NodeId, QuorumRole) {
        let role = match self.kind {
            0 => QuorumRole::Voter,
            2 => QuorumRole::Learner,
            _ => QuorumRole::Removed,
        };
        (NodeId(self.node), role)
    }
}

/// Whether the entry `index`, which `leader` proposed, may make the one quorum into the other.
pub(crate) fn check(from: &Quorum, to: &Quorum, leader: Option<u64>, index: u64) -> Checked {
    let shown = || format!("entry {index} makes {from:?} into {to:?}, proposed by {leader:?}");
    ensure(!to.voters.is_empty(), Promise::QuorumIsKept, shown)?;
    let changed: BTreeSet<_> = from.voters.symmetric_difference(&to.voters).collect();
    let is_kept = match (from.is_joint(), to.is_joint()) {
        (false, false) => changed.len() <= 1,
        (false, true) => to.outgoing == from.voters,
        (true, false) => to.voters == from.voters,
        (true, true) => false,
    };
    ensure(is_kept, Promise::QuorumIsKept, shown)?;
    let leader = leader.map(NodeId);
    let leaves = leader.is_some_and(|leader| from.is_voter(leader) && !to.is_voter(leader));
    ensure(!leaves, Promise::QuorumIsKept, shown)
}
