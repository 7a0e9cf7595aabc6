//! The disk below the log: rows in two columns, written in atomic batches.
//!
//! Two implementations: `RocksDisk`, and the simulator's in `tests/sim`, which loses what was not
//! synced. All that gives rows a meaning is above this line, so both run the same code.

use std::fmt;

/// Where a row is. Keys are ordered as bytes within a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// Entries of the log.
    Log,
    /// All that is not an entry: hard state, snapshot, identity.
    Meta,
}

impl Column {
    /// Every column.
    pub const ALL: [Self; 2] = [Self::Log, Self::Meta];
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a row, whether or not it is there.
    Put {
        /// The row's column.
        column: Column,
        /// The row's key.
        key: Vec<u8>,
        /// The row's new value.
        value: Vec<u8>,
    },
    /// Deletes the rows from `from` on and before `to`, as many as there are.
    DeleteRange {
        /// The rows' column.
        column: Column,
        /// The first key that is deleted.
        from: Vec<u8>,
        /// The first key above that is not.
        to: Vec<u8>,
    },
}

/// Changes that happen together or not at all, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    writes: Vec<Write>,
}

impl Batch {
    /// A batch of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a row.
    pub fn put(&mut self, column: Column, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push(Write::Put {
            column,
            key: key.into(),
            value: value.into(),
        });
    }

    /// Deletes the rows of `[from, to)`.
    pub fn delete_range(
        &mut self,
        column: Column,
        from: impl Into<Vec<u8>>,
        to: impl Into<Vec<u8>>,
    ) {
        self.writes.push(Write::DeleteRange {
            column,
            from: from.into(),
            to: to.into(),
        });
    }

    /// The changes, in order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// The disk failed. What it holds is unknown from here on: a caller that gets this writes no more, since a
/// write that is tried again after a failed fsync may be reported as done and be lost
/// (Rebello et al., ATC 2020).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DiskError(pub String);

impl DiskError {
    /// The error that says `reason`.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// A row: its key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Rows that outlive the process.
pub trait Disk: Send {
    /// Every row of `column`, in ascending order of the keys. Read once, when the log is opened.
    ///
    /// # Errors
    /// The disk cannot be read, or is not as it was written.
    fn rows(&self, column: Column) -> Result<Vec<Row>, DiskError>;

    /// Writes `batch`: all of it or nothing is there after a crash. With `is_synced` it outlives a loss
    /// of power when this returns, and so does every batch before it. Without, it may be lost, and then
    /// so is every batch after it.
    ///
    /// # Errors
    /// The disk failed; whether the batch was written is unknown.
    fn write(&mut self, batch: &Batch, is_synced: bool) -> Result<(), DiskError>;
}
