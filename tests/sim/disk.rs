//! A disk that outlives its node: what was synced stays, what was not may be lost in a crash.
//!
//! Each start of a node gets a [`Handle`]. A handle errs once its node has crashed, and when the fuse
//! that the world lit has burnt down: so a crash falls between any two writes or sends of a turn.

mod handle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gcache::raft::disk::{Batch, Column, DiskError, Write};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::dice::Dice;
use crate::queue::Micros;

pub(crate) use self::handle::Handle;

/// The rows of a disk, in the order of the keys.
pub(crate) type Rows = BTreeMap<(Column, Vec<u8>), Vec<u8>>;

/// What the next writes meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// None.
    #[default]
    None,
    /// The next sync fails: what it should have made durable may be there or not.
    SyncFails,
    /// There is no room: nothing is written.
    Full,
    /// Each sync takes this long.
    Slow(Micros),
    /// The next sync takes this long.
    Hangs(Micros),
}

/// What is wrong with the rows of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Whoever reads them is told that they are not what was written, as RocksDB does.
    Reported,
    /// One bit of one row is another, and nobody says so.
    Flipped,
}

/// One node's disk.
#[derive(Clone, Default)]
pub(crate) struct SimDisk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    synced: Rows,
    /// Written and not synced yet, the oldest first.
    unsynced: VecDeque<Batch>,
    trouble: Trouble,
    /// Writes and sends left before the node crashes.
    fuse: Option<u32>,
    /// How long the writes of this turn have taken.
    busy: Micros,
    /// Handles of an earlier start are dead.
    start: u64,
    /// A failure was reported: nothing may be written by this start.
    has_failed: bool,
    /// Rows of the log that were deleted in this turn.
    deleted: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of every write ever, and whether it was synced.
    hash: u64,
    /// How often the synced rows have changed.
    version: u64,
    /// Reading reports damage.
    is_torn: bool,
}

impl SimDisk {
    /// The handle of a new start; those of earlier ones are dead.
    pub(crate) fn open(&self) -> Handle {
        let mut inner = self.0.lock();
        inner.start += 1;
        inner.has_failed = false;
        inner.trouble = Trouble::None;
        inner.fuse = None;
        inner.busy = 0;
        self.handle(inner.start)
    }

    /// The handle of a second process, while that of the first one goes on.
    pub(crate) fn open_unlocked(&self) -> Handle {
        self.handle(self.0.lock().start)
    }

    fn handle(&self, start: u64) -> Handle {
        Handle {
            disk: self.clone(),
            start,
            keeps_suffixes: false,
        }
    }

    /// The process has ended in order: what it wrote is not lost by that.
    pub(crate) fn close(&self) {
        self.0.lock().start += 1;
    }

    /// Something happens to the rows while nobody looks.
    pub(crate) fn damage(&self, damage: Damage, dice: &mut Dice) {
        let mut inner = self.0.lock();
        if damage == Damage::Reported {
            inner.is_torn = true;
            return;
        }
        let count = inner.synced.len() as u64;
        let at = dice.within(0..count) as usize;
        let (_, value) = inner.synced.iter_mut().nth(at).expect("there is a row");
        let bit = dice.within(0..value.len() as u64 * 8);
        value[(bit / 8) as usize] ^= 1 << (bit % 8);
    }

    /// The rows are those of an earlier time.
    pub(crate) fn put_back(&self, rows: Rows) {
        let mut inner = self.0.lock();
        inner.start += 1;
        inner.version += 1;
        inner.unsynced.clear();
        inner.synced = rows;
    }

    /// The machine loses its power: any number of the last unsynced batches are lost, the first of
    /// those maybe in the middle, which loses it whole. Gives how many.
    pub(crate) fn crash(&self, dice: &mut Dice) -> usize {
        let mut inner = self.0.lock();
        inner.start += 1;
        let written = inner.unsynced.len();
        let kept = dice.within(0..written as u64 + 1) as usize;
        inner.unsynced.truncate(kept);
        inner.sync();
        written - kept
    }

    /// Everything on it is lost.
    pub(crate) fn wipe(&self) {
        let mut inner = self.0.lock();
        inner.start += 1;
        inner.unsynced.clear();
        inner.synced.clear();
    }

