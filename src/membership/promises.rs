//! What others have heard a member promise, and whether the log that it starts on still holds that. Pure.
//!
//! Raft assumes that no log goes back. One does if an old copy of a directory is put in its place: the member has
//! then forgotten how it voted and what it acknowledged, and may do both once more. A member cannot find that out
//! from its own log, but others remember: so it asks the seeds before it runs the log.
//!
//! None of these rules refuses a log that did not go back: each start, term, vote and acknowledged entry is on the
//! disk before any other node hears of it. What they do not find is a copy whose later promises nobody remembers
//! who can be reached: then the copy starts.

use std::fmt;

use super::superseded::Fate;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::topology::state::State;

/// What one node has heard a member promise since the node itself has started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promised {
    /// The member's newest start.
    pub incarnation: Incarnation,
    /// The latest term in which the member has sent anything.
    pub term: u64,
    /// The last entry that it has acknowledged in that term; 0 if none.
    pub index: u64,
    /// Whether it has voted in that term.
    pub has_voted: bool,
}

/// What a message promises beside its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing.
    Nothing,
    /// All entries up to this one are on its sender's disk.
    Acknowledges(u64),
    /// Its sender has voted in its term.
    Votes,
}

impl Promised {
    /// Notes a message of the member's start `incarnation` in `term`.
    pub fn note(&mut self, incarnation: Incarnation, term: u64, promise: Promise) {
        self.incarnation = self.incarnation.max(incarnation);
        if term < self.term {
            return;
        }
        if term > self.term {
            (self.term, self.index, self.has_voted) = (term, 0, false);
        }
        match promise {
            Promise::Nothing => {}
            Promise::Acknowledges(index) => self.index = self.index.max(index),
            Promise::Votes => self.has_voted = true,
        }
    }
}

/// A member's log before it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnLog {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The member.
    pub node: NodeId,
    /// The start that it is opened for.
    pub incarnation: Incarnation,
    /// Its term.
    pub term: u64,
    /// Whether it holds a vote in that term.
    pub has_voted: bool,
    /// Its last entry.
    pub last: u64,
    /// Whether nobody but the member votes, and no entry of it changes that.
    pub is_alone: bool,
}

/// What a seed says of itself, and of the member that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The cluster that it is a member of.
    pub cluster: ClusterId,
    /// Its id.
    pub node: NodeId,
    /// Its start.
    pub incarnation: Incarnation,
    /// Its term.
    pub term: u64,
    /// The last entry that it knows to be committed.
    pub commit: u64,
    /// What it has heard the member promise.
    pub promised: Promised,
}

/// What shows that a member's log is an old copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// The members have agreed on this start of it.
    Agreed(Incarnation),
    /// A process runs as this member, with this start.
    Runs(Incarnation),
    /// A member has heard of this start.
    Started(Incarnation),
    /// A member has heard it promise more than is in the log.
    Forgotten {
        /// The term of the promise.
        term: u64,
        /// The last entry that it has acknowledged there.
        index: u64,
    },
    /// It is the only voter by its log, and yet a member is at a later term, or has a committed entry that the log
    /// has not.
    Outvoted {
        /// The member's term.
        term: u64,
        /// Its last committed entry.
        commit: u64,
    },
}

impl fmt::Display for Staleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agreed(start) => write!(f, "the members know its start {start} already"),
            Self::Runs(start) => {
                write!(f, "another process runs as this member, with start {start}")
            }
            Self::Started(start) => write!(f, "a member has heard of its start {start} already"),
            Self::Forgotten { term, index } => write!(
                f,
                "a member has heard its promises of term {term}, up to entry {index}, which are not in the log"
            ),
            Self::Outvoted { term, commit } => write!(
                f,
                "nobody else votes by it, and yet a member is at term {term} with entry {commit} committed"
            ),
        }
    }
}

/// Decides whether `own` is an old copy, by what the seeds say and by the states that they show.
pub fn stale<'a>(
    own: &OwnLog,
    witnesses: &[Witness],
    states: impl IntoIterator<Item = &'a State>,
) -> Option<Fate> {
    let OwnLog { cluster, node, .. } = *own;
    let mut states = states
        .into_iter()
        .filter(|state| state.cluster() == cluster);
    let agreed = states.find_map(|state| {
        let start = state.member(node)?.incarnation;
        (start >= own.incarnation).then_some(Staleness::Agreed(start))
    });
    let mut witnesses = witnesses
        .iter()
        .filter(|witness| witness.cluster == cluster);
    let why = agreed.or_else(|| witnesses.find_map(|witness| against(own, witness)));
    why.map(|why| Fate::Stale { node, why })
}

