//! The errors of decoding a command or a state.

use std::fmt;

use thiserror::Error;

/// The reason why bytes are no command or state. They must not be skipped, because other nodes may understand
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// No executable writes such bytes, or they are damaged.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A later executable wrote the bytes. This one must be upgraded.
    #[error("version {found} is in use, and this executable knows versions up to {known}")]
    UnknownVersion {
        /// The version of the bytes.
        found: u32,
        /// The highest version that this executable knows.
        known: u32,
    },
}

/// The error with this reason.
pub(super) fn malformed(reason: impl fmt::Display) -> DecodeError {
    DecodeError::Malformed(reason.to_string())
}

/// The error for a field that is missing or out of range.
pub(super) fn bad(field: &str) -> DecodeError {
    malformed(format_args!("{field} is missing or out of range"))
}
