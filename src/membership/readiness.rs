//! What a node shows of its membership in `/readyz`: one line for each check. Pure.
//!
//! A node is ready once it has been up in its cluster: then a service may stop others in its favour. From then on
//! neither the state of Raft nor that of the lease makes it unready, since reads need no quorum: it is marked.
//!
//! No node waits for another to be ready: founders find each other, and joiners their cluster, before that.

use super::Reason;
use super::leaving::Stage;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// The membership of a node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It belongs to no cluster, for this reason if one is known.
    None(Option<Reason>),
    /// It is a member.
    Member {
        /// Its id.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterId,
        /// The term of its Raft.
        term: u64,
        /// The leader, if it knows one.
        leader: Option<NodeId>,
        /// Whether it [was up](is_up) at some time since it started.
        has_been_up: bool,
        /// What keeps it from being up, if that is known.
        obstacle: Option<Reason>,
    },
    /// Its control plane has ended.
    Ended {
        /// Why.
        why: Reason,
        /// Whether it [was up](is_up) at some time since it started.
        has_been_up: bool,
    },
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well; a note to show.
    Well(Option<String>),
    /// Something is wrong that keeps the node from serving nothing.
    Wrong(Reason),
    /// The node is unready.
    Unready(Reason),
}

impl Verdict {
    /// Whether it leaves the node ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !matches!(self, Self::Unready(_))
    }
}

/// A check by its name, and what it found.
pub type Check = (&'static str, Verdict);

/// Whether the start `own` of member `node` is up in a state that the node itself has applied.
#[must_use]
pub fn is_up(state: &State, node: NodeId, own: Incarnation) -> bool {
    state
        .member(node)
        .is_some_and(|member| member.incarnation >= own && member.status == MemberStatus::Up)
}

/// The checks of a node's membership.
#[must_use]
pub fn checks(membership: Membership, stage: Stage, is_isolated: bool) -> [Check; 3] {
    let ring = match stage {
        Stage::Stays => Verdict::Well(None),
        Stage::Leaves | Stage::HasLeft | Stage::GaveUp => Verdict::Unready("leaving".into()),
    };
    let lease = match is_isolated {
        true => Verdict::Wrong("none: isolated".into()),
        false => Verdict::Well(Some("runs".into())),
    };
    [("raft", raft(membership)), ("ring", ring), ("lease", lease)]
}

fn raft(membership: Membership) -> Verdict {
    match membership {
        Membership::None(Some(why)) => Verdict::Unready(format!("no cluster joined yet: {why}")),
        Membership::None(None) => Verdict::Unready("no cluster found yet".into()),
        Membership::Ended {
            why,
            has_been_up: true,
        } => Verdict::Wrong(format!("ended: {why}")),
        Membership::Ended { why, .. } => Verdict::Unready(format!("ended: {why}")),
        Membership::Member {
            node,
            cluster,
            term,
            leader,
            has_been_up,
            obstacle,
        } => {
            let named = leader.map_or("none".into(), |leader| leader.to_string());
            let text = format!("member {node} of {cluster}, term {term}, leader {named}");
            match (has_been_up, leader) {
                (true, Some(_)) => Verdict::Well(Some(text)),
                (true, None) => Verdict::Wrong(text),
                (false, _) => {
                    let why = obstacle.map_or_else(String::new, |why| format!(": {why}"));
                    Verdict::Unready(format!("{text}, not up yet{why}"))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::commands::{Command, Joiner, Resume};
    use crate::topology::fixtures::{cluster, named};

    fn member(leader: Option<NodeId>, has_been_up: bool, obstacle: Option<&str>) -> Membership {
        Membership::Member {
            node: NodeId(3),
            cluster: ClusterId(7),
            term: 5,
            leader,
            has_been_up,
            obstacle: obstacle.map(str::to_owned),
        }
    }

    #[test]
    fn a_node_is_ready_from_when_it_has_been_up_until_it_leaves() {
        let text = format!("member 3 of {}, term 5, leader", ClusterId(7));
        let unready = |why: &str| Verdict::Unready(why.to_owned());
        let wrong = |why: &str| Verdict::Wrong(why.to_owned());
        let refused = "refused by n1: too old";
        let ended = |has_been_up| Membership::Ended {
            why: "no space".into(),
            has_been_up,
        };
        for (membership, raft) in [
            (Membership::None(None), unready("no cluster found yet")),
            (
                Membership::None(Some(refused.into())),
                unready(&format!("no cluster joined yet: {refused}")),
            ),
            (
                member(Some(NodeId(1)), false, None),
                unready(&format!("{text} 1, not up yet")),
            ),
            (
                member(None, false, Some(refused)),
                unready(&format!("{text} none, not up yet: {refused}")),
            ),
            (
                member(Some(NodeId(1)), true, None),
                Verdict::Well(Some(format!("{text} 1"))),
            ),
            // Reads need no quorum.
            (member(None, true, None), wrong(&format!("{text} none"))),
            (ended(true), wrong("ended: no space")),
            (ended(false), unready("ended: no space")),
        ] {
            for (is_isolated, lease) in [
                (true, wrong("none: isolated")),
                (false, Verdict::Well(Some("runs".into()))),
            ] {
                for (stage, ring) in [
                    (Stage::Stays, Verdict::Well(None)),
                    (Stage::Leaves, unready("leaving")),
                    (Stage::HasLeft, unready("leaving")),
                    (Stage::GaveUp, unready("leaving")),
                ] {
                    let expected = [
                        ("raft", raft.clone()),
                        ("ring", ring),
                        ("lease", lease.clone()),
                    ];
                    assert_eq!(checks(membership.clone(), stage, is_isolated), expected);
                }
            }
        }
    }

    #[test]
    fn a_node_is_up_once_its_own_state_has_its_own_start() {
        let mut state = cluster(3);
        let (node, first, second) = (NodeId(2), Incarnation(1), Incarnation(2));
        let is = |state: &State, own| is_up(state, node, own);
        assert!(!is_up(&State::unknown(ClusterId(1)), node, first));
        assert!(is(&state, first));
        assert!(
            !is(&state, second),
            "what it was before it started again does not count"
        );
        let again = Resume {
            id: node,
            node: Joiner {
                incarnation: second,
                ..named("node-2")
            },
        };
        state.apply(&Command::Resume(again)).unwrap();
        assert!(is(&state, second));
        let fail_over = state.plan_fail_over(node).unwrap();
        state.apply(&fail_over).unwrap();
        assert!(!is(&state, second));
    }
}
