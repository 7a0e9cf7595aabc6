//! The disk of a node: RocksDB with the settings that a Raft log needs.
//!
//! Opened by the node before its Raft thread starts, and written by that thread alone. A synced batch is
//! one append to the write-ahead log and one fdatasync. Nothing here repairs anything.

mod tail;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rocksdb::{
    ColumnFamilyDescriptor, DB, DBRecoveryMode, Error, ErrorKind, InfoLogger, IteratorMode,
    LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
};
use tokio::time::Instant;

use crate::membership::opening::Found;
use crate::raft::disk::{Batch, Column, Disk, DiskError, Row, Write};
use crate::shutdown::Shutdown;

/// How long a lock is waited for that another process holds. On a network file system the lock of a
/// killed task stays until its client's lease ends: 90 s where that is Linux, unsaid for EFS.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(180);

/// The wait before the lock is tried again, doubled each time up to [`LOCK_LONGEST_WAIT`].
const LOCK_FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait before the lock is tried again.
const LOCK_LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How RocksDB says that somebody has its lock: this process, or another one, as the kernel puts it.
const LOCK_HELD: [&str; 3] = [
    "lock hold by current process",
    "Resource temporarily unavailable",
    "No locks available",
];

/// How RocksDB says that there are column families which it was not asked to open.
const UNKNOWN_COLUMN: &str = "Column families not opened";

/// A memtable's bytes: the log of an hour, written out a few times a day.
const MEMTABLE_BYTES: usize = 4 << 20;

/// The write-ahead log's bytes, read again at each start, before the memtables are written out.
const WAL_BYTES: u64 = 16 << 20;

/// The manifest's bytes before it begins anew.
const MANIFEST_BYTES: usize = 1 << 20;

/// A disk cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RocksError {
    /// Another process has it open.
    #[error("another process has {} open, and had after {waited:?} of waiting: {reason}", .path.display())]
    Held {
        /// The directory.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
        /// What RocksDB says.
        reason: String,
    },
    /// What is there is not what was written. Never to be repaired.
    #[error("{} is corrupt: {reason}", .path.display())]
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
    /// It has a column that this executable does not know: a later version made it, or it is no log of gcache.
    #[error(
        "{} has a column family that this executable does not know: a later version of gcache made it, or it is \
         no log of gcache. Nothing is changed: start the later version again ({reason})", .path.display()
    )]
    Unknown {
        /// The directory.
        path: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
    /// The process was asked to stop before it had the disk.
    #[error("asked to stop while waiting for {}", .path.display())]
    Stopped {
        /// The directory.
        path: PathBuf,
    },
    /// Anything else: permissions, space, the file system.
    #[error("cannot open {}: {reason}", .path.display())]
    Failed {
        /// The directory.
        path: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
}

impl<L> From<RocksError> for Found<L> {
    fn from(error: RocksError) -> Self {
        match error {
            RocksError::Corrupt { .. } => Self::Corrupt(error.to_string()),
            RocksError::Held { .. }
            | RocksError::Unknown { .. }
            | RocksError::Stopped { .. }
            | RocksError::Failed { .. } => Self::Unusable(error.to_string()),
        }
    }
}

impl RocksError {
    fn of(path: &Path, error: &Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        if is_held(&reason) {
            let waited = Duration::ZERO;
            return Self::Held {
                path,
                waited,
                reason,
            };
        }
        match error.kind() {
            ErrorKind::InvalidArgument if reason.contains(UNKNOWN_COLUMN) => {
                Self::Unknown { path, reason }
            }
            // An option of somebody else's: not our log.
            ErrorKind::Corruption | ErrorKind::InvalidArgument => Self::Corrupt { path, reason },
            _ => Self::Failed { path, reason },
        }
    }
}

/// RocksDB in one directory, which no other process has open.
pub struct RocksDisk {
    db: DB,
    synced: WriteOptions,
    unsynced: WriteOptions,
}

impl RocksDisk {
    /// Opens the directory, which is made if there is none, and reads all of it once, so that whatever
    /// is corrupt is found now. A lock that another process holds is waited for up to [`LOCK_PATIENCE`],
    /// or until `shutdown` begins.
    ///
    /// Cancel-safe: an attempt that is under way ends by itself and closes what it opened.
    ///
    /// # Errors
    /// [`RocksError`].
    pub async fn open(path: &Path, shutdown: &Shutdown) -> Result<Self, RocksError> {
        let began = Instant::now();
        let deadline = began + LOCK_PATIENCE;
        let stopped = || RocksError::Stopped {
            path: path.to_owned(),
        };
        let mut wait = LOCK_FIRST_WAIT;
        loop {
            let attempt = tokio::select! {
                biased;
                () = shutdown.begun() => return Err(stopped()),
                attempt = blocking(path) => attempt,
            };
            let (path, reason) = match attempt {
                Err(RocksError::Held { path, reason, .. }) => (path, reason),
                other => return other,
            };
            let now = Instant::now();
            if now >= deadline {
                let waited = now - began;
                return Err(RocksError::Held {
                    path,
                    waited,
                    reason,
                });
            }
            if wait == LOCK_FIRST_WAIT {
                tracing::warn!(path = %path.display(), reason, "another process has the log open");
            }
            tokio::select! {
                biased;
                () = shutdown.begun() => return Err(stopped()),
                () = tokio::time::sleep_until((now + wait).min(deadline)) => {}
            }
            wait = (wait * 2).min(LOCK_LONGEST_WAIT);
        }
    }

    /// One attempt at [`RocksDisk::open`]. Blocks.
    ///
    /// # Errors
    /// [`RocksError`], of which [`RocksError::Held`] may pass.
    pub fn open_now(path: &Path) -> Result<Self, RocksError> {
        let damage = tail::damage(path).map_err(|error| RocksError::Failed {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        if let Some(reason) = damage {
            let path = path.to_owned();
            return Err(RocksError::Corrupt { path, reason });
        }
        let columns =
            Column::ALL.map(|column| ColumnFamilyDescriptor::new(name(column), column_options()));
        let db = DB::open_cf_descriptors(&database_options(), path, columns)
            .map_err(|error| RocksError::of(path, &error))?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        let disk = Self {
            db,
            synced,
            unsynced: WriteOptions::default(),
        };
        for column in Column::ALL {
            disk.read(column)
                .map_err(|error| RocksError::of(path, &error))?;
        }
        Ok(disk)
    }

    /// Whether there is a disk at `path` on which nothing is written, also while another process has it open.
    /// Blocks; neither waits for the lock nor takes it.
    #[must_use]
    pub fn is_unwritten(path: &Path) -> bool {
        let columns =
            Column::ALL.map(|column| ColumnFamilyDescriptor::new(name(column), column_options()));
        let opened = DB::open_cf_descriptors_read_only(&database_options(), path, columns, false);
        let is_empty = |db: &DB, column| {
            let family = db.cf_handle(name(column));
            family
                .is_some_and(|family| db.iterator_cf(family, IteratorMode::Start).next().is_none())
        };
        opened.is_ok_and(|db| Column::ALL.into_iter().all(|column| is_empty(&db, column)))
    }

    fn read(&self, column: Column) -> Result<Vec<Row>, Error> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        self.db
            .iterator_cf_opt(self.family(column), options, IteratorMode::Start)
            .map(|row| row.map(|(key, value)| (key.into_vec(), value.into_vec())))
            .collect()
    }

    fn family(&self, column: Column) -> &rocksdb::ColumnFamily {
        self.db
            .cf_handle(name(column))
            .expect("every column is opened with the database")
    }
}

impl std::fmt::Debug for RocksDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksDisk")
            .field("path", &self.db.path())
            .finish_non_exhaustive()
    }
}

