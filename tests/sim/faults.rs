//! What goes wrong: the kinds of faults, and which of them a run has seen.
//!
//! A run draws some kinds and leaves out the others, so that one kind does not hide another's effects.

use crate::dice::Dice;

/// A kind of fault. The order is that of [`Fault::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A message is lost.
    Loss,
    /// A message arrives twice.
    Duplicate,
    /// A message overtakes another.
    Reorder,
    /// A message is late, up to seconds.
    Late,
    /// The nodes are in two halves that do not hear each other.
    Partition,
    /// One node is heard and hears nothing, or hears and is not heard.
    OneWay,
    /// Two halves that only one node hears both of.
    Bridge,
    /// One node, mostly the leader, is alone.
    Isolate,
    /// A node loses its power between two turns.
    Crash,
    /// A node loses its power between two writes or sends of a turn.
    CrashInTurn,
    /// A crash took writes that were not synced.
    LostWrites,
    /// A node stands still and then does all it has missed.
    Pause,
    /// An fsync fails: the node is dead until it is started again.
    SyncFails,
    /// The disk is full: the node is dead until it is started again.
    Full,
    /// The disk takes its time.
    SlowDisk,
    /// A clock runs far too fast or too slowly.
    Clock,
    /// A node's disk comes back empty: the node never does.
    Wipe,
    /// A node joins.
    Join,
    /// A voter takes another's place, in one joint change.
    Swap,
    /// A node is removed from the quorum, then from the members.
    Remove,
    /// A leader hands over.
    Transfer,
}

impl Fault {
    /// Every kind.
    pub(crate) const ALL: [Self; 21] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Late,
        Self::Partition,
        Self::OneWay,
        Self::Bridge,
        Self::Isolate,
        Self::Crash,
        Self::CrashInTurn,
        Self::LostWrites,
        Self::Pause,
        Self::SyncFails,
        Self::Full,
        Self::SlowDisk,
        Self::Clock,
        Self::Wipe,
        Self::Join,
        Self::Swap,
        Self::Remove,
        Self::Transfer,
    ];

    /// The kinds of this run: about half of all.
    pub(crate) fn draw(dice: &mut Dice) -> Vec<Self> {
        let share = dice.within(250..800) as u32;
        let all = Self::ALL.into_iter();
        all.filter(|_| dice.chance(share)).collect()
    }
}

/// How often each kind of fault happened.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen([u64; Fault::ALL.len()]);

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(Fault::ALL.iter().zip(self.0))
            .finish()
    }
}

impl Seen {
    /// It happened.
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// All that another run saw, too.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            *own += more;
        }
    }

    /// The kinds that never happened.
    pub(crate) fn missing(&self) -> Vec<Fault> {
        let all = Fault::ALL.into_iter();
        all.filter(|fault| self.0[*fault as usize] == 0).collect()
    }
}

#[test]
fn a_kind_stands_where_its_number_says() {
    for (at, fault) in Fault::ALL.into_iter().enumerate() {
        assert_eq!(fault as usize, at);
    }
}
