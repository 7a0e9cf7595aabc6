//! What a log must be on any disk: random operations from a seed, against raft's own storage in memory,
//! with restarts and losses of power between them.
//!
//! Run by the tests of the log, of RocksDB and of the simulator's disk. Panics where they differ.

use fastrand::Rng;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::storage::MemStorage;
use raft::{Error, GetEntriesContext, Storage, StorageError};

use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::raft::disk::Disk;

use super::{Ident, Log, Position};

/// A machine with one disk, empty at first.
pub trait Machine {
    /// Its disk.
    type Disk: Disk;

    /// The disk as it is now. The one that was handed out before has been dropped.
    fn start(&mut self) -> Self::Disk;

    /// Cuts the power, once the disk has been dropped. Of the batches after the last synced one, the
    /// first few survive, as many as `draws` says; returns how many are lost.
    fn cut_power(&mut self, draws: &mut Rng) -> usize;
}

/// What a log was asked to do, one batch each.
#[derive(Clone, Debug)]
enum Operation {
    Persist {
        snapshot: Option<Snapshot>,
        entries: Vec<Entry>,
        hard: Option<HardState>,
    },
    Commit(u64),
    Compact {
        snapshot: Snapshot,
        keep: u64,
    },
}

impl Operation {
    /// Whether it is there for good, where its caller asked for that or not.
    fn is_safe(&self, is_asked: bool) -> bool {
        match self {
            Self::Persist { .. } => is_asked,
            Self::Commit(_) => false,
            Self::Compact { .. } => true,
        }
    }
}

/// Does `operations` random operations on a new log of `machine`, comparing after each.
///
/// # Panics
/// The log differs from raft's own, does not open, or lost what was synced.
pub fn check(machine: &mut impl Machine, seed: u64, operations: usize) {
    let mut draws = Rng::with_seed(seed);
    let mut done = begin(machine, &mut draws);
    // How many of `done` no loss of power may take.
    let mut safe = done.len();
    let mut starts = 1;
    let mut log = Log::open(machine.start()).expect("a new log opens");
    for number in 0..operations {
        let at = format!("seed {seed}, operation {number}");
        let operation = draw(&mut draws, &Reference::after(&done));
        let is_synced = draws.u8(..4) > 0;
        let (writes, syncs) = (log.writes(), log.syncs());
        let applied = apply(&mut log, &operation, is_synced);
        assert_eq!(applied, Ok(()), "{at}: {operation:?}");
        assert!(log.writes() <= writes + 1, "{at}: more than one batch");
        if log.writes() > writes {
            let is_safe = operation.is_safe(is_synced);
            done.push(operation);
            if is_safe {
                assert_eq!(log.syncs(), syncs + 1, "{at}: not synced");
                safe = done.len();
            }
        }
        compare(&log, &Reference::after(&done), &mut draws, &at);
        let fate = draws.u8(..6);
        if fate > 1 && number + 1 < operations {
            continue;
        }
        drop(log);
        if fate == 1 {
            let lost = machine.cut_power(&mut draws);
            assert!(lost <= done.len() - safe, "{at}: {lost} lost");
            done.truncate(done.len() - lost);
        }
        starts += 1;
        log = Log::open(machine.start()).unwrap_or_else(|error| panic!("{at}: {error}"));
        safe = done.len();
        assert_eq!(log.ident(), &ident(starts), "{at}");
        compare(&log, &Reference::after(&done), &mut draws, &at);
    }
}

/// Founds or joins, and says what a log that did so is like.
fn begin(machine: &mut impl Machine, draws: &mut Rng) -> Vec<Operation> {
    let mut disk = machine.start();
    if draws.bool() {
        Log::join(&mut disk, &ident(0)).expect("an empty disk can be joined on");
        return Vec::new();
    }
    let at = Position {
        index: draws.u64(1..10),
        term: draws.u64(1..3),
    };
    let snapshot = snapshot(draws, at);
    Log::found(&mut disk, &ident(0), &snapshot).expect("an empty disk can be founded on");
    vec![Operation::Persist {
        snapshot: Some(snapshot),
        entries: Vec::new(),
        hard: None,
    }]
}

