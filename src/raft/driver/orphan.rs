//! A log whose cluster is lost: what it says in the end, for another cluster to be founded from it.
//!
//! Read by `raft::recovery` alone, while no node runs. Nothing is written, and no start is counted.

use std::sync::Arc;

use raft::{GetEntriesContext, Storage as _};

use super::{Driver, Settings};
use crate::raft::disk::Disk;
use crate::raft::log::{Ident, Log, OpenError, Position};
use crate::topology::state::State;

/// A log of a node that will never run on it again, with all of its entries applied.
pub struct Orphan<D: Disk> {
    ident: Ident,
    state: Arc<State>,
    end: Position,
    commit: u64,
    /// Nobody else may open its disk meanwhile.
    held: Option<Driver<D>>,
}

impl<D: Disk> Orphan<D> {
    /// Reads the log on `disk` and applies every entry, committed or not. What was acknowledged was
    /// committed, and an entry may be committed without this node having heard of it: so all of them
    /// count. One that was not committed in the end is a change whose outcome was reported as unknown.
    ///
    /// # Errors
    /// The disk cannot be read, is empty, or holds what no node of ours has written or what only a later
    /// executable understands.
    pub fn read(disk: D) -> Result<Self, OpenError> {
        let log = Log::read(disk)?;
        let end = log.end();
        let mut driver = Driver::of(log, Settings::default())?;
        let first = driver.applied() + 1;
        if first <= end.index {
            let context = GetEntriesContext::empty(false);
            let entries = driver
                .raw
                .store()
                .entries(first, end.index + 1, None, context)
                .map_err(|error| OpenError::Corrupt(error.to_string()))?;
            driver
                .apply(entries, &mut |_| {})
                .map_err(|error| OpenError::Corrupt(error.to_string()))?;
        }
        Ok(Self {
            ident: driver.ident().clone(),
            state: Arc::clone(driver.state()),
            end,
            commit: driver.commit(),
            held: Some(driver),
        })
    }

    /// Closes the disk, which others may open from now on. What was read stays.
    pub fn give_disk_back(&mut self) {
        self.held = None;
    }

    /// Whose log it is, and how often it was opened.
    #[must_use]
    pub fn ident(&self) -> &Ident {
        &self.ident
    }

    /// The state after the last entry. It has no members if the node had joined and heard nothing yet.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Returns where the log ends. Of two logs of one cluster, the one with the later term, or with the later
    /// index in the same term, holds everything that was committed and is in the other.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// The last entry that the node knew to be committed.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.commit
    }
}

impl<D: Disk> std::fmt::Debug for Orphan<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orphan")
            .field("ident", self.ident())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
