//! Commands and states as bytes. Pure.
//!
//! One value has one encoding: what decodes to a value that would be written in another way is
//! malformed. So a field that this executable does not know is an error and is never dropped, and all
//! who decode the same bytes have the same.

mod command;
mod group;
mod member;
mod state;
mod table;

use std::fmt;

use bytes::Bytes;
use prost::Message;
use thiserror::Error;

use crate::topology::commands::{COMMAND_VERSION, Command};
use crate::topology::state::State;

#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]
mod pb {
    //! Generated from `proto/state.proto`.
    include!(concat!(env!("OUT_DIR"), "/gcache.state.v1.rs"));
}

/// Why bytes are no command or state. Neither may be skipped: others may understand them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They are not what any executable writes, or they are damaged.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A later executable wrote them. This one must be replaced.
    #[error("version {found} is in use, and this executable knows versions up to {known}")]
    UnknownVersion {
        /// The version of what was found.
        found: u32,
        /// The highest version that this executable knows.
        known: u32,
    },
}

/// The error that says `told`.
fn malformed(told: impl fmt::Display) -> DecodeError {
    DecodeError::Malformed(told.to_string())
}

/// The error that a field is missing or out of range.
fn bad(field: &str) -> DecodeError {
    malformed(format_args!("{field} is missing or out of range"))
}

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

pub(in crate::topology) fn encode_command(command: &Command) -> Bytes {
    command::to_wire(command).encode_to_vec().into()
}

pub(in crate::topology) fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    let envelope = pb::CommandEnvelope::decode(bytes).map_err(malformed)?;
    check_version(envelope.version)?;
    let command = command::from_wire(envelope)?;
    check_canonical(bytes, &encode_command(&command))?;
    Ok(command)
}

pub(super) fn encode_state(state: &State) -> Bytes {
    state::to_wire(state).encode_to_vec().into()
}

pub(super) fn decode_state(bytes: &[u8]) -> Result<State, DecodeError> {
    let wire = pb::State::decode(bytes).map_err(malformed)?;
    check_version(wire.version)?;
    let state = state::from_wire(wire)?;
    // In this order: only a state that holds together can be encoded.
    state::check(&state)?;
    check_canonical(bytes, &encode_state(&state))?;
    Ok(state)
}

#[cfg(test)]
mod tests;
