//! One shard: its entries in LRU order, their accounting, their expiry records and its flights.
//!
//! Everything here is under the shard's lock. Each way in or out of the LRU passes through
//! `insert`, `remove` or `evict`, which keep charges, group sums and expiry records in step.

use std::collections::HashMap;

use super::budget::{Budget, SLOT_BYTES, charge};
use super::entry::{Entry, HEADER_BYTES, Phase};
use super::expiry::{Expiry, Record};
use super::flight::Flights;
use super::request::{Request, Role};
use super::stats::{Counts, GroupStats, Stats};
use crate::hash::{KeyHash, SHARDS};
use crate::ids::{GroupId, Millis};

/// Why an entry goes; each has its counter.
#[derive(Clone, Copy)]
pub(super) enum Gone {
    Displaced,
    Evicted,
    Expired,
    Voided,
    Deleted,
}

/// What a look-up makes of the entry in its slot.
enum Verdict {
    Serve(Phase),
    Pass,
    Drop(Gone),
}

/// Aligned to two cache lines, so that neighbouring locks do not contend for one.
#[repr(align(128))]
pub(super) struct Shard {
    /// By hash, so that a look-up needs no owned key. A key with the hash of another displaces it:
    /// with 64 bits that is rarer than a failing disk, and costs one load.
    ///
    /// Of hashlru only `insert`, `get`, `peek`, `pop`, `pop_lru` and `clear` are used: the other
    /// removals leak, and its own eviction would pass by the accounting.
    lru: hashlru::Cache<u64, Entry>,
    pub(super) flights: Flights,
    expiry: Expiry,
    bytes: u64,
    groups: HashMap<GroupId, GroupStats>,
    pub(super) counts: Counts,
}

impl Shard {
    /// A shard of a cache of `memory_bytes` in all.
    pub(super) fn new(memory_bytes: u64) -> Self {
        let mut lru = hashlru::Cache::new(0);
        // `resize` reserves the whole table and then gives it back, so "a high count" has to be an
        // affordable one: twice the shard's fair share of the smallest possible entries. At that
        // count it evicts by number, which keeps every promise.
        let fair_share = memory_bytes / (SHARDS * (HEADER_BYTES + SLOT_BYTES)) as u64;
        lru.resize(
            usize::try_from(2 * fair_share)
                .unwrap_or(MAX_SLOTS)
                .clamp(MIN_SLOTS, MAX_SLOTS),
        );
        Self {
            lru,
            flights: Flights::default(),
            expiry: Expiry::default(),
            bytes: 0,
            groups: HashMap::new(),
            counts: Counts::default(),
        }
    }

    /// The entry that may answer `request`, and how far into its life it is: never `Dead`.
    ///
    /// A hit is moved to the front of the LRU. An entry that nobody can use again is dropped.
    pub(super) fn look(
        &mut self,
        request: &Request<'_>,
        budget: &Budget,
    ) -> Option<(Entry, Phase)> {
        if request.role == Role::LastResort {
            return None;
        }
        let entry = self.lru.get(&request.hash.0)?;
        match judge(entry, request) {
            Verdict::Serve(phase) => Some((entry.clone(), phase)),
            Verdict::Pass => None,
            Verdict::Drop(gone) => {
                self.remove(request.hash.0, gone, budget);
                None
            }
        }
    }

    /// The key's entry, servable or not, without moving it.
    pub(super) fn peek(&self, group: GroupId, key: &[u8], hash: KeyHash) -> Option<&Entry> {
        self.lru
            .peek(&hash.0)
            .filter(|entry| entry.is_for(group, key))
    }

    /// Notes that the entry in this slot was used elsewhere; false if there is none.
    pub(super) fn touch(&mut self, hash: u64) -> bool {
        self.lru.get(&hash).is_some()
    }

    /// The entry in this slot, without moving it.
    pub(super) fn peek_slot(&self, hash: u64) -> Option<&Entry> {
        self.lru.peek(&hash)
    }

