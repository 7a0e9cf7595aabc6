//! Taking back: delete, expire, reset, loss of ownership, and the reclaiming of what has ended.

use std::sync::atomic::Ordering;

use super::Cache;
use super::entry::Entry;
use super::feed::{Receipt, Verb, Void};
use super::flight::Flight;
use super::shard::{Expire, Gone};
use crate::hash::{KeyHash, SHARDS};
use crate::ids::{Generation, GroupId, Millis, NodeId, Partition};

/// How many entries are looked at under one hold of a shard's lock. Dropping one takes about 0.6 µs,
/// so a reader of the shard waits less than 0.1 ms.
const CHUNK: usize = 128;

/// What came of taking a key's value back.
#[derive(Clone, Debug)]
pub struct Voided {
    /// There was an entry, servable or not.
    pub found: bool,
    /// Further members that have to hear of it before it is acknowledged.
    pub receipts: Vec<Receipt>,
}

/// What a reset reclaimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Entries dropped.
    pub entries: u64,
    /// Their charges.
    pub bytes: u64,
}

impl Cache {
    /// Takes the key's present value back, which is never served again: its entry goes, and its flights are
    /// closed in all roles. Callers that wait get the result, it is not stored, and a later caller starts a
    /// new flight.
    pub fn delete(&self, group: GroupId, key: &[u8], hash: KeyHash) -> Voided {
        // No moment: a delete needs none.
        self.take_back((group, key, hash), Verb::Delete, Millis(0), None)
    }

    /// Makes the key's present value stale from `now`: it is served only within its windows, which
    /// begin now, and is dropped if it has none. Flights are closed as by [`delete`](Self::delete):
    /// one that read the origin before now must not come back as fresh.
    pub fn expire(&self, group: GroupId, key: &[u8], hash: KeyHash, now: Millis) -> Voided {
        self.take_back((group, key, hash), Verb::Expire, now, None)
    }

    /// Takes back a key that another member has taken back, from which the key's partition comes or whose copies
    /// are here. Returns what further members are to do the same.
    pub fn apply_void(&self, void: &Void, from: NodeId, now: Millis) -> Vec<Receipt> {
        let key = (void.group, &*void.key, void.hash);
        self.take_back(key, void.verb, now, Some(from)).receipts
    }

    /// One step under the shard's lock, so that what others hear is in the order of what happens.
    fn take_back(
        &self,
        (group, key, hash): (GroupId, &[u8], KeyHash),
        verb: Verb,
        now: Millis,
        from: Option<NodeId>,
    ) -> Voided {
        let inner = &self.inner;
        let mut shard = self.shard(hash);
        shard.flights.close_key(group, key, hash);
        let found = match verb {
            Verb::Delete => {
                shard.peek(group, key, hash).is_some()
                    && shard.remove(hash.0, Gone::Deleted, &inner.budget)
            }
            Verb::Expire => {
                let expire = Expire {
                    group,
                    key,
                    hash,
                    now,
                };
                shard.expire(&expire, &inner.budget)
            }
        };
        if from.is_none() {
            inner.arrivals.voided(hash);
        }
        let void = || Void {
            group,
            key: key.into(),
            hash,
            verb,
        };
        let receipts = inner.taps.void(void, (group, hash.partition()), from);
        Voided { found, receipts }
    }

    /// Closes the flights that `group` opened before `generation`, and drops its entries of older
    /// generations. They are void by their stamps already: this gives their memory back now.
    ///
    /// Walks over every entry of the cache in short holds of the locks: call it where it may take a
    /// while (measured: 0.1 s per million entries looked at, 0.6 s per million dropped).
    pub fn reset(&self, group: GroupId, generation: Generation) -> Reset {
        self.void(
            |flight| flight.group == group && flight.token.generation < generation,
            |entry| entry.group() == group && entry.generation() < generation,
        )
    }

    /// Closes every flight and drops every entry: their stamps mean nothing any more, since the cluster
    /// is another, which counts them anew. Takes as long as [`reset`](Self::reset).
    pub fn clear(&self) -> Reset {
        self.void(|_| true, |_| true)
    }

    fn void(&self, is_closed: impl Fn(&Flight) -> bool, is_void: impl Fn(&Entry) -> bool) -> Reset {
        let mut reset = Reset::default();
        for shard in &self.inner.shards {
            shard.lock().flights.close_where(&is_closed);
            let mut cursor = None;
            loop {
                let (entries, bytes, next) =
                    shard
                        .lock()
                        .void_some(cursor, CHUNK, &is_void, &self.inner.budget);
                reset.entries += entries;
                reset.bytes += bytes;
                if next.is_none() {
                    break;
                }
                cursor = next;
            }
        }
        reset
    }

    /// Closes the flights of all partitions that `is_lost` names, as by [`delete`](Self::delete).
    /// Their entries and results are void by their stamps; this keeps later callers from joining.
    /// Returns how many flights were closed.
    ///
    /// `is_lost` runs under a lock: it must be quick, and must not call the cache.
    pub fn close_partitions(&self, is_lost: impl Fn(Partition) -> bool) -> usize {
        let close = |shard: &parking_lot::Mutex<super::Shard>| {
            shard
                .lock()
                .flights
                .close_where(|flight| is_lost(flight.hash.partition()))
        };
        self.inner.shards.iter().map(close).sum()
    }

    /// Drops up to `max` entries that have ended by `now`, beyond every window, and returns how
    /// many. Finds them without a walk; each call goes on where the last one stopped.
    ///
    /// Returns `max` when there may be more: call again soon.
    pub fn sweep(&self, now: Millis, max: usize) -> usize {
        let first = self.inner.next_swept.load(Ordering::Relaxed);
        let mut dropped = 0;
        for index in (first..first + SHARDS).map(|index| index % SHARDS) {
            dropped += self.sweep_shard(index, now, max - dropped);
            if dropped == max {
                self.inner.next_swept.store(index, Ordering::Relaxed);
                break;
            }
        }
        dropped
    }

    fn sweep_shard(&self, index: usize, now: Millis, max: usize) -> usize {
        let mut dropped = 0;
        while dropped < max {
            let mut shard = self.inner.shards[index].lock();
            let chunk = CHUNK.min(max - dropped);
            let done = (0..chunk)
                .take_while(|_| shard.sweep_one(now, &self.inner.budget))
                .count();
            dropped += done;
            if done < chunk {
                break;
            }
        }
        dropped
    }
}
