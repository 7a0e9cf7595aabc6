//! The log on a disk in memory: what it refuses, what it answers raft, and the conformance suite.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;
use raft::{GetEntriesContext, Storage, StorageError};

use super::conformance::{self, Machine};
use super::*;
use crate::ids::{ClusterId, NodeId};
use crate::raft::disk::{Column, Row, Write};

/// All batches ever written, and how many of them are synced.
#[derive(Debug, Default)]
struct Written {
    batches: Vec<Batch>,
    synced: usize,
    is_failing: bool,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
struct MemoryDisk(Arc<Mutex<Written>>);

impl MemoryDisk {
    /// A disk with these batches.
    fn of(batches: &[Batch]) -> Self {
        let disk = Self::default();
        disk.0.lock().batches = batches.to_vec();
        disk
    }

    /// One with this row changed to `value`, or without it.
    fn with(&self, column: Column, key: &[u8], value: Option<Vec<u8>>) -> Self {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(column, key, value),
            None => batch.delete_range(column, key, [key, &[0]].concat()),
        }
        let mut batches = self.0.lock().batches.clone();
        batches.push(batch);
        Self::of(&batches)
    }

    fn value(&self, column: Column, key: &[u8]) -> Vec<u8> {
        let rows = self.rows(column).unwrap();
        rows.into_iter().find(|row| row.0 == key).unwrap().1
    }
}

impl Disk for MemoryDisk {
    fn rows(&self, column: Column) -> Result<Vec<Row>, DiskError> {
        let mut rows = BTreeMap::new();
        for write in self.0.lock().batches.iter().flat_map(Batch::writes) {
            match write {
                Write::Put {
                    column: at,
                    key,
                    value,
                } if *at == column => {
                    rows.insert(key.clone(), value.clone());
                }
                Write::DeleteRange {
                    column: at,
                    from,
                    to,
                } if *at == column => rows.retain(|key, _| key < from || key >= to),
                _ => {}
            }
        }
        Ok(rows.into_iter().collect())
    }

    fn write(&mut self, batch: &Batch, is_synced: bool) -> Result<(), DiskError> {
        let mut written = self.0.lock();
        if written.is_failing {
            return Err(DiskError::new("no space left on device"));
        }
        written.batches.push(batch.clone());
        if is_synced {
            written.synced = written.batches.len();
        }
        Ok(())
    }
}

impl Machine for MemoryDisk {
    type Disk = Self;

    fn start(&mut self) -> Self {
        self.clone()
    }

    fn cut_power(&mut self, draws: &mut Rng) -> usize {
        let mut written = self.0.lock();
        let lost = draws.usize(..=written.batches.len() - written.synced);
        let left = written.batches.len() - lost;
        written.batches.truncate(left);
        lost
    }
}

const CLUSTER: ClusterId = ClusterId(0xA1B2);

fn ident() -> Ident {
    Ident {
        cluster: CLUSTER,
        node: NodeId(1),
        incarnation: Incarnation(0),
    }
}

fn snapshot(index: u64, term: u64, voters: &[u64]) -> Snapshot {
    let mut snapshot = Snapshot {
        data: format!("state at {index}").into_bytes(),
        ..Snapshot::default()
    };
    snapshot.mut_metadata().index = index;
    snapshot.mut_metadata().term = term;
    snapshot.mut_metadata().mut_conf_state().voters = voters.to_vec();
    snapshot
}

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        index,
        term,
        data: vec![1; 10],
        ..Entry::default()
    }
}

fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

/// A founded log with entries 2 to 5, of which 4 are committed, and its disk.
fn log() -> (Log<MemoryDisk>, MemoryDisk) {
    let mut disk = MemoryDisk::default();
    Log::found(&mut disk, &ident(), &snapshot(1, 1, &[1])).unwrap();
    let mut log = Log::open(disk.clone()).unwrap();
    let entries: Vec<Entry> = (2..6).map(|index| entry(index, 1)).collect();
    log.persist(None, &entries, Some(&hard(1, 1, 4)), true)
        .unwrap();
    (log, disk)
}

fn why(disk: &MemoryDisk) -> String {
    Log::open(disk.clone()).unwrap_err().to_string()
}

