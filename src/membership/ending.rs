//! How a membership ends, and what a node does then. Pure.
//!
//! A node whose log has failed serves on, isolated, until other members own what it owned; then it stops. So
//! one sick disk that many nodes share does not empty every cache at once: as long as no member takes over,
//! all nodes go on. If none does so for a minute, nobody leads: then the node opens its log again as soon as its
//! disk is well, in the same process and as the same member. A new process would be another member where names are
//! those of tasks, and with most voters the cluster would be lost. Its cache is empty then, as after a restart.

use super::Reason;
use super::superseded::Fate;
use crate::ids::{Millis, NodeId};
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// The pause between two looks at other nodes' states, in milliseconds.
pub const LOOK_EVERY_MS: u64 = 1_000;

/// How long others have to take over before a node opens its failed log again, in milliseconds. A leader needs
/// half of it to take members down while most are silent.
pub const REOPEN_AFTER_MS: u64 = 60_000;

/// How a membership ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The process is about to stop. If other nodes go on, the member hands its leadership over first.
    Stopped,
    /// The other members went on without this one: its log is of no use any more. The directory goes to the
    /// fate's successor, the log is set aside, and the node begins as one that never had a log.
    Sealed(Fate),
    /// Its Raft ended, and with it the control plane.
    Failed(Reason),
}

impl From<Fate> for Ended {
    /// What ends the membership of a member that runs. One of which there is a later start may share its directory
    /// with that, so it touches nothing: the process ends, and its next one looks before it runs the log.
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Superseded { .. } | Fate::Removed(_) => Self::Sealed(fate),
            Fate::Stale { .. } => Self::Failed(fate.to_string()),
        }
    }
}

/// What a node does once its control plane has ended. `M` is its membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After<M> {
    /// It serves on as that member, and looks every [`LOOK_EVERY_MS`] whether it [may stop](is_relieved).
    ServesOn(M),
    /// It stops at once.
    Stops,
}

/// Decides what a node does once its control plane has ended. One that is no member cannot become one any
/// more: it stops, so that its operator notices. The values in the memory of a member are still worth serving.
#[must_use]
pub fn after<M>(membership: Option<M>) -> After<M> {
    match membership {
        Some(membership) => After::ServesOn(membership),
        None => After::Stops,
    }
}

/// What a node without a log does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It stops: other members own what it owned.
    Stops,
    /// It looks again after [`LOOK_EVERY_MS`].
    Waits,
    /// It looks whether its disk is well: then it opens its log again.
    Probes,
}

/// A node whose log failed, and that serves on.
#[derive(Clone, Copy, Debug)]
pub struct Outliving {
    since: Millis,
}

impl Outliving {
    /// Its log has failed at `now`.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self { since: now }
    }

    /// The next step, with whether others own what it owned ([`is_relieved`]).
    #[must_use]
    pub fn next(&self, now: Millis, is_relieved: bool) -> Next {
        match is_relieved {
            true => Next::Stops,
            false if now.since(self.since) < REOPEN_AFTER_MS => Next::Waits,
            false => Next::Probes,
        }
    }
}

/// Whether a node without a log may stop: one of the states that the seeds and the members in `known` show
/// goes on without member `own`, which knew the state `known` last.
pub fn is_relieved<'a>(
    known: &State,
    own: NodeId,
    shown: impl IntoIterator<Item = &'a State>,
) -> bool {
    let mut shown = shown.into_iter();
    shown.any(|shown| goes_on_without(shown, known, own))
}

/// Whether member `own` has nothing to do any more in the state `shown`. So it is if its cluster was
/// recovered, or if it owns nothing there and it is down, was removed, or `shown` is newer than what it has
/// known.
fn goes_on_without(shown: &State, known: &State, own: NodeId) -> bool {
    let old = known.cluster();
    if shown.cluster() != old {
        return shown.supersedes().contains(&old);
    }
    let record = shown.member(own);
    let is_down = record.is_none_or(|record| record.status == MemberStatus::Down);
    let is_known = is_down && shown.epoch() >= known.epoch() || shown.epoch() > known.epoch();
    is_known && shown.table().owned_by(own) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
    use crate::topology::fixtures::{cluster, named, status};
    use crate::topology::state::Founding;

    #[test]
    fn a_node_is_relieved_by_a_topology_that_goes_on_without_it() {
        let known = cluster(3);
        let own = NodeId(3);
        let mut other = known.clone();
        other.apply(&status(2, MemberStatus::Leaving)).unwrap();
        let mut down = known.clone();
        down.apply(&known.plan_fail_over(own).unwrap()).unwrap();
        let recovered = |supersedes| {
            State::found(Founding {
                cluster: ClusterId(9),
                supersedes,
                settings: named("x").settings,
                first: named("x"),
            })
        };
        let successor = recovered(vec![known.cluster()]);
        let stranger = recovered(Vec::new());
        for (what, shown, known, is_expected) in [
            // However long nobody else shows anything.
            ("no answer", vec![], &known, false),
            ("it is up, and owns", vec![&known], &known, false),
            ("a newer one in which it owns", vec![&other], &known, false),
            ("it is down", vec![&known, &down], &known, true),
            ("it knew before its log failed", vec![&down], &down, true),
            (
                "an older topology proves nothing",
                vec![&known],
                &down,
                false,
            ),
            ("its cluster was recovered", vec![&successor], &known, true),
            ("another cluster", vec![&stranger], &known, false),
        ] {
            assert_eq!(is_relieved(known, own, shown), is_expected, "{what}");
        }
    }

    #[test]
    fn a_failed_log_is_opened_again_once_others_had_time_to_take_over() {
        let outliving = Outliving::new(Millis(5));
        for (now, is_relieved, next) in [
            (5, false, Next::Waits),
            (60_004, false, Next::Waits),
            (60_004, true, Next::Stops),
            (60_005, false, Next::Probes),
            (90_000, true, Next::Stops),
        ] {
            assert_eq!(outliving.next(Millis(now), is_relieved), next, "{now}");
        }
    }

    #[test]
    fn only_a_member_serves_on_without_a_control_plane() {
        assert_eq!(after(Some(NodeId(3))), After::ServesOn(NodeId(3)));
        assert_eq!(after(None::<NodeId>), After::Stops);
    }
}
