//! RocksDB as a disk: the conformance suite, and what a damaged or locked directory leads to.

use std::fs;

use fastrand::Rng;
use tempfile::TempDir;

use super::*;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::raft::log::conformance::{self, Machine};
use crate::raft::log::{Ident, Log, OpenError};
use raft::eraftpb::{Entry, HardState};

/// A directory of its own. What is killed here loses nothing that was written: the kernel has it.
struct Killed(TempDir);

impl Killed {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Machine for Killed {
    type Disk = RocksDisk;

    fn start(&mut self) -> RocksDisk {
        RocksDisk::open_now(self.0.path()).unwrap()
    }

    fn cut_power(&mut self, _: &mut Rng) -> usize {
        0
    }
}

fn put(key: &str, value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(Column::Meta, key, value);
    batch
}

/// A disk with `rows` synced batches of one row of `Meta` each, closed.
fn written(rows: usize) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut disk = RocksDisk::open_now(root.path()).unwrap();
    for row in 0..rows {
        let value = [b'v'; 200];
        disk.write(&put(&format!("row {row}"), &value), true)
            .unwrap();
    }
    root
}

/// The newest file whose name ends so.
fn newest(root: &TempDir, ending: &str) -> PathBuf {
    let files = fs::read_dir(root.path()).unwrap().map(|file| file.unwrap());
    let found = files
        .map(|file| file.path())
        .filter(|path| path.to_str().unwrap().ends_with(ending));
    found.max().unwrap()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn it_is_what_rafts_own_storage_is() {
    for seed in 0..10 {
        conformance::check(&mut Killed::new(), seed, 60);
    }
}

#[test]
fn a_torn_tail_is_tolerated() {
    let root = written(10);
    change(&newest(&root, ".log"), |wal| {
        let left = wal.len() - 100;
        wal.truncate(left);
    });
    let disk = RocksDisk::open_now(root.path()).unwrap();
    assert_eq!(disk.rows(Column::Meta).unwrap().len(), 9);
}

#[test]
fn a_flipped_bit_in_the_middle_is_refused_and_nothing_is_repaired() {
    let root = written(10);
    let wal = newest(&root, ".log");
    change(&wal, |wal| {
        let middle = wal.len() / 2;
        wal[middle] ^= 1;
    });
    let before = fs::read(&wal).unwrap();
    for _ in 0..2 {
        let refused = RocksDisk::open_now(root.path()).unwrap_err();
        assert!(matches!(refused, RocksError::Corrupt { .. }), "{refused}");
        assert_eq!(fs::read(&wal).unwrap(), before);
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_is_refused() {
    let root = written(10);
    change(&newest(&root, ".log"), |wal| {
        let last = wal.len() - 100;
        wal[last] ^= 1;
    });
    let refused = RocksDisk::open_now(root.path()).unwrap_err();
    assert!(matches!(refused, RocksError::Corrupt { .. }), "{refused}");
}

/// RocksDB alone takes a length that is too large for the mark of a crash, and forgets what follows.
#[test]
fn a_flipped_bit_in_the_length_of_a_record_hides_nothing_that_follows() {
    let root = written(10);
    let wal = newest(&root, ".log");
    let sound = fs::read(&wal).unwrap();
    let (mut at, mut records) = (0, 0);
    let length = |at: usize| 7 + usize::from(u16::from_le_bytes([sound[at + 4], sound[at + 5]]));
    while at + length(at) < sound.len() {
        for bit in 0..16 {
            change(&wal, |wal| wal[at + 4 + bit / 8] ^= 1 << (bit % 8));
            let opened = RocksDisk::open_now(root.path());
            let is_refused = matches!(opened, Err(RocksError::Corrupt { .. }));
            assert!(is_refused, "bit {bit} of record {records}");
            fs::write(&wal, &sound).unwrap();
        }
        at += length(at);
        records += 1;
    }
    assert!(records >= 9, "{records}");
    let disk = RocksDisk::open_now(root.path()).unwrap();
    assert_eq!(disk.rows(Column::Meta).unwrap().len(), 10);
}

#[test]
fn a_lock_is_distinguished_from_other_errors() {
    for (message, expected) in [
        (
            "IO error: While lock file: /d/LOCK: Resource temporarily unavailable",
            true,
        ),
        (
            "IO error: While lock file: /d/LOCK: No locks available",
            true,
        ),
        (
            "IO error: lock hold by current process, acquire time 1 acquiring thread 2: /d/LOCK: No locks available",
            true,
        ),
        (
            "IO error: While lock file: /d/LOCK: Permission denied",
            false,
        ),
        (
            "IO error: While open a file for appending: /d/1.log: Resource temporarily unavailable",
            false,
        ),
        ("Corruption: Resource temporarily unavailable: lock", false),
    ] {
        assert_eq!(is_held(message), expected, "{message}");
    }
}

#[test]
fn a_flipped_bit_in_a_table_is_refused() {
    let root = written(10);
    let disk = RocksDisk::open_now(root.path()).unwrap();
    disk.db.flush_cf(disk.family(Column::Meta)).unwrap();
    drop(disk);
    change(&newest(&root, ".sst"), |table| table[20] ^= 1);
    let refused = RocksDisk::open_now(root.path()).unwrap_err();
    assert!(matches!(refused, RocksError::Corrupt { .. }), "{refused}");
}

#[test]
fn somebody_elses_database_is_refused() {
    let root = written(1);
    let mut options = Options::default();
    options.create_missing_column_families(true);
    drop(DB::open_cf(&options, root.path(), ["default", "log", "meta", "other"]).unwrap());
    let refused = RocksDisk::open_now(root.path()).unwrap_err();
    // It may be a later version's, and of use to that: it is not set aside.
    assert!(matches!(refused, RocksError::Unknown { .. }), "{refused}");
    let found = Found::<()>::from(refused);
    assert!(matches!(found, Found::Unusable(_)), "{found:?}");
}

#[test]
fn a_log_with_a_hole_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let ident = Ident {
        cluster: ClusterId(1),
        node: NodeId(1),
        incarnation: Incarnation(0),
    };
    let mut disk = RocksDisk::open_now(root.path()).unwrap();
    Log::join(&mut disk, &ident).unwrap();
    let mut log = Log::open(disk).unwrap();
    let entries: Vec<Entry> = (1..=3)
        .map(|index| Entry {
            index,
            term: 1,
            ..Entry::default()
        })
        .collect();
    let hard = HardState {
        term: 1,
        ..HardState::default()
    };
    log.persist(None, &entries, Some(&hard), true).unwrap();
    drop(log);
    let mut disk = RocksDisk::open_now(root.path()).unwrap();
    let mut batch = Batch::new();
    batch.delete_range(Column::Log, 2_u64.to_be_bytes(), 3_u64.to_be_bytes());
    disk.write(&batch, true).unwrap();
    let refused = Log::open(disk).unwrap_err();
    assert_eq!(refused, OpenError::Corrupt("entry 3 follows 1".to_owned()));
}

#[test]
fn a_path_that_cannot_be_a_directory_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = RocksDisk::open_now(&file.path().join("log")).unwrap_err();
    assert!(matches!(refused, RocksError::Failed { .. }), "{refused}");
}

#[test]
fn no_log_file_of_rocksdb_lies_in_the_directory() {
    let root = written(1);
    assert!(!root.path().join("LOG").exists());
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let holder = RocksDisk::open_now(root.path()).unwrap();
    let waiting = async { RocksDisk::open(root.path(), &Shutdown::new()).await };
    let releasing = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(holder);
    };
    let (opened, ()) = tokio::join!(waiting, releasing);
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_stays_is_an_error_after_the_patience_is_over() {
    let root = tempfile::tempdir().unwrap();
    let _holder = RocksDisk::open_now(root.path()).unwrap();
    let began = Instant::now();
    let refused = RocksDisk::open(root.path(), &Shutdown::new()).await;
    let reason = refused.unwrap_err().to_string();
    assert!(
        reason.contains("open, and had after 180s of waiting"),
        "{reason}"
    );
    assert_eq!(began.elapsed().as_secs(), LOCK_PATIENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn whoever_is_asked_to_stop_waits_for_no_lock() {
    let root = tempfile::tempdir().unwrap();
    let _holder = RocksDisk::open_now(root.path()).unwrap();
    let shutdown = Shutdown::new();
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        shutdown.begin();
    };
    let began = Instant::now();
    let (stopped, ()) = tokio::join!(RocksDisk::open(root.path(), &shutdown), stopping);
    assert!(matches!(stopped, Err(RocksError::Stopped { .. })));
    assert!(began.elapsed() < LOCK_LONGEST_WAIT);
}