fn ident(starts: u64) -> Ident {
    Ident {
        cluster: ClusterId(7 << 70),
        node: NodeId(3),
        incarnation: Incarnation(starts),
    }
}

fn apply<D: Disk>(
    log: &mut Log<D>,
    operation: &Operation,
    is_synced: bool,
) -> Result<(), crate::raft::disk::DiskError> {
    match operation {
        Operation::Persist {
            snapshot,
            entries,
            hard,
        } => log.persist(snapshot.as_ref(), entries, hard.as_ref(), is_synced),
        Operation::Commit(commit) => log.persist_commit(*commit),
        Operation::Compact { snapshot, keep } => log.compact(snapshot.clone(), *keep),
    }
}

/// The same in raft's own storage, and what that does not keep.
struct Reference {
    storage: MemStorage,
    truncated: Position,
    snapshot: Snapshot,
}

impl Reference {
    fn after(operations: &[Operation]) -> Self {
        let mut reference = Self {
            storage: MemStorage::new(),
            truncated: Position::default(),
            snapshot: Snapshot::default(),
        };
        for operation in operations {
            reference.apply(operation);
        }
        reference
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Persist {
                snapshot,
                entries,
                hard,
            } => {
                if let Some(snapshot) = snapshot {
                    self.receive(snapshot);
                }
                let mut core = self.storage.wl();
                core.append(entries).expect("the entries were drawn to fit");
                if let Some(hard) = hard {
                    core.set_hardstate(hard.clone());
                }
            }
            Operation::Commit(commit) => {
                let mut core = self.storage.wl();
                let hard = core.mut_hard_state();
                hard.commit = hard.commit.max(*commit);
            }
            Operation::Compact { snapshot, keep } => self.compact(snapshot, *keep),
        }
    }

    fn receive(&mut self, snapshot: &Snapshot) {
        let mut core = self.storage.wl();
        let term = core.hard_state().term;
        core.apply_snapshot(snapshot.clone())
            .expect("the snapshot was drawn to fit");
        let hard = core.mut_hard_state();
        if hard.term > term {
            hard.vote = 0;
        }
        self.truncated = Position::of(snapshot);
        self.snapshot = snapshot.clone();
    }

    fn compact(&mut self, snapshot: &Snapshot, keep: u64) {
        let at = Position::of(snapshot);
        let cut = at.index.saturating_sub(keep).max(self.truncated.index);
        self.truncated = self.at(cut);
        let is_all = cut == self.last().index;
        let mut core = self.storage.wl();
        let commit = core.hard_state().commit.max(at.index);
        if is_all && cut >= core.hard_state().commit && cut == at.index {
            // Raft's own forgets where it was when it is empty, unless it takes it for a snapshot.
            let received = core.apply_snapshot(snapshot.clone());
            assert!(received.is_ok() || self.snapshot == *snapshot);
        } else {
            core.compact(cut + 1).expect("the index is in the log");
        }
        core.mut_hard_state().commit = commit;
        core.set_conf_state(snapshot.get_metadata().get_conf_state().clone());
        self.snapshot = snapshot.clone();
    }

    fn last(&self) -> Position {
        let last = self.storage.last_index().expect("it is in memory");
        self.at(last)
    }

    fn at(&self, index: u64) -> Position {
        if index == self.truncated.index {
            return self.truncated;
        }
        let term = self.storage.term(index).expect("the index is in the log");
        Position { index, term }
    }

    fn hard(&self) -> HardState {
        self.storage.rl().hard_state().clone()
    }
}

/// Returns what a correct driver might do next.
fn draw(draws: &mut Rng, now: &Reference) -> Operation {
    let (hard, last, snapshot_index) = (now.hard(), now.last(), Position::of(&now.snapshot).index);
    match draws.u8(..10) {
        0..4 => {
            let first = draws.u64(hard.commit + 1..=last.index + 1);
            ready(draws, &hard, None, now.at(first - 1))
        }
        4 => ready(draws, &hard, None, last),
        5..7 => Operation::Commit(draws.u64(hard.commit..=last.index)),
        7..9 if last.index > snapshot_index => {
            let index = draws.u64(snapshot_index + 1..=last.index);
            Operation::Compact {
                snapshot: snapshot(draws, now.at(index)),
                keep: draws.u64(..last.index + 1),
            }
        }
        _ => {
            let at = Position {
                index: hard.commit + draws.u64(1..10),
                term: hard.term.max(1) + draws.u64(..2),
            };
            let snapshot = snapshot(draws, at);
            ready(draws, &hard, Some(snapshot), at)
        }
    }
}