/// What a member of the same cluster knows against `own`.
fn against(own: &OwnLog, witness: &Witness) -> Option<Staleness> {
    let start = witness.incarnation;
    if witness.node == own.node {
        return (start >= own.incarnation).then_some(Staleness::Runs(start));
    }
    let Promised {
        incarnation,
        term,
        index,
        has_voted,
    } = witness.promised;
    if incarnation >= own.incarnation {
        return Some(Staleness::Started(incarnation));
    }
    // Within a term a log only grows: its one leader takes nothing back.
    let is_forgotten =
        (term, index) > (own.term, own.last) || (term == own.term && has_voted && !own.has_voted);
    if is_forgotten {
        return Some(Staleness::Forgotten { term, index });
    }
    let (term, commit) = (witness.term, witness.commit);
    // No term begins and nothing is committed without the only voter.
    let is_outvoted = own.is_alone && (term > own.term || commit > own.last);
    is_outvoted.then_some(Staleness::Outvoted { term, commit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::commands::{Command, Joiner, Resume};
    use crate::topology::fixtures::{cluster, named};

    const NODE: NodeId = NodeId(3);

    fn own(state: &State) -> OwnLog {
        OwnLog {
            cluster: state.cluster(),
            node: NODE,
            incarnation: Incarnation(4),
            term: 7,
            has_voted: false,
            last: 50,
            is_alone: false,
        }
    }

    fn peer(state: &State) -> Witness {
        Witness {
            cluster: state.cluster(),
            node: NodeId(1),
            incarnation: Incarnation(9),
            term: 8,
            commit: 60,
            promised: Promised {
                incarnation: Incarnation(3),
                term: 7,
                index: 50,
                has_voted: false,
            },
        }
    }

    #[test]
    fn a_log_that_has_forgotten_a_promise_is_an_old_copy() {
        let state = cluster(3);
        let (own, peer) = (own(&state), peer(&state));
        let promised = |change: fn(&mut Promised)| {
            let mut peer = peer.clone();
            change(&mut peer.promised);
            peer
        };
        let is_stale = |own: &OwnLog, witness: Witness| stale(own, &[witness], []).is_some();
        // Others may be far ahead of a log that is as it was left.
        assert!(!is_stale(&own, peer.clone()));
        assert!(!is_stale(
            &own,
            promised(|it| (it.term, it.index) = (6, 99))
        ));
        for change in [
            (|it| it.incarnation = Incarnation(4)) as fn(&mut Promised),
            |it| it.term = 8,
            |it| it.index = 51,
            |it| it.has_voted = true,
        ] {
            let witness = promised(change);
            assert!(is_stale(&own, witness.clone()), "{witness:?}");
            let mut stranger = witness;
            stranger.cluster = ClusterId(1);
            assert!(!is_stale(&own, stranger));
        }
        let voted = OwnLog {
            has_voted: true,
            ..own.clone()
        };
        assert!(!is_stale(&voted, promised(|it| it.has_voted = true)));
    }

    #[test]
    fn nothing_is_agreed_without_the_only_voter() {
        let state = cluster(3);
        let own = OwnLog {
            is_alone: true,
            ..own(&state)
        };
        let level = Witness {
            term: 7,
            commit: 50,
            ..peer(&state)
        };
        assert_eq!(stale(&own, std::slice::from_ref(&level), []), None);
        let (mut later, mut longer) = (level.clone(), level);
        later.term = 8;
        longer.commit = 51;
        for witness in [later, longer] {
            let why = Staleness::Outvoted {
                term: witness.term,
                commit: witness.commit,
            };
            let node = NODE;
            assert_eq!(stale(&own, &[witness], []), Some(Fate::Stale { node, why }));
        }
    }

    #[test]
    fn a_start_that_is_known_already_is_no_new_one() {
        let mut state = cluster(3);
        let start = |n| {
            let node = Joiner {
                incarnation: Incarnation(n),
                ..named("node-3")
            };
            Command::Resume(Resume { id: NODE, node })
        };
        let own = own(&state);
        state.apply(&start(3)).unwrap();
        assert_eq!(stale(&own, &[], [&state]), None);
        state.apply(&start(4)).unwrap();
        assert!(stale(&own, &[], [&state]).is_some());
        // The process before it, which ends; and one that has begun after it.
        let mut itself = peer(&state);
        (itself.node, itself.incarnation) = (NODE, Incarnation(3));
        assert_eq!(stale(&own, &[itself.clone()], []), None);
        itself.incarnation = Incarnation(4);
        assert!(stale(&own, &[itself], []).is_some());
    }

    #[test]
    fn a_later_term_begins_with_no_promise() {
        let mut promised = Promised::default();
        let start = Incarnation(2);
        for (term, promise, then) in [
            (4, Promise::Acknowledges(9), (4, 9, false)),
            (4, Promise::Acknowledges(8), (4, 9, false)),
            (3, Promise::Votes, (4, 9, false)),
            (5, Promise::Nothing, (5, 0, false)),
            (5, Promise::Votes, (5, 0, true)),
            (5, Promise::Acknowledges(3), (5, 3, true)),
        ] {
            promised.note(start, term, promise);
            let found = (promised.term, promised.index, promised.has_voted);
            assert_eq!(found, then);
        }
        assert_eq!(promised.incarnation, start);
    }
}