    /// What the writes from here on meet.
    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.0.lock().trouble = trouble;
    }

    /// Lets the node crash after this many more writes and sends.
    pub(crate) fn light(&self, steps: u32) {
        self.0.lock().fuse = Some(steps);
    }

    /// Whether the fuse has burnt down.
    pub(crate) fn is_burnt(&self) -> bool {
        self.0.lock().fuse == Some(0)
    }

    /// Whether a write has failed since the disk was opened.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.lock().has_failed
    }

    /// What the writes meet.
    pub(crate) fn failure(&self) -> Trouble {
        self.0.lock().trouble
    }

    /// The next writes meet no trouble, and no fuse burns.
    pub(crate) fn cure(&self) {
        let mut inner = self.0.lock();
        inner.trouble = Trouble::None;
        inner.fuse = None;
    }

    /// One send, as a step of the fuse. Gives false if the node has crashed before it.
    pub(crate) fn step(&self) -> bool {
        self.0.lock().burn()
    }

    /// How long the writes of this turn took so far.
    pub(crate) fn busy(&self) -> Micros {
        self.0.lock().busy
    }

    /// A turn begins.
    pub(crate) fn begin(&self) {
        let mut inner = self.0.lock();
        inner.busy = 0;
        inner.deleted.clear();
    }

    /// The row of the log that this turn deleted under `key`, if it did.
    pub(crate) fn deleted(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().deleted.get(key).cloned()
    }

    /// The hash of every write so far.
    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().hash
    }

    /// A number that changes whenever the synced rows do.
    pub(crate) fn version(&self) -> u64 {
        self.0.lock().version
    }

    /// Reads the rows that a crash cannot take.
    pub(crate) fn synced<T>(&self, read: impl FnOnce(&Rows) -> T) -> T {
        read(&self.0.lock().synced)
    }
}

impl Inner {
    /// Makes all that was written durable.
    fn sync(&mut self) {
        while let Some(batch) = self.unsynced.pop_front() {
            self.version += 1;
            for ((column, key), value) in apply(&mut self.synced, &batch) {
                if column == Column::Log {
                    self.deleted.insert(key, value);
                }
            }
        }
    }

    /// One step; false if the fuse has burnt down.
    fn burn(&mut self) -> bool {
        match &mut self.fuse {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                *left > 0
            }
            None => true,
        }
    }

    fn write(&mut self, batch: &Batch, is_synced: bool) -> Result<(), DiskError> {
        self.hash = hash(batch, is_synced, self.hash);
        if self.has_failed {
            return Err(DiskError::new("the disk has failed before"));
        }
        // The step that burns the fuse down is written: the crash comes after it, before the answer.
        let is_alive = self.burn();
        if self.trouble == Trouble::Full {
            self.has_failed = true;
            return Err(DiskError::new("no space left on the disk"));
        }
        self.unsynced.push_back(batch.clone());
        if !is_alive {
            self.has_failed = true;
            return Err(DiskError::new("the node has crashed"));
        }
        if !is_synced {
            return Ok(());
        }
        match self.trouble {
            Trouble::SyncFails => {
                self.has_failed = true;
                return Err(DiskError::new("fsync failed"));
            }
            Trouble::Slow(takes) => self.busy += takes,
            Trouble::Hangs(takes) => {
                self.busy += takes;
                self.trouble = Trouble::None;
            }
            Trouble::None | Trouble::Full => {}
        }
        self.sync();
        Ok(())
    }
}

/// Does to `rows` what `batch` says. Gives the rows that it deletes.
fn apply(rows: &mut Rows, batch: &Batch) -> Rows {
    let mut deleted = Rows::new();
    for write in batch.writes() {
        match write {
            Write::Put { column, key, value } => {
                rows.insert((*column, key.clone()), value.clone());
            }
            Write::DeleteRange { column, from, to } => {
                if from < to {
                    let range = (*column, from.clone())..(*column, to.clone());
                    let keys: Vec<_> = rows.range(range).map(|(key, _)| key.clone()).collect();
                    for key in keys {
                        let value = rows.remove(&key).expect("it was found just now");
                        deleted.insert(key, value);
                    }
                }
            }
        }
    }
    deleted
}

/// The hash of a write, after those of `seed`.
fn hash(batch: &Batch, is_synced: bool, seed: u64) -> u64 {
    let mut hash = xxh3_64_with_seed(&[u8::from(is_synced)], seed);
    for write in batch.writes() {
        let (column, key, value) = match write {
            Write::Put { column, key, value } => (column, key, value),
            Write::DeleteRange { column, from, to } => (column, from, to),
        };
        hash = xxh3_64_with_seed(&[*column as u8], hash);
        hash = xxh3_64_with_seed(key, hash);
        hash = xxh3_64_with_seed(value, hash);
    }
    hash
}