    /// Puts an entry whose charge was reserved into its empty slot.
    pub(super) fn insert(&mut self, hash: u64, entry: Entry, budget: &Budget) {
        while self.lru.len() >= self.lru.capacity() && self.evict(budget) {}
        let bytes = charge(&entry);
        self.bytes += bytes;
        let group = self.groups.entry(entry.group()).or_default();
        group.bytes += bytes;
        group.entries += 1;
        if entry.is_copy() {
            group.copied_bytes += bytes;
            group.copies += 1;
        }
        self.expiry.add(entry.ends_at(), hash);
        self.counts.stored += 1;
        let before = self.lru.insert(hash, entry);
        debug_assert!(before.is_none(), "the slot was emptied first");
    }

    /// Empties a slot; false if it was empty.
    pub(super) fn remove(&mut self, hash: u64, gone: Gone, budget: &Budget) -> bool {
        let Some((_, entry)) = self.lru.pop(&hash) else {
            return false;
        };
        self.forget(hash, &entry, gone, budget);
        true
    }

    /// Drops the least recently used entry; false if there is none.
    pub(super) fn evict(&mut self, budget: &Budget) -> bool {
        let Some((hash, entry)) = self.lru.pop_lru() else {
            return false;
        };
        self.forget(hash, &entry, Gone::Evicted, budget);
        true
    }

    /// Ends the freshness of the key's entry; drops it if it has no windows. False if there is
    /// nothing to end.
    pub(super) fn expire(&mut self, request: &Expire<'_>, budget: &Budget) -> bool {
        let hash = request.hash.0;
        let Some(entry) = self.peek(request.group, request.key, request.hash).cloned() else {
            return false;
        };
        self.expiry.remove(entry.ends_at(), hash);
        entry.end_freshness(request.now);
        self.expiry.add(entry.ends_at(), hash);
        if entry.phase(request.now) == Phase::Dead {
            self.remove(hash, Gone::Deleted, budget);
        }
        true
    }

    /// Drops one entry that has ended by `now`; false if there is none.
    pub(super) fn sweep_one(&mut self, now: Millis, budget: &Budget) -> bool {
        match self.expiry.due(now) {
            Some(hash) => self.remove(hash, Gone::Expired, budget),
            None => false,
        }
    }

    /// Walks over up to `max` entries after `cursor` and drops those that `void` names. Returns how
    /// many went, their charges, and where to go on.
    pub(super) fn void_some(
        &mut self,
        cursor: Option<Record>,
        max: usize,
        void: impl Fn(&Entry) -> bool,
        budget: &Budget,
    ) -> (u64, u64, Option<Record>) {
        let chunk: Vec<Record> = self.expiry.after(cursor, max).collect();
        let before = self.bytes;
        let mut entries = 0;
        for hash in chunk.iter().map(|record| record.hash()) {
            if self.lru.peek(&hash).is_some_and(&void) {
                self.remove(hash, Gone::Voided, budget);
                entries += 1;
            }
        }
        let next = if chunk.len() < max {
            None
        } else {
            chunk.last().copied()
        };
        (entries, before - self.bytes, next)
    }

    /// Shows up to `max` entries that end before `cursor`, the latest first, while `look` takes them. Where
    /// to go on, and whether nothing is left.
    pub(super) fn look_back(
        &self,
        cursor: Option<Record>,
        max: usize,
        mut look: impl FnMut(&Entry) -> bool,
    ) -> (Option<Record>, bool) {
        let mut last = cursor;
        let mut count = 0;
        for record in self.expiry.before(cursor).take(max) {
            if self
                .lru
                .peek(&record.hash())
                .is_some_and(|entry| !look(entry))
            {
                return (last, false);
            }
            last = Some(record);
            count += 1;
        }
        (last, count < max)
    }

