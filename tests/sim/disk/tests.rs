//! The simulator's disk keeps what a disk keeps, and no more.

use gcache::raft::disk::Disk as _;

use super::*;

fn put(key: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Column::Meta, key, "value");
    batch
}

fn keys(disk: &SimDisk) -> Vec<String> {
    let rows = disk.open().rows(Column::Meta).unwrap();
    let text = |(key, _)| String::from_utf8(key).unwrap();
    rows.into_iter().map(text).collect()
}

#[test]
fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
    let mut seen = [false; 3];
    for seed in 0..50 {
        let disk = SimDisk::default();
        let mut handle = disk.open();
        handle.write(&put("a"), false).unwrap();
        handle.write(&put("b"), true).unwrap();
        handle.write(&put("c"), false).unwrap();
        handle.write(&put("d"), false).unwrap();
        let lost = disk.crash(&mut Dice::new(seed));
        assert!(handle.write(&put("e"), true).is_err());
        assert_eq!(keys(&disk), ["a", "b", "c", "d"][..4 - lost]);
        seen[lost] = true;
    }
    assert_eq!(seen, [true; 3]);
}

#[test]
fn a_disk_that_failed_writes_no_more() {
    for trouble in [Trouble::SyncFails, Trouble::Full] {
        let disk = SimDisk::default();
        let mut handle = disk.open();
        disk.trouble(trouble);
        assert!(handle.write(&put("a"), true).is_err());
        disk.trouble(Trouble::None);
        assert!(handle.write(&put("b"), true).is_err());
        assert!(disk.has_failed());
    }
}

#[test]
fn a_fuse_ends_the_writes_after_so_many_steps() {
    let disk = SimDisk::default();
    let mut handle = disk.open();
    disk.light(2);
    assert!(disk.step());
    assert!(handle.write(&put("a"), true).is_err());
    assert!(disk.is_burnt() && !disk.step());
}

#[test]
fn a_range_is_deleted_up_to_its_end() {
    let disk = SimDisk::default();
    let mut handle = disk.open();
    for key in ["a", "b", "c"] {
        handle.write(&put(key), false).unwrap();
    }
    let mut batch = Batch::new();
    batch.delete_range(Column::Meta, "a", "c");
    batch.delete_range(Column::Log, "a", "z");
    handle.write(&batch, true).unwrap();
    assert_eq!(disk.synced(|rows| rows.len()), 1);
    assert_eq!(keys(&disk), ["c"]);
}

#[cfg(feature = "simulation")]
impl gcache::raft::log::conformance::Machine for SimDisk {
    type Disk = Handle;

    fn start(&mut self) -> Handle {
        self.open()
    }

    fn cut_power(&mut self, draws: &mut fastrand::Rng) -> usize {
        self.crash(&mut Dice::new(draws.u64(..)))
    }
}

/// What the log is on RocksDB, it is on this disk too.
#[cfg(feature = "simulation")]
#[test]
fn a_log_on_it_is_raft_s_own() {
    for seed in 0..100 {
        gcache::raft::log::conformance::check(&mut SimDisk::default(), seed, 60);
    }
}