impl Disk for RocksDisk {
    fn rows(&self, column: Column) -> Result<Vec<Row>, DiskError> {
        self.read(column).map_err(DiskError::new)
    }

    fn write(&mut self, batch: &Batch, is_synced: bool) -> Result<(), DiskError> {
        let mut writes = WriteBatch::default();
        for write in batch.writes() {
            match write {
                Write::Put { column, key, value } => {
                    writes.put_cf(self.family(*column), key, value);
                }
                Write::DeleteRange { column, from, to } => {
                    writes.delete_range_cf(self.family(*column), from, to);
                }
            }
        }
        let options = if is_synced {
            &self.synced
        } else {
            &self.unsynced
        };
        self.db.write_opt(writes, options).map_err(DiskError::new)
    }
}

async fn blocking(path: &Path) -> Result<RocksDisk, RocksError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || RocksDisk::open_now(&path))
        .await
        .expect("opening does not panic, and nobody aborts it")
}

fn name(column: Column) -> &'static str {
    match column {
        Column::Log => "log",
        Column::Meta => "meta",
    }
}

fn is_held(message: &str) -> bool {
    message.starts_with("IO error")
        && message.contains("lock")
        && LOCK_HELD.iter().any(|held| message.contains(held))
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // The default opens with what lies before the first bad record, whatever lies behind it: synced
    // votes would be gone without a word. This mode forgives an unfinished record at the end alone.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    // Both columns reach their files together, so neither keeps old write-ahead logs alive.
    options.set_atomic_flush(true);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_manifest_file_size(MANIFEST_BYTES);
    options.set_max_background_jobs(2);
    // Mapped pages turn an error of the file system into SIGBUS.
    options.set_allow_mmap_reads(false);
    options.set_allow_mmap_writes(false);
    options.set_use_direct_reads(false);
    options.set_use_direct_io_for_flush_and_compaction(false);
    // Its own log would be one more file that stalls with a network file system: ours has it instead.
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, log));
    options
}

fn column_options() -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options
}

fn log(level: LogLevel, message: &str) {
    let message = message.trim_end();
    match level {
        LogLevel::Warn => tracing::warn!(message, "rocksdb warned"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(message, "rocksdb failed"),
        // Its options, a thousand lines of them at each start, come whatever the level is.
        _ => tracing::trace!(message, "rocksdb reported"),
    }
}

#[cfg(test)]
mod tests;
