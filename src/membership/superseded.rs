//! Whether a member must not go on with its log, although the log is intact: because its cluster was
//! recovered under another id, or the member was removed. Pure.
//!
//! Nodes that share the data directory see a recovery in its latch. Nodes with a directory of their own learn
//! of it here, from the states that the seeds show. Otherwise they would wait for their old cluster for ever,
//! or, worse, enough of them would find each other to go on with the old cluster beside the new one.

use std::fmt;

use crate::ids::{ClusterId, NodeId};
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
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded { old, new } => {
                write!(f, "cluster {old} was recovered as cluster {new}")
            }
            Self::Removed(node) => write!(f, "member {node} was removed from the cluster"),
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
            Self::Removed(_) => None,
        }
    }
}

/// The fate of member `node` of the cluster `old`, by the states that the seeds show. None if they show
/// nothing against it: also if no seed answers, or if a seed shows the same member at a later start.
pub fn fate<'a, S>(old: ClusterId, node: NodeId, states: S) -> Option<Fate>
where
    S: IntoIterator<Item = &'a State>,
    S::IntoIter: Clone,
{
    let mut states = states.into_iter();
    // Recovery first: an old peer that knows nothing of it does not count against a node that does.
    let successor = states
        .clone()
        .find(|state| state.supersedes().contains(&old));
    if let Some(successor) = successor {
        let new = successor.cluster();
        return Some(Fate::Superseded { old, new });
    }
    let is_removed = states.any(|state| state.cluster() == old && state.is_tombstone(node));
    is_removed.then_some(Fate::Removed(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;
    use crate::topology::commands::{Command, Joiner, Resume};
    use crate::topology::fixtures::{cluster, named};
    use crate::topology::state::Founding;

    #[test]
    fn a_recovery_counts_before_a_removal_and_a_later_start_counts_not() {
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
        for (what, states, found) in [
            ("no seed answers", vec![], None),
            ("it is a member", vec![&known], None),
            ("another cluster", vec![&stranger], None),
            ("a later start of the same member", vec![&restarted], None),
            ("removed", vec![&known, &removed], Some(Fate::Removed(node))),
            ("recovered", vec![&known, &successor], superseded),
            ("both", vec![&removed, &successor], superseded),
        ] {
            assert_eq!(fate(old, node, states), found, "{what}");
        }
    }
}
