//! What a node shows of its membership in `/readyz`: one line for each check. Pure.
//!
//! Reads need no quorum, so neither the state of Raft nor that of the lease makes a node unready. A node that
//! belongs to no cluster yet is ready too.

use super::Reason;
use super::leaving::Stage;
use crate::ids::{ClusterId, NodeId};

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
    },
    /// Its control plane has ended for this reason.
    Ended(Reason),
}

/// A check by its name: a note on what is well, or the reason why the node is unready.
pub type Check = (&'static str, Result<Option<String>, Reason>);

/// The checks of a node's membership.
pub fn checks(membership: Membership, stage: Stage, is_isolated: bool) -> [Check; 3] {
    let raft = match membership {
        Membership::Ended(why) => format!("ended: {why}"),
        Membership::Member {
            node,
            cluster,
            term,
            leader,
        } => {
            let leader = leader.map_or("none".into(), |leader| leader.to_string());
            format!("member {node} of {cluster}, term {term}, leader {leader}")
        }
        Membership::None(Some(why)) => format!("no cluster joined yet: {why}"),
        Membership::None(None) => "no cluster found yet".into(),
    };
    let ring = match stage {
        Stage::Stays => Ok(None),
        Stage::Leaves | Stage::HasLeft | Stage::GaveUp => Err("leaving".into()),
    };
    let lease = match is_isolated {
        true => "none: isolated",
        false => "runs",
    };
    [
        ("raft", Ok(Some(raft))),
        ("ring", ring),
        ("lease", Ok(Some(lease.into()))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leaving_makes_a_node_unready() {
        let led_by = |leader| Membership::Member {
            node: NodeId(3),
            cluster: ClusterId(7),
            term: 5,
            leader,
        };
        let member = format!("member 3 of {}, term 5, leader", ClusterId(7));
        for (membership, raft) in [
            (Membership::None(None), "no cluster found yet".to_owned()),
            // A node that cannot join is ready, whatever keeps it out.
            (
                Membership::None(Some("refused by n1: too old".into())),
                "no cluster joined yet: refused by n1: too old".to_owned(),
            ),
            (led_by(Some(NodeId(1))), format!("{member} 1")),
            (led_by(None), format!("{member} none")),
            (
                Membership::Ended("no space".into()),
                "ended: no space".to_owned(),
            ),
        ] {
            for (is_isolated, lease) in [(true, "none: isolated"), (false, "runs")] {
                for (stage, is_ready) in [
                    (Stage::Stays, true),
                    (Stage::Leaves, false),
                    (Stage::HasLeft, false),
                    (Stage::GaveUp, false),
                ] {
                    let ring = match is_ready {
                        true => Ok(None),
                        false => Err("leaving".to_owned()),
                    };
                    let expected = [
                        ("raft", Ok(Some(raft.clone()))),
                        ("ring", ring),
                        ("lease", Ok(Some(lease.to_owned()))),
                    ];
                    assert_eq!(checks(membership.clone(), stage, is_isolated), expected);
                }
            }
        }
    }
}
