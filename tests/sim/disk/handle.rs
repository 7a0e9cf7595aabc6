//! The side of the simulator's disk that a driver writes through.

use gcache::raft::disk::{Batch, Column, Disk, DiskError, Row, Write};

use super::{SimDisk, apply};

/// What one start of a node writes through.
pub(crate) struct Handle {
    pub(super) disk: SimDisk,
    pub(super) start: u64,
    pub(super) keeps_suffixes: bool,
}

impl Handle {
    /// Makes it a log that writes entries and leaves what stood after them: the mistake of
    /// `SuffixNotTruncated`, at the one place below all of the log's own checks.
    pub(crate) fn keep_suffixes(mut self) -> Self {
        self.keeps_suffixes = true;
        self
    }

    /// What is written of `batch`.
    fn mistaken(&self, batch: &Batch) -> Option<Batch> {
        let puts_entries = |write: &Write| {
            matches!(
                write,
                Write::Put {
                    column: Column::Log,
                    ..
                }
            )
        };
        if !self.keeps_suffixes || !batch.writes().iter().any(puts_entries) {
            return None;
        }
        let mut left = Batch::new();
        for write in batch.writes() {
            if let Write::Put { column, key, value } = write {
                left.put(*column, key.clone(), value.clone());
            }
        }
        Some(left)
    }
}

impl Disk for Handle {
    fn rows(&self, column: Column) -> Result<Vec<Row>, DiskError> {
        let inner = self.disk.0.lock();
        if inner.start != self.start {
            return Err(DiskError::new("the node has crashed"));
        }
        if inner.is_torn {
            return Err(DiskError::new("Corruption: a block's checksum is wrong"));
        }
        let mut rows = inner.synced.clone();
        for batch in &inner.unsynced {
            apply(&mut rows, batch);
        }
        let own = rows.into_iter().filter(|((of, _), _)| *of == column);
        Ok(own.map(|((_, key), value)| (key, value)).collect())
    }

    fn write(&mut self, batch: &Batch, is_synced: bool) -> Result<(), DiskError> {
        let mut inner = self.disk.0.lock();
        if inner.start != self.start {
            return Err(DiskError::new("the node has crashed"));
        }
        let mistaken = self.mistaken(batch);
        inner.write(mistaken.as_ref().unwrap_or(batch), is_synced)
    }
}
