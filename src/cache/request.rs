//! What callers ask the cache, within which bounds. Plain data; the rules are in `mod` and `shard`, the answer
//! is in `found`.

use crate::hash::KeyHash;
use crate::ids::{GroupId, Millis};
use crate::topology::view::Stamps;

/// The named bounds of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The charges of all entries together never pass this, at any instant.
    pub memory_bytes: u64,
    /// How many callers may wait on one flight.
    pub max_waiters_per_key: usize,
    /// How many callers may wait on all flights of one group.
    pub max_waiters_per_group: usize,
    /// How many callers may wait in all. No group gets more of these places than are still free.
    pub max_waiters: usize,
}

/// In what capacity this node answers for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It owns the key.
    Owner,
    /// It stands in for an unreachable owner: it sees copies of what the owner has, and entries that a
    /// standby filled. It keeps the latter for [`STANDBY_MS`] from the load's start without stale windows,
    /// and joins no flight older than that. A copy past its lifetime answers only because the origin fails.
    Standby,
    /// It answers because owner and standby are unreachable, or because it is itself isolated:
    /// loads are coalesced, never stored, and no entry is looked at. It too joins no flight older
    /// than [`STANDBY_MS`].
    LastResort,
}

/// How long a standby's answer may be reused, counted from the load's start.
pub const STANDBY_MS: u64 = 2_000;

/// One question about one key.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The key's group.
    pub group: GroupId,
    /// The key, at most [`MAX_KEY_BYTES`](crate::hash::MAX_KEY_BYTES).
    pub key: &'a [u8],
    /// `KeyHash::of(group, key)`.
    pub hash: KeyHash,
    /// In what capacity the answer is given.
    pub role: Role,
    /// What is valid, by the caller's view.
    pub stamps: Stamps,
    /// The moment of asking.
    pub now: Millis,
}

/// The bound that kept a caller from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// [`Limits::max_waiters_per_key`] is reached.
    #[error("too many callers wait for this key")]
    PerKey,
    /// [`Limits::max_waiters_per_group`] is reached.
    #[error("too many callers wait for keys of this group")]
    PerGroup,
    /// [`Limits::max_waiters`] is reached, or nearly, and this group has the most of it.
    #[error("too many callers wait for keys of all groups")]
    InAll,
}
