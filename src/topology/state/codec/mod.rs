//! Commands and states as bytes. Pure.
//!
//! One value has one encoding: what decodes to a value that would be written in another way is
//! malformed. So a field that this executable does not know is an error and is never dropped, and all
//! who decode the same bytes have the same.

mod command;
mod error;
mod group;
mod member;
mod pb;
mod state;
mod table;

use bytes::Bytes;
use prost::Message;

pub use self::error::DecodeError;
use self::error::malformed;
use crate::topology::commands::{COMMAND_VERSION, Command};
use crate::topology::state::State;

/// Whether a version is one that this executable knows.
fn check_version(found: u32) -> Result<(), DecodeError> {
    match found {
        0 => Err(malformed("it has no version")),
        1..=COMMAND_VERSION => Ok(()),
        _ => Err(DecodeError::UnknownVersion {
            found,
            known: COMMAND_VERSION,
        }),
    }
}

/// Whether a value that was decoded is written as it was found.
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
    /// The command as an entry of the log carries it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        command::to_wire(self).encode_to_vec().into()
    }

    /// The command in an entry of the log.
    ///
    /// # Errors
    /// The entry is of a later version, or not an encoded command. Whoever applies the log must stop:
    /// to skip an entry that others apply is to have another state than they.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let envelope = pb::CommandEnvelope::decode(bytes).map_err(malformed)?;
        check_version(envelope.version)?;
        let command = command::from_wire(envelope)?;
        check_canonical(bytes, &command.encode())?;
        Ok(command)
    }
}

impl State {
    /// The state as a snapshot carries it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        state::to_wire(self).encode_to_vec().into()
    }

    /// The state in a snapshot.
    ///
    /// # Errors
    /// The bytes are no state, or one that only a later executable understands.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire = pb::State::decode(bytes).map_err(malformed)?;
        check_version(wire.version)?;
        let state = state::from_wire(wire)?;
        // In this order: only a state that holds together can be encoded.
        state::check(&state)?;
        check_canonical(bytes, &state.encode())?;
        Ok(state)
    }

    /// A digest of the whole state: it differs if two nodes have come apart.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.encode())
    }
}

#[cfg(test)]
mod tests;
