//! Rendezvous hashing: chooses the member that answers for a key when neither its owner nor its standby can
//! be reached.
//!
//! Highest random weight (Thaler and Ravishankar 1998): every member has a score for the key, and the
//! reachable member with the highest score wins. Frontends that reach the same members choose the same one
//! without any agreement, so their loads coalesce there. When it fails, only its own keys go elsewhere,
//! spread over all others. Pure; called by [`View`](crate::topology::view::View).

use crate::hash::KeyHash;
use crate::ids::NodeId;

/// The score of `member` for a key: random, yet the same everywhere. Frozen by `tests/data/rendezvous.txt`.
///
/// `xxh3_64(key hash as 8 little-endian bytes ‖ member id as 8)`. Weights do not count: the last resort
/// caches nothing.
#[must_use]
pub fn score(hash: KeyHash, member: NodeId) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&hash.0.to_le_bytes());
    bytes[8..].copy_from_slice(&member.0.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}
