//! The quorum: raft's configuration of voters in our words, as the state keeps it. Pure.
//!
//! `raft` translates it from and to its own type when a change is applied. While a change is in its joint
//! configuration, a majority of both halves must agree to everything.

use std::collections::BTreeSet;

use crate::ids::NodeId;

/// The voters, and the learners, which get the log but do not vote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    /// The voters, of which a majority decides.
    pub voters: BTreeSet<NodeId>,
    /// The previous voters, of which a majority must agree too while a change is under way; empty otherwise.
    pub outgoing: BTreeSet<NodeId>,
    /// Members that get the log and do not vote.
    pub learners: BTreeSet<NodeId>,
    /// Members of `outgoing` that become learners when the change is over.
    pub learners_next: BTreeSet<NodeId>,
}

impl Quorum {
    /// Whether a change is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether this member votes and no other does: then nobody else can lead.
    #[must_use]
    pub fn is_alone(&self, id: NodeId) -> bool {
        !self.is_joint() && self.voters.iter().eq([&id])
    }

    /// Whether `id` votes, in either half.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether `id` gets the log, in any role.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.contains(&id) || self.learners_next.contains(&id)
    }

    /// What `id` is to the quorum, as statuses and tables show it: `voter`, `learner` or `none`.
    #[must_use]
    pub fn role_of(&self, id: NodeId) -> &'static str {
        if self.is_voter(id) {
            "voter"
        } else if self.contains(id) {
            "learner"
        } else {
            "none"
        }
    }

    /// Whether the members that are `alive` can decide, which takes a majority of each half. False if there
    /// are no voters.
    #[must_use]
    pub fn is_quorum(&self, alive: impl Fn(NodeId) -> bool) -> bool {
        let is_majority =
            |half: &BTreeSet<NodeId>| half.iter().filter(|id| alive(**id)).count() * 2 > half.len();
        is_majority(&self.voters) && (!self.is_joint() || is_majority(&self.outgoing))
    }

    /// The voters once `change` is made.
    #[must_use]
    pub fn voters_after(&self, change: &QuorumChange) -> BTreeSet<NodeId> {
        let mut voters = self.voters.clone();
        for &(id, role) in &change.changes {
            if role == QuorumRole::Voter {
                voters.insert(id);
            } else {
                voters.remove(&id);
            }
        }
        voters
    }
}

/// The role of a member in the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumRole {
    /// It votes.
    Voter,
    /// It gets the log and does not vote.
    Learner,
    /// It gets nothing.
    Removed,
}

/// A change of the quorum. An empty one leaves the joint configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumChange {
    /// The members that change, each with its new role.
    pub changes: Vec<(NodeId, QuorumRole)>,
}

/// How far a peer's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The peer. This node counts as one too.
    pub node: NodeId,
    /// The last index that it is known to hold.
    pub matched: u64,
    /// Whether entries go to it as they come, rather than one probe at a time or as a snapshot.
    pub is_replicating: bool,
    /// Ticks since it was last heard of; none if it never was.
    pub silent_ticks: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_quorum_is_a_majority_of_both_halves() {
        let plain = Quorum {
            voters: ids(&[1, 2, 3]),
            learners: ids(&[4]),
            ..Quorum::default()
        };
        let alive = |alive: &[u64], quorum: &Quorum| {
            let alive = ids(alive);
            quorum.is_quorum(|id| alive.contains(&id))
        };
        assert!(alive(&[1, 3], &plain) && !alive(&[1, 4], &plain));
        let joint = Quorum {
            outgoing: ids(&[3, 4, 5]),
            ..plain.clone()
        };
        assert!(joint.is_joint() && !plain.is_joint());
        assert!(alive(&[2, 3, 4], &joint));
        assert!(!alive(&[1, 2, 3], &joint) && !alive(&[3, 4, 5], &joint));
        assert!(!Quorum::default().is_quorum(|_| true));
    }

    #[test]
    fn a_member_of_either_half_votes_and_a_learner_does_not() {
        let quorum = Quorum {
            voters: ids(&[1]),
            outgoing: ids(&[2]),
            learners: ids(&[3]),
            learners_next: ids(&[2]),
        };
        assert!([1, 2].into_iter().all(|id| quorum.is_voter(NodeId(id))));
        assert!(!quorum.is_voter(NodeId(3)) && quorum.contains(NodeId(3)));
        assert!(!quorum.contains(NodeId(4)));
    }
}
