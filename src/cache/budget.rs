//! The memory budget: one number for all shards, and what an entry is charged.
//!
//! Room is reserved before an entry is stored and given back after it is dropped, so that the sum
//! of all charges never passes the limit at any instant.

use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::{Entry, HEADER_BYTES};

/// What an entry costs beyond its own allocation, at the worst moment of each structure:
/// the LRU's node (32 bytes: hash, handle, two links), its place in the hash table (17 bytes at a
/// load of 7/16, just after the table has doubled: 39), its expiry record (12 bytes in B-tree nodes
/// that ascending insertion leaves half full: 29). `tests/alloc.rs` measures it.
pub(super) const SLOT_BYTES: usize = 32 + 39 + 29;

/// Bytes that `entry` is charged while the cache holds it.
pub(super) fn charge(entry: &Entry) -> u64 {
    (class_bytes(HEADER_BYTES + entry.payload_bytes()) + SLOT_BYTES) as u64
}

/// Returns what an allocator really gives for `bytes`: four size classes per doubling, as mimalloc and
/// jemalloc have them. Charging the request alone would be short by up to a fifth.
fn class_bytes(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 8).max(16);
    bytes.next_multiple_of(step)
}

/// The budget itself.
pub(super) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if they fit. Nothing is ordered by it: the entries are under their locks.
    pub(super) fn try_reserve(&self, bytes: u64) -> bool {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.limit)
            });
        taken.is_ok()
    }

    /// Whether `bytes` would fit now.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.used()
            .checked_add(bytes)
            .is_some_and(|sum| sum <= self.limit)
    }

    /// Gives back what was reserved.
    pub(super) fn release(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "released {bytes} of {before} bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_never_pass_the_limit() {
        let budget = Budget::new(100);
        assert!(budget.try_reserve(60));
        assert!(!budget.try_reserve(41));
        assert!(!budget.try_reserve(u64::MAX));
        assert!(budget.fits(40) && !budget.fits(41) && !budget.fits(u64::MAX));
        assert!(budget.try_reserve(40));
        budget.release(60);
        assert_eq!(budget.used(), 40);
    }

    #[test]
    fn a_size_class_holds_the_request_and_wastes_at_most_a_quarter() {
        for bytes in 1..100_000 {
            let class = class_bytes(bytes);
            assert!(
                class >= bytes && class <= (bytes + bytes / 4).max(bytes + 15),
                "{bytes}"
            );
        }
        assert_eq!(
            [class_bytes(64), class_bytes(65), class_bytes(129)],
            [64, 80, 160]
        );
    }
}
