//! The writing half of the log: a batch for each change, in memory only once the disk has it.

use std::cmp::Ordering;

use raft::eraftpb::{Entry, HardState, Snapshot};

use crate::raft::disk::{Batch, Column, Disk, DiskError};

use super::rows::{self, entry_key};
use super::shape::{self, Position, Shape};
use super::{Log, applied_by};

impl<D: Disk> Log<D> {
    /// Writes what a Ready holds in one batch, in raft's order: the snapshot, which takes the place of
    /// the whole log, then the entries, which take the place of all from the first of them on, then the
    /// hard state. In memory nothing changes before the disk has it.
    ///
    /// # Errors
    /// The disk's. The log refuses a hole, the loss of a committed entry, a second vote in one term, and
    /// whatever it could not open again. After a failure of the disk every later write fails.
    pub fn persist(
        &mut self,
        snapshot: Option<&Snapshot>,
        entries: &[Entry],
        hard: Option<&HardState>,
        is_synced: bool,
    ) -> Result<(), DiskError> {
        let mut batch = Batch::new();
        let mut after = self.shape();
        if let Some(snapshot) = snapshot {
            self.put_received(&mut batch, &mut after, snapshot)?;
        }
        if !entries.is_empty() {
            self.put_entries(&mut batch, &mut after, entries)?;
        }
        if let Some(hard) = hard {
            shape::check_vote(&after.hard, hard).map_err(refuse)?;
            let commit = after.hard.commit.max(hard.commit);
            after.hard = HardState {
                commit,
                ..hard.clone()
            };
        }
        after.check().map_err(refuse)?;
        if hard.is_some() || after.hard != self.hard {
            rows::put_message(&mut batch, rows::HARD_KEY, &after.hard);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.write(&batch, is_synced)?;

        if let Some(snapshot) = snapshot {
            self.entries.clear();
            self.snapshot = snapshot.clone();
            self.applied = applied_by(snapshot);
        }
        self.truncated = after.truncated;
        if let Some(first) = entries.first() {
            self.entries.truncate(self.offset(first.index));
            self.entries.extend_from_slice(entries);
        }
        self.hard = after.hard;
        Ok(())
    }

    /// Writes that entries up to `commit` are committed, unsynced: raft would find it out again. A lower
    /// commit than before changes nothing.
    ///
    /// # Errors
    /// As [`Log::persist`].
    pub fn persist_commit(&mut self, commit: u64) -> Result<(), DiskError> {
        if commit <= self.hard.commit {
            return Ok(());
        }
        let hard = HardState {
            commit,
            ..self.hard.clone()
        };
        self.persist(None, &[], Some(&hard), false)
    }

    /// Makes `snapshot` the one that the log begins from, and drops all entries but the last `keep` up to
    /// it: one synced batch. The caller has applied all up to its index and no more to its data. A
    /// snapshot that is not newer than the last one changes nothing.
    ///
    /// # Errors
    /// As [`Log::persist`]; refused where the log has no such entry.
    pub fn compact(&mut self, snapshot: Snapshot, keep: u64) -> Result<(), DiskError> {
        let at = Position::of(&snapshot);
        if at.index <= self.snapshot_meta().index {
            return Ok(());
        }
        shape::check_snapshot(&snapshot).map_err(refuse)?;
        if self.term_at(at.index) != Some(at.term) {
            return Err(refuse(format!("the log has no entry {at:?} to compact at")));
        }
        let mut after = self.shape();
        after.snapshot = at;
        after.hard.commit = after.hard.commit.max(at.index);
        let cut = at.index.saturating_sub(keep).max(self.truncated.index);
        after.truncated = Position {
            index: cut,
            term: self
                .term_at(cut)
                .expect("it is between the truncated and the snapshot's index"),
        };
        after.check().map_err(refuse)?;

        let mut batch = Batch::new();
        rows::put_message(&mut batch, rows::SNAPSHOT_KEY, &snapshot);
        rows::put_message(&mut batch, rows::HARD_KEY, &after.hard);
        rows::put_truncated(&mut batch, after.truncated);
        delete_entries(&mut batch, self.truncated.index, cut);
        self.write(&batch, true)?;

        self.entries.drain(..self.offset(cut + 1));
        self.truncated = after.truncated;
        self.snapshot = snapshot;
        self.hard = after.hard;
        Ok(())
    }

    fn put_received(
        &self,
        batch: &mut Batch,
        after: &mut Shape,
        snapshot: &Snapshot,
    ) -> Result<(), DiskError> {
        shape::check_snapshot(snapshot).map_err(refuse)?;
        let at = Position::of(snapshot);
        if at.index < self.hard.commit {
            return Err(refuse(format!(
                "the snapshot at {} is older than what is committed, {}",
                at.index, self.hard.commit
            )));
        }
        after.snapshot = at;
        after.truncated = at;
        after.last = at;
        after.hard.commit = at.index;
        if after.hard.term < at.term {
            after.hard.term = at.term;
            after.hard.vote = 0;
        }
        delete_entries(batch, self.truncated.index, self.last().index);
        rows::put_message(batch, rows::SNAPSHOT_KEY, snapshot);
        rows::put_truncated(batch, at);
        Ok(())
    }

    fn put_entries(
        &self,
        batch: &mut Batch,
        after: &mut Shape,
        entries: &[Entry],
    ) -> Result<(), DiskError> {
        let first = entries[0].index;
        if first <= after.hard.commit {
            return Err(refuse(format!(
                "entry {first} is written again, entries up to {} are committed",
                after.hard.commit
            )));
        }
        let before = match first.cmp(&(after.last.index + 1)) {
            Ordering::Less => self.position_at(first - 1),
            Ordering::Equal => Some(after.last),
            Ordering::Greater => None,
        };
        let before = before.ok_or_else(|| {
            refuse(format!(
                "entry {first} would leave a hole after {}",
                after.last.index
            ))
        })?;
        shape::check_run(before, entries).map_err(refuse)?;
        delete_entries(batch, first - 1, self.last().index);
        for entry in entries {
            rows::put_entry(batch, entry);
            after.last = Position::of_entry(entry);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, batch: &Batch, is_synced: bool) -> Result<(), DiskError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if let Err(failed) = self.disk.write(batch, is_synced)
            && !self.is_careless
        {
            self.failed = Some(failed.clone());
            return Err(failed);
        }
        self.writes += 1;
        self.syncs += u64::from(is_synced);
        Ok(())
    }
}

/// Deletes the entries above `after` up to `last`, if there are any.
fn delete_entries(batch: &mut Batch, after: u64, last: u64) {
    if after < last {
        batch.delete_range(Column::Log, entry_key(after + 1), entry_key(last + 1));
    }
}

fn refuse(reason: impl std::fmt::Display) -> DiskError {
    DiskError::new(format_args!("refused: {reason}"))
}