/// Returns what a Ready may hold: entries from `before` on, or none of them and the hard state alone.
fn ready(
    draws: &mut Rng,
    hard: &HardState,
    snapshot: Option<Snapshot>,
    before: Position,
) -> Operation {
    // A snapshot of a later term brings its term with it.
    let old_term = hard.term.max(before.term);
    let term = old_term + u64::from(draws.u8(..3) == 0);
    let mut entries = Vec::new();
    let mut last = before;
    for _ in 0..draws.usize(..6) {
        last = Position {
            index: last.index + 1,
            term: draws.u64(last.term..=term),
        };
        entries.push(Entry {
            index: last.index,
            term: last.term,
            data: vec![draws.u8(..); draws.usize(..40)],
            ..Entry::default()
        });
    }
    let floor = snapshot
        .as_ref()
        .map_or(hard.commit, |at| hard.commit.max(at.get_metadata().index));
    let vote = if term == hard.term && hard.vote != 0 {
        hard.vote
    } else {
        draws.u64(..4)
    };
    let is_alone = entries.is_empty() && snapshot.is_none();
    let has_hard = is_alone || term > old_term || draws.bool();
    Operation::Persist {
        snapshot,
        entries,
        hard: has_hard.then(|| HardState {
            term,
            vote,
            commit: draws.u64(floor..=last.index.max(floor)),
        }),
    }
}

/// A snapshot with any voters and any state.
fn snapshot(draws: &mut Rng, at: Position) -> Snapshot {
    let mut snapshot = Snapshot {
        data: vec![draws.u8(..); draws.usize(..100)],
        ..Snapshot::default()
    };
    let metadata = snapshot.mut_metadata();
    metadata.index = at.index;
    metadata.term = at.term;
    metadata.set_conf_state(ConfState {
        voters: (1..=draws.u64(1..6)).collect(),
        learners: (10..10 + draws.u64(..3)).collect(),
        ..ConfState::default()
    });
    snapshot
}

fn compare<D: Disk>(log: &Log<D>, reference: &Reference, draws: &mut Rng, at: &str) {
    let (first, last) = (reference.truncated.index + 1, reference.last().index);
    assert_eq!(log.first_index(), Ok(first), "{at}");
    assert_eq!(log.last_index(), Ok(last), "{at}");
    assert_eq!(log.hard_state(), &reference.hard(), "{at}");
    assert_eq!(
        log.snapshot_meta(),
        reference.snapshot.get_metadata(),
        "{at}"
    );
    assert_eq!(log.snapshot_data(), reference.snapshot.data, "{at}");

    let state = log.initial_state().expect("it is in memory");
    assert_eq!(state.hard_state, reference.hard(), "{at}");
    let conf_state = reference.snapshot.get_metadata().get_conf_state();
    assert_eq!(&state.conf_state, conf_state, "{at}");

    for index in first - 1..=last {
        assert_eq!(log.term(index), Ok(reference.at(index).term), "{at}");
    }
    let unavailable = Error::Store(StorageError::Unavailable);
    assert_eq!(log.term(last + 1), Err(unavailable), "{at}");
    let compacted = || Error::Store(StorageError::Compacted);
    if first > 1 {
        assert_eq!(log.term(first - 2), Err(compacted()), "{at}");
    }
    let none = || GetEntriesContext::empty(false);
    let below = log.entries(first - 1, last + 1, None, none());
    assert_eq!(below, Err(compacted()), "{at}");
    if first <= last {
        let low = draws.u64(first..=last);
        let high = draws.u64(low..=last) + 1;
        for (low, high, most) in [
            (first, last + 1, None),
            (low, high, Some(draws.u64(..200))),
            (low, low, Some(0)),
        ] {
            let expected = reference.storage.entries(low, high, most, none());
            assert_eq!(log.entries(low, high, most, none()), expected, "{at}");
        }
    }
}
