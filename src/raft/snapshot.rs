//! A snapshot's data: the state with its hash, so that a state that came about otherwise is noticed.

use raft::eraftpb::{Snapshot, SnapshotMetadata};

use super::quorum::{conf_state, quorum};
use crate::topology::state::State;
use crate::topology::state::codec::DecodeError;

/// Bytes of the hash before the state.
const HASH_BYTES: usize = 8;

/// A snapshot that this executable cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSnapshot {
    /// No executable writes such bytes, or they are damaged.
    #[error("the snapshot cannot be used: {0}")]
    Malformed(String),
    /// A later executable wrote it.
    #[error("the snapshot cannot be used: {}", DecodeError::UnknownVersion { found: *found, known: *known })]
    Newer {
        /// The version of its state.
        found: u32,
        /// The highest version that this executable knows.
        known: u32,
    },
}

impl From<DecodeError> for BadSnapshot {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed(_) => Self::Malformed(error.to_string()),
            DecodeError::UnknownVersion { found, known } => Self::Newer { found, known },
        }
    }
}

/// The data of a snapshot of `state`.
pub(super) fn data(state: &State) -> Vec<u8> {
    let encoded = state.encode();
    let mut data = Vec::with_capacity(HASH_BYTES + encoded.len());
    data.extend(xxhash_rust::xxh3::xxh3_64(&encoded).to_le_bytes());
    data.extend(encoded);
    data
}

/// The snapshot of `state`, which is what applying all entries up to `index` made.
pub(super) fn of(state: &State, index: u64, term: u64) -> Snapshot {
    let mut snapshot = Snapshot {
        data: data(state),
        ..Snapshot::default()
    };
    let meta = snapshot.mut_metadata();
    meta.index = index;
    meta.term = term;
    meta.set_conf_state(conf_state(state.quorum()));
    snapshot
}

/// The state in the snapshot of `meta` and `data`.
///
/// # Errors
/// It has no index, does not decode, is not what its sender hashed, or was made for another quorum; or it is
/// of a later version.
pub(super) fn read(meta: &SnapshotMetadata, data: &[u8]) -> Result<State, BadSnapshot> {
    let bad = |reason: &str| BadSnapshot::Malformed(reason.to_owned());
    if meta.index == 0 || meta.term == 0 {
        return Err(bad("it has no index"));
    }
    let Some((hash, encoded)) = data.split_first_chunk::<HASH_BYTES>() else {
        return Err(bad("it is empty"));
    };
    if xxhash_rust::xxh3::xxh3_64(encoded) != u64::from_le_bytes(*hash) {
        return Err(bad("its hash is another"));
    }
    let state = State::decode(encoded)?;
    if quorum(meta.get_conf_state()) != *state.quorum() {
        return Err(bad("its quorum is another than its state's"));
    }
    Ok(state)
}
