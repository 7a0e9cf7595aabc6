//! How a member reports its start: it has the leader commit its new incarnation and its addresses, until it
//! sees that in its own state. Pure.
//!
//! Meanwhile, and afterwards whenever it knows no leader, it asks the seeds whether the others went on
//! without it; so it does if its own state has a later start of it. When all nodes have moved at once, no
//! address in the state is valid, and the state cannot change before the nodes have found each other: so a
//! member without a leader asks the seeds for theirs.

use super::seen::Leads;
use crate::ids::{Incarnation, NodeId};
use crate::topology::state::State;

/// How often a member that knows no leader asks whether its cluster was recovered without it, in
/// milliseconds. An operator may recover the cluster while this node waits for a quorum that is gone.
pub const FATE_EVERY_MS: u64 = 10_000;

/// The next step of a member that announces its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the seeds for their Raft addresses, and use them.
    LookForPeers,
    /// Ask the seeds for the member's [`Fate`](super::superseded::Fate). If there is one, the membership ends
    /// with it.
    AskFate,
    /// Commit the start, since this member leads; [`Announcing::refused`] if that is refused.
    CommitHere,
    /// Ask the seeds and the members in the state to have the leader commit the start;
    /// [`Announcing::refused`] if one refuses and none commits it.
    AskOthers,
    /// Pause for a moment of random length, or until another member leads.
    Pause,
    /// Wait for so many milliseconds.
    Wait(u64),
}

/// How far a member is with its announcement. The caller carries out one step, and then asks for the next.
#[derive(Clone, Debug)]
pub struct Announcing {
    node: NodeId,
    incarnation: Incarnation,
    last: Last,
}

/// What the member did last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Paused,
    LookedForPeers,
    AskedFate,
    Announced,
    WasRefused,
    /// The announcement is done, and the member waited.
    Waited,
    /// The announcement is done, and the member asked for its fate after a wait.
    Rechecked,
}

impl Announcing {
    /// Begins the announcement of the start `incarnation` of member `node`.
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation) -> Self {
        let last = Last::Paused;
        Self {
            node,
            incarnation,
            last,
        }
    }

    /// The next step, by the state that the member has applied and the leader that it knows.
    pub fn next(&mut self, state: &State, leads: Leads) -> Next {
        let (next, last) = match self.last {
            Last::Paused if leads == Leads::Nobody => (Next::LookForPeers, Last::LookedForPeers),
            Last::LookedForPeers => (Next::AskFate, Last::AskedFate),
            Last::Paused | Last::AskedFate if self.is_known(state) => {
                (Next::Wait(FATE_EVERY_MS), Last::Waited)
            }
            Last::Paused | Last::AskedFate if leads == Leads::Itself => {
                (Next::CommitHere, Last::Announced)
            }
            Last::Paused | Last::AskedFate => (Next::AskOthers, Last::Announced),
            Last::Announced => (Next::Pause, Last::Paused),
            Last::WasRefused => (Next::AskFate, Last::Announced),
            Last::Waited if leads == Leads::Nobody || self.is_overtaken(state) => {
                (Next::AskFate, Last::Rechecked)
            }
            Last::Waited | Last::Rechecked => (Next::Wait(FATE_EVERY_MS), Last::Waited),
        };
        self.last = last;
        next
    }

    /// Notes that the commit, or the question to others, ended with a refusal.
    pub fn refused(&mut self) {
        self.last = Last::WasRefused;
    }

    /// Whether the state has this start. A member that has just joined is not in its own state before its
    /// first snapshot, and its address may have changed since it joined.
    fn is_known(&self, state: &State) -> bool {
        let known = state.member(self.node);
        known.is_some_and(|known| known.incarnation >= self.incarnation)
    }

    /// Whether the state has a later start: then this one is of an old copy of the log, and others refuse whatever
    /// it sends.
    fn is_overtaken(&self, state: &State) -> bool {
        let known = state.member(self.node);
        known.is_some_and(|known| known.incarnation > self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
    use crate::topology::fixtures::cluster;

    const WAIT: Next = Next::Wait(FATE_EVERY_MS);

    #[test]
    fn a_start_is_announced_until_the_state_has_it() {
        use Leads::{Another, Itself, Nobody};
        use Next::{AskFate, AskOthers, CommitHere, LookForPeers, Pause};
        let (known, unknown) = (cluster(3), State::unknown(ClusterId(1)));
        // The first start of member 3 is in the state, its second is not.
        let (old, new) = (Incarnation(1), Incarnation(2));
        for (start, steps) in [
            (old, vec![(&known, Another, WAIT), (&known, Another, WAIT)]),
            (
                new,
                vec![(&known, Itself, CommitHere), (&known, Itself, Pause)],
            ),
            (
                new,
                vec![
                    (&known, Another, AskOthers),
                    (&known, Another, Pause),
                    (&known, Another, AskOthers),
                ],
            ),
            // A later start of it is in the state: it asks for its fate, whoever leads.
            (
                Incarnation(0),
                vec![
                    (&known, Another, WAIT),
                    (&known, Another, AskFate),
                    (&known, Another, WAIT),
                ],
            ),
            // It knows nothing yet.
            (old, vec![(&unknown, Another, AskOthers)]),
            // Without a leader it asks the seeds first, for their addresses and its fate, and others then:
            // they may know the leader.
            (
                new,
                vec![
                    (&known, Nobody, LookForPeers),
                    (&known, Nobody, AskFate),
                    (&known, Nobody, AskOthers),
                    (&known, Nobody, Pause),
                    (&known, Nobody, LookForPeers),
                    (&known, Another, AskFate),
                    (&known, Itself, CommitHere),
                ],
            ),
            // Also when its start is known already: once then, and every 10 s from then on.
            (
                old,
                vec![
                    (&known, Nobody, LookForPeers),
                    (&known, Nobody, AskFate),
                    (&known, Nobody, WAIT),
                    (&known, Nobody, AskFate),
                    (&known, Nobody, WAIT),
                    (&known, Another, WAIT),
                    (&known, Nobody, AskFate),
                ],
            ),
        ] {
            let mut announcing = Announcing::new(NodeId(3), start);
            for (n, (state, leads, next)) in steps.iter().enumerate() {
                let step = announcing.next(state, *leads);
                assert_eq!(step, *next, "step {n} of {steps:?}");
            }
        }
    }

    #[test]
    fn a_refused_member_asks_for_its_fate_and_then_again() {
        let known = cluster(3);
        let mut announcing = Announcing::new(NodeId(3), Incarnation(2));
        for _ in 0..2 {
            let next = announcing.next(&known, Leads::Another);
            assert_eq!(next, Next::AskOthers);
            announcing.refused();
            for next in [Next::AskFate, Next::Pause] {
                assert_eq!(announcing.next(&known, Leads::Another), next);
            }
        }
    }
}
