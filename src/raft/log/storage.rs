//! The log as raft reads it.
//!
//! Any error but the four that raft knows ends the process, so there is none: everything is in memory.

use prost_for_raft::Message;
use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use crate::raft::disk::Disk;

use super::Log;

impl<D: Disk> Storage for Log<D> {
    /// The voters are those of the snapshot: raft applies what is committed after it once more.
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard.clone(),
            self.snapshot.get_metadata().get_conf_state().clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.truncated.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let Some(found) = self.slice(low, high) else {
            return Err(Error::Store(StorageError::Unavailable));
        };
        let most = max_size.into().unwrap_or(u64::MAX);
        let mut size: u64 = 0;
        let count = found
            .iter()
            .take_while(|entry| {
                size = size.saturating_add(entry.encoded_len() as u64);
                size <= most
            })
            .count();
        // One at least, or a large one would stop replication for good.
        Ok(found[..count.max(1).min(found.len())].to_vec())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.truncated.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.term_at(index)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().index)
    }

    /// Of the applied index, never an older one, and only for a node that it names: raft ignores a snapshot
    /// that the receiver is not in, and would send it again for ever.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        match self.applied_snapshot() {
            Some(snapshot)
                if snapshot.get_metadata().index >= request_index
                    && names(snapshot.get_metadata().get_conf_state(), to) =>
            {
                Ok(snapshot)
            }
            _ => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
        }
    }
}

/// Whether a snapshot with these voters and learners is restored by `node`: raft's own rule, which
/// leaves out `learners_next`, for those are among `voters_outgoing`.
fn names(conf: &ConfState, node: u64) -> bool {
    let mut all = [&conf.voters, &conf.learners, &conf.voters_outgoing]
        .into_iter()
        .flatten();
    all.any(|id| *id == node)
}
