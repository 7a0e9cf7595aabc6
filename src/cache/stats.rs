//! What the cache holds and what became of what it held: read by metrics and by tests.

use std::collections::BTreeMap;

use crate::ids::GroupId;

/// A sum over all shards. Each shard is consistent in itself; the sum is of slightly different
/// moments while others write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Charges of all entries: at most [`Limits::memory_bytes`](super::Limits::memory_bytes).
    pub bytes: u64,
    /// Entries, dead ones that were not swept yet included.
    pub entries: u64,
    /// Expiry records: exactly one per entry.
    pub expiry_records: u64,
    /// Open flights.
    pub flights: u64,
    /// Callers who wait, on closed flights too.
    pub waiters: u64,
    /// What happened since the start.
    pub counts: Counts,
    /// The same per group, for groups that have any.
    pub groups: BTreeMap<GroupId, GroupStats>,
}

/// One group's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// Charges of its entries.
    pub bytes: u64,
    /// Its entries.
    pub entries: u64,
    /// Charges of what came as copies of what others owned.
    pub copied_bytes: u64,
    /// Entries that came so.
    pub copies: u64,
    /// Callers who wait for its keys.
    pub waiters: u64,
}

/// Events since the start. Each entry that goes is counted once, by why it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored, over an older entry or not.
    pub stored: u64,
    /// Replaced, or dropped because a newer answer could not be stored.
    pub displaced: u64,
    /// Dropped to make room.
    pub evicted: u64,
    /// Dropped beyond every window.
    pub expired: u64,
    /// Dropped because its stamps were void, by look-ups and resets.
    pub voided: u64,
    /// Dropped by delete, or by expire for want of a window.
    pub deleted: u64,
    /// Not stored although valid: above `max_value_bytes`, or no room could be made.
    pub rejected: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.stored += other.stored;
        self.displaced += other.displaced;
        self.evicted += other.evicted;
        self.expired += other.expired;
        self.voided += other.voided;
        self.deleted += other.deleted;
        self.rejected += other.rejected;
    }
}
