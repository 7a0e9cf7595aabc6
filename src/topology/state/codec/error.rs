//! What may be wrong with the bytes of a command or a state.

use std::fmt;

use thiserror::Error;

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

/// The error that says `reason`.
pub(super) fn malformed(reason: impl fmt::Display) -> DecodeError {
    DecodeError::Malformed(reason.to_string())
}

/// The error that a field is missing or out of range.
pub(super) fn bad(field: &str) -> DecodeError {
    malformed(format_args!("{field} is missing or out of range"))
}