    /// Adds this shard's share to `stats`.
    pub(super) fn add_to(&self, stats: &mut Stats) {
        stats.bytes += self.bytes;
        stats.entries += self.lru.len() as u64;
        stats.expiry_records += self.expiry.len() as u64;
        stats.flights += self.flights.len() as u64;
        stats.counts.add(&self.counts);
        for (&group, own) in &self.groups {
            let sum = stats.groups.entry(group).or_default();
            sum.bytes += own.bytes;
            sum.entries += own.entries;
            sum.copied_bytes += own.copied_bytes;
            sum.copies += own.copies;
        }
    }

    /// The books, for an entry that has left the LRU.
    fn forget(&mut self, hash: u64, entry: &Entry, gone: Gone, budget: &Budget) {
        let bytes = charge(entry);
        self.bytes -= bytes;
        let group = self
            .groups
            .get_mut(&entry.group())
            .expect("a group with entries has a sum");
        group.bytes -= bytes;
        group.entries -= 1;
        if entry.is_copy() {
            group.copied_bytes -= bytes;
            group.copies -= 1;
        }
        if group.entries == 0 {
            self.groups.remove(&entry.group());
        }
        self.expiry.remove(entry.ends_at(), hash);
        budget.release(bytes);
        let count = match gone {
            Gone::Displaced => &mut self.counts.displaced,
            Gone::Evicted => &mut self.counts.evicted,
            Gone::Expired => &mut self.counts.expired,
            Gone::Voided => &mut self.counts.voided,
            Gone::Deleted => &mut self.counts.deleted,
        };
        *count += 1;
    }

    /// Everything recomputed from the entries themselves; panics where the books differ.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut groups: HashMap<GroupId, GroupStats> = HashMap::new();
        for record in self.expiry.after(None, usize::MAX) {
            let entry = self
                .lru
                .peek(&record.hash())
                .expect("a record has its entry");
            let group = groups.entry(entry.group()).or_default();
            group.bytes += charge(entry);
            group.entries += 1;
            group.copied_bytes += u64::from(entry.is_copy()) * charge(entry);
            group.copies += u64::from(entry.is_copy());
        }
        assert_eq!(groups, self.groups, "group sums");
        assert_eq!(
            groups.values().map(|group| group.bytes).sum::<u64>(),
            self.bytes,
            "bytes"
        );
        assert_eq!(self.expiry.len(), self.lru.len(), "one record per entry");
    }
}

/// Fewest slots of a shard, so that a tiny budget is spent on bytes and not on counting.
const MIN_SLOTS: usize = 1 << 10;

/// Most slots of a shard: a billion entries in all.
const MAX_SLOTS: usize = 1 << 22;

/// The key whose freshness ends, and when.
pub(super) struct Expire<'a> {
    pub(super) group: GroupId,
    pub(super) key: &'a [u8],
    pub(super) hash: KeyHash,
    pub(super) now: Millis,
}

/// hashlru has no `Drop` and would leak every entry. (Its two sentinel nodes, 64 bytes, stay
/// behind whatever one does.)
impl Drop for Shard {
    fn drop(&mut self) {
        self.lru.clear();
    }
}

fn judge(entry: &Entry, request: &Request<'_>) -> Verdict {
    if !entry.is_for(request.group, request.key) {
        return Verdict::Pass;
    }
    if !entry.is_valid(&request.stamps, request.role) {
        return match entry.is_void(&request.stamps) {
            true => Verdict::Drop(Gone::Voided),
            false => Verdict::Pass,
        };
    }
    match entry.phase(request.now) {
        Phase::Dead => Verdict::Drop(Gone::Expired),
        // A standby serves nothing stale while it is refreshed: the owner may be there. But a copy answers for a
        // failing origin as it would at the owner, since each delete has come here, too.
        Phase::Stale if request.role == Role::Standby => Verdict::Serve(Phase::StaleOnError),
        phase => Verdict::Serve(phase),
    }
}
