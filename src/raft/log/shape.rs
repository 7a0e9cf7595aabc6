//! What must be true of a log at every moment, hence after every crash.
//!
//! One check for what is about to be written and for what was read, so that whatever the log accepts
//! it can open again.

use raft::eraftpb::{Entry, HardState, Snapshot};

/// The highest index that a snapshot may have: no cluster gets there, a lie would, and then overflow.
const MAX_SNAPSHOT_INDEX: u64 = u64::MAX / 2;

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Which entry.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
}

impl Position {
    /// Returns where `snapshot` was taken.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let metadata = snapshot.get_metadata();
        Self {
            index: metadata.index,
            term: metadata.term,
        }
    }

    /// Returns where `entry` is.
    pub(super) fn of_entry(entry: &Entry) -> Self {
        Self {
            index: entry.index,
            term: entry.term,
        }
    }
}

/// The outline of a log.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// The last entry that was dropped.
    pub(super) truncated: Position,
    /// The snapshot that the log begins from.
    pub(super) snapshot: Position,
    /// The last entry, or the last that was dropped if there is none.
    pub(super) last: Position,
    /// Raft's hard state.
    pub(super) hard: HardState,
}

impl Shape {
    /// Returns what is wrong with it, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self {
            truncated,
            snapshot,
            last,
            hard,
        } = self;
        if truncated.index > snapshot.index || truncated.term > snapshot.term {
            return Err(format!(
                "entries up to {truncated:?} are dropped, the snapshot is at {snapshot:?}"
            ));
        }
        if snapshot.index > last.index || snapshot.term > last.term {
            return Err(format!(
                "the log ends at {last:?}, before its snapshot at {snapshot:?}"
            ));
        }
        if hard.commit < snapshot.index || hard.commit > last.index {
            return Err(format!(
                "entries up to {} are committed, the snapshot is at {} and the log ends at {}",
                hard.commit, snapshot.index, last.index
            ));
        }
        if hard.term < last.term {
            return Err(format!(
                "the term is {}, before that of the last entry, {}",
                hard.term, last.term
            ));
        }
        Ok(())
    }
}

/// Whether a node may go from `before` to `after`: back to no term, and to no other vote within one.
pub(super) fn check_vote(before: &HardState, after: &HardState) -> Result<(), String> {
    if after.term < before.term {
        return Err(format!("term {} follows {}", after.term, before.term));
    }
    if after.term == before.term && before.vote != 0 && after.vote != before.vote {
        return Err(format!(
            "a vote for {} follows one for {} in term {}",
            after.vote, before.vote, before.term
        ));
    }
    Ok(())
}

/// Whether `entries` continue `before` without a hole, and no term is before the last one's.
pub(super) fn check_run(before: Position, entries: &[Entry]) -> Result<(), String> {
    let mut last = before;
    for entry in entries {
        let next = Position::of_entry(entry);
        if last.index.checked_add(1) != Some(next.index) {
            return Err(format!("entry {} follows {}", next.index, last.index));
        }
        if next.term < last.term {
            return Err(format!(
                "entry {} is of term {}, the one before it of {}",
                next.index, next.term, last.term
            ));
        }
        last = next;
    }
    Ok(())
}

/// Whether a log can begin from `snapshot`: 0 is raft's word for none, and somebody must be able to vote.
pub(super) fn check_snapshot(snapshot: &Snapshot) -> Result<(), String> {
    let metadata = snapshot.get_metadata();
    if metadata.index == 0 || metadata.index > MAX_SNAPSHOT_INDEX {
        return Err(format!("the snapshot is at index {}", metadata.index));
    }
    if metadata.get_conf_state().voters.is_empty() {
        return Err(format!("the snapshot at {} knows no voter", metadata.index));
    }
    Ok(())
}