#[test]
fn it_is_what_rafts_own_storage_is_through_restarts_and_losses_of_power() {
    for seed in 0..200 {
        conformance::check(&mut MemoryDisk::default(), seed, 60);
    }
}

#[test]
fn it_opens_after_a_crash_between_any_two_writes() {
    for seed in 0..20 {
        let mut disk = MemoryDisk::default();
        conformance::check(&mut disk, seed, 60);
        let batches = disk.0.lock().batches.clone();
        for kept in 1..=batches.len() {
            let opened = Log::open(MemoryDisk::of(&batches[..kept]));
            assert!(opened.is_ok(), "seed {seed}, batch {kept}: {opened:?}");
        }
    }
}

#[test]
fn a_disk_without_rows_is_empty_and_one_with_rows_is_occupied() {
    let mut disk = MemoryDisk::default();
    assert_eq!(Log::open(disk.clone()).unwrap_err(), OpenError::Empty);
    Log::join(&mut disk, &ident()).unwrap();
    let again = Log::join(&mut disk, &ident());
    assert_eq!(again, Err(OpenError::Occupied));
    let founded = Log::found(&mut disk, &ident(), &snapshot(1, 1, &[1]));
    assert_eq!(founded, Err(OpenError::Occupied));
}

#[test]
fn no_cluster_is_founded_on_nothing() {
    for unfit in [
        snapshot(0, 1, &[1]),
        snapshot(1, 0, &[1]),
        snapshot(1, 1, &[]),
        snapshot(u64::MAX, 1, &[1]),
    ] {
        let mut disk = MemoryDisk::default();
        let founded = Log::found(&mut disk, &ident(), &unfit);
        assert!(matches!(founded, Err(OpenError::Unfit(_))), "{unfit:?}");
        assert_eq!(Log::open(disk).unwrap_err(), OpenError::Empty);
    }
}

#[test]
fn every_start_counts_before_it_is_answered() {
    let (log, disk) = log();
    assert_eq!(log.ident().incarnation, Incarnation(1));
    drop(log);
    let again = Log::open(disk.clone()).unwrap();
    assert_eq!(again.ident().incarnation, Incarnation(2));
    assert_eq!(again.ident().cluster, CLUSTER);
    assert_eq!((again.writes(), again.syncs()), (1, 1));
    let written = disk.0.lock();
    assert_eq!(written.synced, written.batches.len());
}

#[test]
fn any_flipped_bit_of_any_row_is_refused() {
    let (_, disk) = log();
    for column in Column::ALL {
        for (key, value) in disk.rows(column).unwrap() {
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let reason = why(&disk.with(column, &key, Some(flipped)));
                assert!(reason.ends_with("has a wrong checksum"), "{reason}");
            }
            let short = disk.with(column, &key, Some(Vec::new()));
            assert!(why(&short).ends_with("has a wrong checksum"));
        }
    }
}

#[test]
fn a_row_in_anothers_place_is_refused() {
    let (_, disk) = log();
    let third = disk.value(Column::Log, &3_u64.to_be_bytes());
    let moved = disk.with(Column::Log, &4_u64.to_be_bytes(), Some(third));
    assert_eq!(
        why(&moved),
        "the log is corrupt: the entry 4 has a wrong checksum"
    );
}

#[test]
fn a_missing_row_is_refused() {
    let (_, disk) = log();
    for (key, _) in disk.rows(Column::Meta).unwrap() {
        let reason = why(&disk.with(Column::Meta, &key, None));
        assert!(reason.starts_with("the log is corrupt: "), "{reason}");
    }
    let hole = disk.with(Column::Log, &3_u64.to_be_bytes(), None);
    assert_eq!(why(&hole), "the log is corrupt: entry 4 follows 2");
    let unknown = disk.with(Column::Meta, b"novel", Some(Vec::new()));
    assert_eq!(
        why(&unknown),
        "the log is corrupt: nobody knows the row novel"
    );
}

#[test]
fn another_format_is_named() {
    let (_, disk) = log();
    let mut batch = Batch::new();
    let next = (FORMAT + 1).to_le_bytes().to_vec();
    rows::put(&mut batch, Column::Meta, rows::FORMAT_KEY, next);
    disk.0.lock().batches.push(batch);
    let refused = Log::open(disk).unwrap_err();
    let (found, known) = (FORMAT + 1, FORMAT);
    assert_eq!(refused, OpenError::Format { found, known });
}

