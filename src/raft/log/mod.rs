//! The Raft log: all of it in memory, every change on the disk first.
//!
//! It is metadata, a few MiB at most, so the disk is read once, when the log is opened, and only written
//! from then on. Raft owns the log (`RawNode<Log<D>>`) and reads it as its `Storage`; the driver writes
//! through `mut_store()`, one atomic batch for each Ready. What the log refuses is a defect of its caller,
//! and is reported like a failure of the disk: both end the Raft thread.

#[cfg(any(test, feature = "simulation"))]
pub mod conformance;
mod ident;
mod load;
mod persist;
mod rows;
mod shape;
mod storage;
#[cfg(test)]
mod tests;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};

use crate::ids::Incarnation;

use super::disk::{Batch, Disk, DiskError};
use load::Loaded;
use shape::Shape;

pub use ident::Ident;
pub use load::OpenError;
pub use rows::FORMAT;
pub use shape::Position;

/// Makes the state machine's bytes as of the index it was handed in with, however much later.
pub type EncodeState = Box<dyn Fn() -> Vec<u8> + Send>;

/// What a snapshot for a peer is made of.
struct Applied {
    index: u64,
    conf_state: ConfState,
    encode: EncodeState,
}

/// The log of one node on one disk.
pub struct Log<D: Disk> {
    disk: D,
    ident: Ident,
    hard: HardState,
    snapshot: Snapshot,
    truncated: Position,
    entries: Vec<Entry>,
    applied: Option<Applied>,
    failed: Option<DiskError>,
    /// Failures are ignored: a mistake, for the simulator to find.
    is_careless: bool,
    writes: u64,
    syncs: u64,
}

impl<D: Disk> Log<D> {
    /// Begins the log of a cluster's first node on an empty disk: one synced batch. The cluster begins
    /// as if all up to `snapshot` had been agreed on, so that a joiner gets that by snapshot too.
    ///
    /// # Errors
    /// [`OpenError::Occupied`]; [`OpenError::Unfit`] for a snapshot at index or term 0 or without a
    /// voter; the disk's.
    pub fn found(disk: &mut D, ident: &Ident, snapshot: &Snapshot) -> Result<(), OpenError> {
        shape::check_snapshot(snapshot).map_err(OpenError::Unfit)?;
        let at = Position::of(snapshot);
        if at.term == 0 {
            return Err(OpenError::Unfit("the snapshot is of term 0".to_owned()));
        }
        let hard = HardState {
            term: at.term,
            vote: 0,
            commit: at.index,
        };
        begin(disk, ident, &hard, Some(snapshot), at)
    }

    /// Begins the log of a node that joins, on an empty disk: one synced batch. It waits for a snapshot.
    ///
    /// # Errors
    /// [`OpenError::Occupied`]; the disk's.
    pub fn join(disk: &mut D, ident: &Ident) -> Result<(), OpenError> {
        begin(
            disk,
            ident,
            &HardState::default(),
            None,
            Position::default(),
        )
    }

    /// Reads the log, checks all of it, and [counts this start](Self::count_start).
    ///
    /// # Errors
    /// [`OpenError::Empty`] where [`Log::found`] or [`Log::join`] has to come first; all others say why
    /// this log must not be used.
    pub fn open(disk: D) -> Result<Self, OpenError> {
        let mut log = Self::read(disk)?;
        log.count_start()?;
        Ok(log)
    }

    /// Counts this start: the incarnation is on the disk, synced and one higher, when this returns.
    ///
    /// # Errors
    /// The disk failed, or there were too many starts.
    pub fn count_start(&mut self) -> Result<(), OpenError> {
        let starts = self.ident.incarnation.0.checked_add(1);
        let starts = starts.ok_or_else(|| OpenError::Corrupt("no more starts".to_owned()))?;
        self.ident.incarnation = Incarnation(starts);
        let mut batch = Batch::new();
        rows::put_ident(&mut batch, &self.ident);
        self.write(&batch, true)?;
        Ok(())
    }

    /// [`Log::open`] without counting a start, so that nothing is written: to read a log. No node may
    /// run on it before its start is counted.
    ///
    /// # Errors
    /// As [`Log::open`]'s.
    pub fn read(disk: D) -> Result<Self, OpenError> {
        let Loaded {
            ident,
            hard,
            snapshot,
            truncated,
            entries,
        } = load::load(&disk)?;
        Ok(Self {
            disk,
            ident,
            hard,
            applied: applied_by(&snapshot),
            snapshot,
            truncated,
            entries,
            failed: None,
            is_careless: false,
            writes: 0,
            syncs: 0,
        })
    }

    /// From here on takes a write that failed for one that was done: a mistake, for the simulator to find.
    pub(super) fn ignore_failures(&mut self) {
        self.is_careless = true;
    }

    /// Returns where the log ends.
    #[must_use]
    pub fn end(&self) -> Position {
        self.last()
    }

    /// Whose log it is, and which start this is.
    #[must_use]
    pub fn ident(&self) -> &Ident {
        &self.ident
    }

