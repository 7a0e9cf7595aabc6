//! What goes wrong: the kinds of faults, and which of them a run has seen.
//!
//! A run draws some kinds and leaves out the others, so that one kind does not hide another's effects. What
//! every run draws from must break nothing; some of what only wild runs have does (`expected`).

use crate::dice::Dice;

/// A kind of fault. The order is that of [`Fault::all`].
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
    /// Messages arrive that are of another cluster, for another node, or that no node made so.
    Stray,
    /// A message arrives once more, up to half a minute later.
    Replay,
    /// A write takes seconds.
    Hang,
    /// A write takes longer than the watchdog waits.
    Stall,
    /// A synced write is torn: RocksDB reports it when the directory is opened.
    Torn,
    /// A bit of a row is another one.
    Flip,
    /// An old copy of a directory is put back.
    StaleCopy,
    /// A copy of the founder's directory from the time when it was alone is put back.
    FounderCopy,
    /// A second process waits for the lock of a directory, and has it as soon as the first one ends.
    SecondProcess,
    /// A second process runs on a directory, since its lock was lost.
    LostLock,
    /// Members run an older executable, and are upgraded.
    OldVersion,
    /// A member is started with an older executable than before.
    Rollback,
    /// A node never comes back.
    NeverBack,
    /// Most voters never come back.
    MajorityLost,
    /// Nodes are stopped, any number of them, in any order and at any gap.
    Stop,
    /// Processes are suspended, and so are their clocks.
    Freeze,
    /// A node's state becomes another than the others'.
    Diverge,
}

impl Fault {
    /// The kinds that every run draws from.
    pub(crate) const PLAIN: [Self; 21] = [
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

    /// The kinds that wild runs have besides: each of them one at least.
    pub(crate) const WILD: [Self; 17] = [
        Self::Stray,
        Self::Replay,
        Self::Hang,
        Self::Stall,
        Self::Torn,
        Self::Flip,
        Self::StaleCopy,
        Self::FounderCopy,
        Self::SecondProcess,
        Self::LostLock,
        Self::OldVersion,
        Self::Rollback,
        Self::NeverBack,
        Self::MajorityLost,
        Self::Stop,
        Self::Freeze,
        Self::Diverge,
    ];

    /// Every kind.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::PLAIN.into_iter().chain(Self::WILD)
    }

    /// The plain kinds of this run: about half of them.
    pub(crate) fn draw(dice: &mut Dice) -> Vec<Self> {
        let share = dice.within(250..800) as u32;
        let all = Self::PLAIN.into_iter();
        all.filter(|_| dice.chance(share)).collect()
    }
}

/// How often each kind of fault happened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen([u64; Fault::PLAIN.len() + Fault::WILD.len()]);

impl Default for Seen {
    fn default() -> Self {
        Self([0; Fault::PLAIN.len() + Fault::WILD.len()])
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seen = Fault::all().zip(self.0).filter(|(_, times)| *times > 0);
        f.debug_map().entries(seen).finish()
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

    /// Whether it ever happened.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.0[fault as usize] > 0
    }

    /// Those of `kinds` that never happened.
    pub(crate) fn missing(&self, kinds: &[Fault]) -> Vec<Fault> {
        let kinds = kinds.iter().copied();
        kinds.filter(|fault| !self.has(*fault)).collect()
    }
}

#[test]
fn a_kind_stands_where_its_number_says() {
    for (at, fault) in Fault::all().enumerate() {
        assert_eq!(fault as usize, at);
    }
}