#[test]
fn rows_that_contradict_each_other_are_refused() {
    let at = |index, term| Position { index, term };
    let cases: [(&str, HardState, Position, Snapshot); 7] = [
        (
            "entries up to 6 are committed",
            hard(1, 0, 6),
            at(1, 1),
            snapshot(1, 1, &[1]),
        ),
        (
            "entries up to 1 are committed",
            hard(1, 0, 1),
            at(1, 1),
            snapshot(3, 1, &[1]),
        ),
        (
            "the term is 0",
            hard(0, 0, 4),
            at(1, 1),
            snapshot(1, 1, &[1]),
        ),
        (
            "before its snapshot",
            hard(1, 0, 4),
            at(1, 1),
            snapshot(6, 1, &[1]),
        ),
        (
            "the snapshot is at",
            hard(3, 0, 4),
            at(1, 1),
            snapshot(3, 0, &[1]),
        ),
        (
            "entry 2 follows 2",
            hard(1, 0, 4),
            at(2, 1),
            snapshot(3, 1, &[1]),
        ),
        (
            "knows no voter",
            hard(1, 0, 4),
            at(1, 1),
            snapshot(1, 1, &[]),
        ),
    ];
    for (reason, hard, truncated, snapshot) in cases {
        let (_, disk) = log();
        let mut batch = Batch::new();
        rows::put_message(&mut batch, rows::HARD_KEY, &hard);
        rows::put_message(&mut batch, rows::SNAPSHOT_KEY, &snapshot);
        rows::put_truncated(&mut batch, truncated);
        disk.0.lock().batches.push(batch);
        assert!(why(&disk).contains(reason), "{reason}: {}", why(&disk));
    }
}

#[test]
fn entries_of_falling_terms_are_refused() {
    let (mut log, _) = log();
    let falling = [entry(6, 1), entry(7, 0)];
    let refused = log.persist(None, &falling, None, true).unwrap_err();
    assert_eq!(
        refused.0,
        "refused: entry 7 is of term 0, the one before it of 1"
    );
}

#[test]
fn what_could_not_be_opened_again_is_refused_and_changes_nothing() {
    let (mut log, disk) = log();
    let before = (log.shape().last, log.hard_state().clone(), log.writes());
    let refused = [
        log.persist(None, &[entry(7, 1)], None, true),
        log.persist(None, &[entry(4, 1)], None, true),
        log.persist(None, &[entry(6, 1), entry(8, 1)], None, true),
        log.persist(None, &[entry(6, 2)], None, true),
        log.persist(None, &[], Some(&hard(1, 1, 6)), true),
        log.persist(None, &[], Some(&hard(1, 2, 4)), true),
        log.persist(None, &[], Some(&hard(1, 0, 4)), true),
        log.persist(None, &[], Some(&hard(0, 1, 4)), true),
        log.persist(Some(&snapshot(3, 1, &[1])), &[], None, true),
        log.persist(Some(&snapshot(0, 1, &[1])), &[], None, true),
        log.persist(Some(&snapshot(9, 1, &[1])), &[entry(11, 1)], None, true),
        log.persist_commit(6),
        log.compact(snapshot(6, 1, &[1]), 0),
        log.compact(snapshot(3, 2, &[1]), 0),
    ];
    for (case, refused) in refused.into_iter().enumerate() {
        let reason = refused.unwrap_err().0;
        assert!(reason.starts_with("refused: "), "case {case}: {reason}");
    }
    let after = (log.shape().last, log.hard_state().clone(), log.writes());
    assert_eq!(after, before);
    assert!(Log::open(disk).is_ok());
}

#[test]
fn nothing_is_in_memory_or_written_after_the_disk_has_failed() {
    let (mut log, disk) = log();
    disk.0.lock().is_failing = true;
    let failed = log.persist(None, &[entry(6, 2)], Some(&hard(2, 1, 5)), true);
    assert_eq!(failed, Err(DiskError::new("no space left on device")));
    assert_eq!((log.last().index, log.hard_state().term), (5, 1));
    disk.0.lock().is_failing = false;
    let batches = disk.0.lock().batches.len();
    assert_eq!(log.persist_commit(5), failed);
    assert_eq!(disk.0.lock().batches.len(), batches);
}