    /// Raft's hard state, as it is on the disk.
    #[must_use]
    pub fn hard_state(&self) -> &HardState {
        &self.hard
    }

    /// Returns where the last compaction or received snapshot was; index 0 for a joiner that waits for one.
    /// When the log was opened its index is the one to start applying after.
    #[must_use]
    pub fn snapshot_meta(&self) -> &SnapshotMetadata {
        self.snapshot.get_metadata()
    }

    /// The state machine at [`Log::snapshot_meta`].
    #[must_use]
    pub fn snapshot_data(&self) -> &[u8] {
        &self.snapshot.data
    }

    /// Batches written since the log was opened, that of the opening included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Those of [`Log::writes`] that were synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Says that all up to `index` is applied, so that a peer that needs a snapshot gets this state:
    /// called after every apply. `encode` is kept and called only when a snapshot is asked for, so it
    /// must hold the state as it is now. An older index than before changes nothing.
    pub fn set_applied(&mut self, index: u64, conf_state: ConfState, encode: EncodeState) {
        if self.applied.as_ref().is_none_or(|old| old.index <= index) {
            self.applied = Some(Applied {
                index,
                conf_state,
                encode,
            });
        }
    }

    /// A snapshot of what is applied, for a peer or for [`Log::compact`]: what the log was opened with
    /// until [`Log::set_applied`] was called. None before the first snapshot of a joiner.
    #[must_use]
    pub fn applied_snapshot(&self) -> Option<Snapshot> {
        let applied = self.applied.as_ref()?;
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = applied.index;
        metadata.term = self.term_at(applied.index)?;
        metadata.set_conf_state(applied.conf_state.clone());
        snapshot.data = (applied.encode)();
        Some(snapshot)
    }

    /// Bytes of the entries above `index`.
    #[must_use]
    pub fn bytes_after(&self, index: u64) -> u64 {
        let later = self.entries.get(self.offset(index + 1)..);
        later.unwrap_or_default().iter().map(bytes).sum()
    }

    /// Returns how many entries up to `index`, from the last one backwards, have at most `bytes_max`
    /// together.
    #[must_use]
    pub fn fitting(&self, index: u64, bytes_max: u64) -> u64 {
        let earlier = self.entries.get(..self.offset(index + 1));
        let mut left = bytes_max;
        let fits = earlier
            .unwrap_or_default()
            .iter()
            .rev()
            .take_while(|entry| {
                let rest = left.checked_sub(bytes(entry));
                left = rest.unwrap_or(0);
                rest.is_some()
            });
        fits.count() as u64
    }

    fn shape(&self) -> Shape {
        Shape {
            truncated: self.truncated,
            snapshot: Position::of(&self.snapshot),
            last: self.last(),
            hard: self.hard.clone(),
        }
    }

    fn last(&self) -> Position {
        let last = self.entries.last().map(Position::of_entry);
        last.unwrap_or(self.truncated)
    }

    /// Returns where among the entries the one at `index`, above the truncated one, is or would be.
    fn offset(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.truncated.index + 1)).unwrap_or(usize::MAX)
    }

    fn slice(&self, low: u64, high: u64) -> Option<&[Entry]> {
        self.entries.get(self.offset(low)..self.offset(high))
    }

    fn position_at(&self, index: u64) -> Option<Position> {
        let term = self.term_at(index)?;
        Some(Position { index, term })
    }

    /// The term at `index`, from the truncated index to the last.
    fn term_at(&self, index: u64) -> Option<u64> {
        if index <= self.truncated.index {
            return (index == self.truncated.index).then_some(self.truncated.term);
        }
        self.entries.get(self.offset(index)).map(|entry| entry.term)
    }
}

impl<D: Disk> std::fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("ident", &self.ident)
            .field("shape", &self.shape())
            .finish_non_exhaustive()
    }
}

/// Returns what an entry takes, about.
fn bytes(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len() + size_of::<Entry>()) as u64
}

/// The first batch of a log.
fn begin(
    disk: &mut impl Disk,
    ident: &Ident,
    hard: &HardState,
    snapshot: Option<&Snapshot>,
    truncated: Position,
) -> Result<(), OpenError> {
    if !load::is_empty(disk)? {
        return Err(OpenError::Occupied);
    }
    let mut batch = Batch::new();
    rows::put_format(&mut batch);
    rows::put_ident(&mut batch, ident);
    rows::put_message(&mut batch, rows::HARD_KEY, hard);
    rows::put_truncated(&mut batch, truncated);
    if let Some(snapshot) = snapshot {
        rows::put_message(&mut batch, rows::SNAPSHOT_KEY, snapshot);
    }
    Ok(disk.write(&batch, true)?)
}

/// A snapshot that was written is applied before anything after it: until then it stands for the state.
fn applied_by(snapshot: &Snapshot) -> Option<Applied> {
    let metadata = snapshot.get_metadata();
    let data = snapshot.data.clone();
    (metadata.index > 0).then(|| Applied {
        index: metadata.index,
        conf_state: metadata.get_conf_state().clone(),
        encode: Box::new(move || data.clone()),
    })
}
