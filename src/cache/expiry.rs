//! When each entry of a shard ends: exactly one record per entry, ordered by time.
//!
//! An entry's moment is a function of the entry, so a record is found and removed together with its
//! entry and never outlives it: overwriting or deleting a key a million times leaves nothing behind
//! that would have to be compacted. Used by `shard` alone, under its lock.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::ids::Millis;

/// Records are ordered by ticks of 256 ms: an entry is reclaimed at most that much late.
const TICK_SHIFT: u32 = 8;

/// One entry's end. Twelve bytes: a `u64` hash would pad the record to sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    tick: u32,
    hash_high: u32,
    hash_low: u32,
}

impl Record {
    fn new(ends_at: Millis, hash: u64) -> Self {
        // Rounded up: a record that is due belongs to an entry that has ended.
        let tick = ends_at.0.div_ceil(1 << TICK_SHIFT);
        Self {
            tick: u32::try_from(tick).unwrap_or(u32::MAX),
            hash_high: (hash >> 32) as u32,
            hash_low: hash as u32,
        }
    }

    /// The hash under which the LRU holds the entry.
    pub(super) fn hash(self) -> u64 {
        u64::from(self.hash_high) << 32 | u64::from(self.hash_low)
    }
}

/// The records of one shard.
#[derive(Default)]
pub(super) struct Expiry {
    records: BTreeSet<Record>,
}

impl Expiry {
    /// Notes that the entry under `hash` ends at `ends_at`.
    pub(super) fn add(&mut self, ends_at: Millis, hash: u64) {
        let added = self.records.insert(Record::new(ends_at, hash));
        debug_assert!(added, "an entry has one record");
    }

    /// Forgets an entry, given the moment it was added with.
    pub(super) fn remove(&mut self, ends_at: Millis, hash: u64) {
        let removed = self.records.remove(&Record::new(ends_at, hash));
        debug_assert!(removed, "an entry has a record");
    }

    /// The hash of an entry that has ended by `now`, if there is one.
    pub(super) fn due(&self, now: Millis) -> Option<u64> {
        let first = self.records.first()?;
        (u64::from(first.tick) <= now.0 >> TICK_SHIFT).then(|| first.hash())
    }

    /// Up to `max` records that follow `cursor`: a walk over all entries that may pause between
    /// calls and misses none that stays.
    pub(super) fn after(
        &self,
        cursor: Option<Record>,
        max: usize,
    ) -> impl Iterator<Item = Record> + '_ {
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.records
            .range((from, Bound::Unbounded))
            .take(max)
            .copied()
    }

    /// The records that precede `cursor`, the latest first.
    pub(super) fn before(&self, cursor: Option<Record>) -> impl Iterator<Item = Record> + '_ {
        let to = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.records.range((Bound::Unbounded, to)).rev().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_due_before_it_has_ended_and_everything_a_tick_later() {
        for ends_at in [0, 1, 255, 256, 257, 1_000, 123_456] {
            let mut expiry = Expiry::default();
            expiry.add(Millis(ends_at), 7);
            if ends_at > 0 {
                assert_eq!(expiry.due(Millis(ends_at - 1)), None, "{ends_at}");
            }
            assert_eq!(expiry.due(Millis(ends_at + 255)), Some(7), "{ends_at}");
        }
    }

    #[test]
    fn what_ends_first_is_due_first_and_hashes_survive() {
        let mut expiry = Expiry::default();
        let (late, soon) = (0xfedc_ba98_7654_3210, 0x0123_4567_89ab_cdef);
        expiry.add(Millis(90_000), late);
        expiry.add(Millis(1_000), soon);
        assert_eq!(expiry.due(Millis(100_000)), Some(soon));
        expiry.remove(Millis(1_000), soon);
        assert_eq!(expiry.due(Millis(100_000)), Some(late));
    }

    #[test]
    fn a_walk_in_chunks_sees_every_record_once() {
        let mut expiry = Expiry::default();
        (0..100).for_each(|i| expiry.add(Millis(i % 7 * 1_000), i));
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let chunk: Vec<Record> = expiry.after(cursor, 9).collect();
            let Some(&last) = chunk.last() else { break };
            seen.extend(chunk.iter().map(|record| record.hash()));
            cursor = Some(last);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<u64>>());
    }

    #[test]
    fn the_end_of_time_is_a_time() {
        let mut expiry = Expiry::default();
        expiry.add(Millis(u64::MAX), 1);
        assert_eq!(expiry.due(Millis(1 << 39)), None);
        expiry.remove(Millis(u64::MAX), 1);
        assert_eq!(expiry.len(), 0);
    }
}