#[test]
fn a_snapshot_for_a_peer_is_of_what_is_applied_and_names_the_peer() {
    let (mut log, _) = log();
    let of = |log: &Log<MemoryDisk>, request, to| log.snapshot(request, to);
    let none = Err(raft::Error::Store(
        StorageError::SnapshotTemporarilyUnavailable,
    ));
    assert_eq!(of(&log, 0, 1), Ok(snapshot(1, 1, &[1])));
    let mut conf_state = ConfState::from((vec![1], vec![2]));
    conf_state.voters_outgoing = vec![3];
    let encode = |state: &'static [u8]| -> EncodeState { Box::new(|| state.to_vec()) };
    log.set_applied(4, conf_state.clone(), encode(b"four"));
    log.set_applied(3, conf_state, encode(b"three"));
    for to in [1, 2, 3] {
        let made = of(&log, 4, to).unwrap();
        assert_eq!(
            (made.get_metadata().index, &made.data[..]),
            (4, &b"four"[..])
        );
        assert_eq!(made.get_metadata().term, 1);
    }
    assert_eq!(of(&log, 4, 4), none, "it does not name the peer");
    assert_eq!(of(&log, 5, 1), none, "it is older than what is asked for");
    log.set_applied(9, ConfState::from((vec![1], vec![])), encode(b"ahead"));
    assert_eq!(of(&log, 0, 1), none, "the log does not know its term");
}

#[test]
fn a_joiner_has_no_snapshot_until_it_has_received_one() {
    let mut disk = MemoryDisk::default();
    Log::join(&mut disk, &ident()).unwrap();
    let mut log = Log::open(disk.clone()).unwrap();
    assert!(log.applied_snapshot().is_none());
    assert!(!log.initial_state().unwrap().initialized());
    assert_eq!((log.first_index(), log.last_index()), (Ok(1), Ok(0)));
    assert_eq!(log.term(0), Ok(0));
    let received = snapshot(40, 3, &[1, 2]);
    let state = hard(3, 0, 40);
    log.persist(Some(&received), &[entry(41, 3)], Some(&state), true)
        .unwrap();
    assert_eq!(log.applied_snapshot(), Some(received.clone()));
    let log = Log::open(disk).unwrap();
    assert_eq!(log.applied_snapshot(), Some(received));
    assert_eq!((log.first_index(), log.last_index()), (Ok(41), Ok(41)));
}

#[test]
fn compaction_keeps_a_tail_and_never_goes_back() {
    let (mut log, disk) = log();
    log.compact(snapshot(5, 1, &[1]), 2).unwrap();
    assert_eq!((log.first_index(), log.hard_state().commit), (Ok(4), 5));
    assert_eq!(disk.rows(Column::Log).unwrap().len(), 2);
    let writes = log.writes();
    log.compact(snapshot(4, 1, &[1]), 0).unwrap();
    assert_eq!((log.writes(), log.snapshot_meta().index), (writes, 5));
    log.persist(None, &[entry(6, 1)], None, true).unwrap();
    log.compact(snapshot(6, 1, &[1]), 0).unwrap();
    let log = Log::open(disk).unwrap();
    assert_eq!((log.first_index(), log.last_index()), (Ok(7), Ok(6)));
    assert_eq!(log.term(6), Ok(1));
}

#[test]
fn entries_out_of_reach_are_reported_and_do_not_panic() {
    let (log, _) = log();
    let of = |low, high| log.entries(low, high, None, GetEntriesContext::empty(false));
    assert_eq!(of(1, 3), Err(raft::Error::Store(StorageError::Compacted)));
    for (low, high) in [(2, 7), (6, 7), (4, 2), (9, 9)] {
        let unavailable = Err(raft::Error::Store(StorageError::Unavailable));
        assert_eq!(of(low, high), unavailable, "{low}..{high}");
    }
    assert_eq!(of(6, 6), Ok(Vec::new()));
}
