//! Whether a member must not go on with its log, although the log is intact: because its cluster was
//! recovered under another id, or the member was removed. Pure.
//!
//! Nodes that share the data directory see a recovery in its latch. Nodes with a directory of their own learn
//! of it here, from the states that the seeds show. Otherwise they would wait for their old cluster for ever,
//! or, worse, enough of them would find each other to go on with the old cluster beside the new one.

use std::fmt;

use super::promises::Staleness;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::topology::state::State;

/// What became of a node's cluster or membership while it was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// An operator recovered the cluster under another id.
    Superseded {
        /// The cluster of the log.
        old: ClusterId,
        /// The cluster that continues it.
        new: ClusterId,
    },
    /// The member of this id was removed.
    Removed(NodeId),
    /// The log is an old copy: the member of this id has gone on since.
    Stale {
        /// The member.
        node: NodeId,
        /// What shows it.
        why: Staleness,
    },
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded { old, new } => {
                write!(f, "cluster {old} was recovered as cluster {new}")
            }
            Self::Removed(node) => write!(f, "member {node} was removed from the cluster"),
            Self::Stale { node, why } => {
                write!(f, "the log of member {node} is an old copy: {why}")
            }
        }
    }
}

impl Fate {
    /// The cluster that the data directory belongs to from now on; none if it stays with its cluster. Only
    /// an operator's recovery makes one cluster supersede another.
    #[must_use]
    pub fn successor(self) -> Option<ClusterId> {
        match self {
            Self::Superseded { new, .. } => Some(new),
            Self::Removed(_) | Self::Stale { .. } => None,
        }
    }
}

/// The fate of member `node` of the cluster `old`, which runs with the start `incarnation`, by the states that the
/// seeds show. None if they show nothing against it, also if no seed answers.
pub fn fate<'a, S>(
    old: ClusterId,
    (node, incarnation): (NodeId, Incarnation),
    states: S,
) -> Option<Fate>
where
    S: IntoIterator<Item = &'a State>,
    S::IntoIter: Clone,
{
    let states = states.into_iter();
    // Recovery first: an old peer that knows nothing of it does not count against a node that does.
    let successor = states
        .clone()
        .find(|state| state.supersedes().contains(&old));
    if let Some(successor) = successor {
        let new = successor.cluster();
        return Some(Fate::Superseded { old, new });
    }
    let mut own = states.filter(|state| state.cluster() == old);
    if own.clone().any(|state| state.is_tombstone(node)) {
        return Some(Fate::Removed(node));
    }
    let later = own.find_map(|state| {
        let known = state.member(node)?.incarnation;
        (known > incarnation).then_some(known)
    });
    let why = Staleness::Agreed(later?);
    Some(Fate::Stale { node, why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;
    use crate::topology::commands::{Command, Joiner, Resume};
    use crate::topology::fixtures::{cluster, named};
    use crate::topology::state::Founding;

    #[test]
    fn a_recovery_counts_before_a_removal_and_that_before_a_later_start() {
        let known = cluster(3);
        let (old, node) = (known.cluster(), NodeId(3));
        let removed = {
            let mut state = known.clone();
            let fail_over = state.plan_fail_over(node).unwrap();
            state.apply(&fail_over).unwrap();
            state.apply(&Command::RemoveMember(node)).unwrap();
            state
        };
        let restarted = {
            let mut state = known.clone();
            let again = Joiner {
                incarnation: Incarnation(2),
                ..named("node-3")
            };
            let resume = Resume {
                id: node,
                node: again,
            };
            state.apply(&Command::Resume(resume)).unwrap();
            state
        };
        let recovered = |supersedes| {
            State::found(Founding {
                cluster: ClusterId(9),
                supersedes,
                settings: named("x").settings,
                first: named("x"),
            })
        };
        let (successor, stranger) = (recovered(vec![ClusterId(4), old]), recovered(Vec::new()));
        let new = successor.cluster();
        let superseded = Some(Fate::Superseded { old, new });
        let why = Staleness::Agreed(Incarnation(2));
        let later = Some(Fate::Stale { node, why });
        for (what, states, found) in [
            ("no seed answers", vec![], None),
            ("it is a member", vec![&known], None),
            ("another cluster", vec![&stranger], None),
            ("a later start of the same member", vec![&restarted], later),
            (
                "removed after that",
                vec![&restarted, &removed],
                Some(Fate::Removed(node)),
            ),
            ("removed", vec![&known, &removed], Some(Fate::Removed(node))),
            ("recovered", vec![&known, &successor], superseded),
            ("both", vec![&removed, &successor], superseded),
        ] {
            assert_eq!(fate(old, (node, Incarnation(1)), states), found, "{what}");
        }
        // That start itself.
        assert_eq!(fate(old, (node, Incarnation(2)), [&restarted]), None);
    }
}
