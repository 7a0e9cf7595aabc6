//! From the rows of a disk to a log that may be trusted, or to what is wrong with it.
//!
//! Nothing is repaired and nothing is skipped: an entry that was acknowledged and is gone, or a vote that
//! is forgotten, can make two leaders of one term. The caller sets the directory aside and joins under a
//! new id.

use std::collections::BTreeMap;

use raft::eraftpb::{Entry, HardState, Snapshot};

use crate::membership::opening::Found;
use crate::raft::disk::{Column, Disk, DiskError, Row};

use super::ident::Ident;
use super::rows::FORMAT;
use super::rows::{self, BadRow};
use super::shape::{self, Position, Shape};

/// A log cannot be opened, or begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Disk(#[from] DiskError),
    /// What is there is not what was written, or contradicts itself. Never to be repaired.
    #[error("the log is corrupt: {0}")]
    Corrupt(String),
    /// Written by another version of gcache.
    #[error("the log has format {found}, this version of gcache knows {known}")]
    Format {
        /// What the log says.
        found: u32,
        /// What this version reads and writes.
        known: u32,
    },
    /// The state in it was written by a later version of gcache. The log is sound, and of use to that version.
    #[error(
        "a later version of gcache wrote the log: version {found} is in use there, this executable knows \
         versions up to {known}. Nothing is changed: start the later version again"
    )]
    Newer {
        /// The version of the state.
        found: u32,
        /// The highest version that this executable knows.
        known: u32,
    },
    /// Nothing was founded or joined here.
    #[error("there is no log here")]
    Empty,
    /// A log cannot begin where one is.
    #[error("there is a log here already")]
    Occupied,
    /// A cluster cannot begin from this snapshot.
    #[error("no cluster can be founded: {0}")]
    Unfit(String),
}

impl<L> From<OpenError> for Found<L> {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Empty => Self::Nothing,
            OpenError::Corrupt(_) => Self::Corrupt(error.to_string()),
            OpenError::Disk(_)
            | OpenError::Format { .. }
            | OpenError::Newer { .. }
            | OpenError::Occupied
            | OpenError::Unfit(_) => Self::Unusable(error.to_string()),
        }
    }
}

/// All that a log is, as it was written.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) ident: Ident,
    pub(super) hard: HardState,
    pub(super) snapshot: Snapshot,
    pub(super) truncated: Position,
    pub(super) entries: Vec<Entry>,
}

/// Whether the disk has no rows at all.
pub(super) fn is_empty(disk: &impl Disk) -> Result<bool, DiskError> {
    for column in Column::ALL {
        if !disk.rows(column)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads and checks everything.
pub(super) fn load(disk: &impl Disk) -> Result<Loaded, OpenError> {
    let log = disk.rows(Column::Log)?;
    let mut meta = Meta(disk.rows(Column::Meta)?.into_iter().collect());
    if log.is_empty() && meta.0.is_empty() {
        return Err(OpenError::Empty);
    }
    // First: all else is read as this version writes it.
    let found = meta.take(rows::FORMAT_KEY, rows::format)?;
    if found != FORMAT {
        return Err(OpenError::Format {
            found,
            known: FORMAT,
        });
    }
    let loaded = Loaded {
        ident: meta.take(rows::IDENT_KEY, rows::ident)?,
        hard: meta.take(rows::HARD_KEY, |value| rows::message(rows::HARD_KEY, value))?,
        snapshot: meta
            .take_if_any(rows::SNAPSHOT_KEY, |value| {
                rows::message(rows::SNAPSHOT_KEY, value)
            })?
            .unwrap_or_default(),
        truncated: meta.take(rows::TRUNCATED_KEY, rows::truncated)?,
        entries: log.iter().map(entry).collect::<Result<_, _>>()?,
    };
    if let Some(key) = meta.0.keys().next() {
        return Err(corrupt(format!("nobody knows the row {}", shown(key))));
    }
    loaded.check().map_err(OpenError::Corrupt)?;
    Ok(loaded)
}

impl Loaded {
    fn check(&self) -> Result<(), String> {
        let snapshot = Position::of(&self.snapshot);
        // A joiner has none until the leader sends one.
        if self.snapshot != Snapshot::default() {
            shape::check_snapshot(&self.snapshot)?;
        }
        shape::check_run(self.truncated, &self.entries)?;
        let last = self.entries.last().map(Position::of_entry);
        let shape = Shape {
            truncated: self.truncated,
            snapshot,
            last: last.unwrap_or(self.truncated),
            hard: self.hard.clone(),
        };
        shape.check()?;
        let mut known = self.entries.iter().map(Position::of_entry);
        let there = known.find(|at| at.index == snapshot.index);
        // Without an entry there the log begins right after the snapshot.
        let there = there.unwrap_or(self.truncated);
        if there != snapshot {
            return Err(format!(
                "the snapshot is at {snapshot:?}, the log has {there:?} there"
            ));
        }
        Ok(())
    }
}

/// The rows of `Meta` that nobody has taken yet.
struct Meta(BTreeMap<Vec<u8>, Vec<u8>>);

impl Meta {
    fn take<T>(
        &mut self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, BadRow>,
    ) -> Result<T, OpenError> {
        self.take_if_any(key, read)?
            .ok_or_else(|| corrupt(format!("the row {} is missing", shown(key))))
    }

    fn take_if_any<T>(
        &mut self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, BadRow>,
    ) -> Result<Option<T>, OpenError> {
        let Some(value) = self.0.remove(key) else {
            return Ok(None);
        };
        match read(&value) {
            Ok(read) => Ok(Some(read)),
            Err(bad) => Err(corrupt(format!(
                "the row {} has {}",
                shown(key),
                bad.describe()
            ))),
        }
    }
}

fn entry(row: &Row) -> Result<Entry, OpenError> {
    rows::entry(row).map_err(|bad| {
        let place = match row.0[..].try_into() {
            Ok(bytes) => u64::from_be_bytes(bytes).to_string(),
            Err(_) => shown(&row.0),
        };
        corrupt(format!("the entry {place} has {}", bad.describe()))
    })
}

fn corrupt(reason: String) -> OpenError {
    OpenError::Corrupt(reason)
}

fn shown(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
