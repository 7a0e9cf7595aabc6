//! Keys, requests and fills for the cache engine, as the read path of a node makes them.

use gcache::cache::{Cache, Fill, Freshness, Limits, Request, Role, Stamps};
use gcache::hash::KeyHash;
use gcache::ids::{Generation, GroupId, Millis, Tenure};

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 100;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 16;

/// A key: text, as keys in URLs are.
pub(crate) type Key = [u8; KEY_BYTES];

/// The key with number `index`.
pub(crate) fn key(index: u32) -> Key {
    let mut key = *b"account:00000000";
    let digits = format!("{index:08x}");
    key[KEY_BYTES - digits.len()..].copy_from_slice(digits.as_bytes());
    key
}

/// The request for `key`, its hashing included.
pub(crate) fn request(key: &Key) -> Request<'_> {
    Request {
        group: GroupId(1),
        key,
        hash: KeyHash::of(GroupId(1), key),
        role: Role::Owner,
        stamps: Stamps {
            tenure: Tenure(1),
            inherits: None,
            copies: None,
            generation: Generation(1),
        },
        now: Millis(1_000),
    }
}

/// The circumstances of every fill.
pub(crate) fn fill() -> Fill {
    Fill {
        stamps: request(&[0; KEY_BYTES]).stamps,
        freshness: Freshness {
            ttl_ms: 3_600_000,
            jitter: 6_554,
            stale_ms: 0,
            stale_if_error_ms: 0,
            negative_ttl_ms: 1_000,
            error_ttl_ms: 100,
            max_value_bytes: 1 << 20,
        },
        now: Millis(1_000),
        load_started: Millis(1_000),
        random: fastrand::u64(..),
    }
}

/// A cache of `memory_bytes`.
pub(crate) fn cache(memory_bytes: u64) -> Cache {
    Cache::new(Limits {
        memory_bytes,
        max_waiters_per_key: 16_384,
        max_waiters_per_group: 65_536,
        max_waiters: 131_072,
    })
}
