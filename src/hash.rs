//! Key → hash → partition and shard: the arithmetic every process must agree on.
//!
//! Frozen: the function, the seed (0), the byte order and the partition count decide which member owns a key,
//! so they are stamped in the log and pinned by `tests/data/hash_vectors.txt`. Pure.

use crate::ids::{GroupId, Partition};

/// How many equal arcs the hash circle has. Stamped in the log, never changed.
pub const PARTITIONS: usize = 4096;

/// How many shards a node's cache has. Private to a process: it may differ between versions.
pub const SHARDS: usize = 256;

/// The longest key in bytes that any part of gcache accepts.
pub const MAX_KEY_BYTES: usize = 512;

/// Name of the hash, as a log or an operator names it.
pub const HASH_NAME: &str = "xxh3_64/seed0/group-le32";

/// The 64-bit hash of a key within its group.
///
/// The top 12 bits choose the partition and the low 8 bits the shard, so that the keys of one
/// partition spread over all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// `xxh3_64(group as 4 little-endian bytes ‖ key)`, for keys of up to [`MAX_KEY_BYTES`].
    ///
    /// A longer key gets a hash too, by a slower way; callers refuse such keys before they ask.
    #[must_use]
    pub fn of(group: GroupId, key: &[u8]) -> Self {
        const PREFIX: usize = size_of::<u32>();
        let prefix = group.0.to_le_bytes();
        // One-shot hashing of a stack copy beats the streaming state, whose set-up alone costs
        // more than hashing a usual key.
        let mut buffer = [0u8; PREFIX + MAX_KEY_BYTES];
        if let Some(place) = buffer.get_mut(PREFIX..PREFIX + key.len()) {
            place.copy_from_slice(key);
            buffer[..PREFIX].copy_from_slice(&prefix);
            return Self(xxhash_rust::xxh3::xxh3_64(&buffer[..PREFIX + key.len()]));
        }
        let mut state = xxhash_rust::xxh3::Xxh3Default::new();
        state.update(&prefix);
        state.update(key);
        Self(state.digest())
    }

    /// The partition: the top 12 bits.
    #[must_use]
    pub fn partition(self) -> Partition {
        // 64 − 12 bits; the result is below 4096 and fits.
        Partition((self.0 >> 52) as u16)
    }

    /// The shard: the low 8 bits.
    #[must_use]
    pub fn shard(self) -> usize {
        (self.0 as usize) & (SHARDS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_hash_as_the_streaming_function_says() {
        for len in [0, 1, 16, 240, 241, MAX_KEY_BYTES, MAX_KEY_BYTES + 1, 4000] {
            let key = vec![b'k'; len];
            let mut whole = 7u32.to_le_bytes().to_vec();
            whole.extend_from_slice(&key);
            let expected = xxhash_rust::xxh3::xxh3_64(&whole);
            assert_eq!(
                KeyHash::of(GroupId(7), &key).0,
                expected,
                "key of {len} bytes"
            );
        }
    }

    /// The vectors were written by another implementation of XXH3 (PyPI's `xxhash`).
    #[test]
    fn the_vectors_hold() {
        let vectors = include_str!("../tests/data/hash_vectors.txt");
        let mut checked = 0;
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let [group, key_hex, hash, partition, shard] =
                line.split_whitespace().collect::<Vec<_>>()[..]
            else {
                panic!("malformed vector: {line}");
            };
            let key: Vec<u8> = (0..key_hex.len() / 2)
                .map(|i| u8::from_str_radix(&key_hex[2 * i + 1..2 * i + 3], 16).unwrap())
                .collect();
            let got = KeyHash::of(GroupId(group.parse().unwrap()), &key);
            assert_eq!(format!("{:016x}", got.0), hash, "{line}");
            assert_eq!(got.partition().0.to_string(), partition, "{line}");
            assert_eq!(got.shard().to_string(), shard, "{line}");
            checked += 1;
        }
        assert!(checked >= 40, "only {checked} vectors");
    }
}
