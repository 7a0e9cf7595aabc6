//! Commands and states as bytes. Pure.
//!
//! Each value has exactly one encoding: bytes that decode to a value with another encoding are malformed. So
//! a field that this executable does not know is an error and is never dropped, and all nodes that decode the
//! same bytes get the same value.

mod command;
mod error;
mod group;
mod member;
mod pb;
mod state;
mod table;
mod version;

use bytes::Bytes;
use prost::Message;

pub use self::error::DecodeError;
use self::error::malformed;
#[cfg(feature = "simulation")]
pub use self::version::as_version;
use crate::topology::commands::Command;
use crate::topology::state::State;

/// Checks that a decoded value is encoded to the bytes it was decoded from.
fn check_canonical(found: &[u8], written: &[u8]) -> Result<(), DecodeError> {
    if found == written {
        Ok(())
    } else {
        Err(malformed(
            "it has something that this executable does not know",
        ))
    }
}

impl Command {
    /// Encodes the command for an entry of the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        command::to_wire(self).encode_to_vec().into()
    }

    /// Decodes the command in an entry of the log.
    ///
    /// # Errors
    /// The entry is of a later version, or not an encoded command. A node that applies the log must then
    /// stop: if it skipped an entry that others apply, its state would differ from theirs.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let envelope = pb::CommandEnvelope::decode(bytes).map_err(malformed)?;
        version::check(envelope.version)?;
        let command = command::from_wire(envelope)?;
        check_canonical(bytes, &command.encode())?;
        Ok(command)
    }
}

impl State {
    /// Encodes the state for a snapshot.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        state::to_wire(self).encode_to_vec().into()
    }

    /// Decodes the state in a snapshot.
    ///
    /// # Errors
    /// The bytes are no state, or a state that only a later executable understands.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire = pb::State::decode(bytes).map_err(malformed)?;
        version::check(wire.version)?;
        let state = state::from_wire(wire)?;
        // In this order: only a consistent state can be encoded.
        state::check(&state)?;
        check_canonical(bytes, &state.encode())?;
        Ok(state)
    }

    /// A digest of the whole state. It differs if the states of two nodes have diverged.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.encode())
    }
}

#[cfg(test)]
mod tests;
