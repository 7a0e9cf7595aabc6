//! What a load brings back. Plain data shared by flights and their callers.

/// The longest message kept of a failed load; the rest is cut off.
pub const MAX_MESSAGE_BYTES: usize = 512;

/// What the origin answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded<'a> {
    /// The key's value. Copied; the buffer is not kept.
    Value(&'a [u8]),
    /// The origin has no such key.
    Absent,
    /// The origin did not answer the question.
    Failed(LoadError),
}

/// Why a load failed: shared by everyone who waited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// Whose fault, and whether asking again can help.
    pub kind: LoadErrorKind,
    /// For people; at most [`MAX_MESSAGE_BYTES`].
    pub message: String,
}

impl LoadError {
    /// An error whose message is cut at [`MAX_MESSAGE_BYTES`], between characters.
    #[must_use]
    pub fn new(kind: LoadErrorKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        Self { kind, message }
    }
}

/// The situations in which a load fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoadErrorKind {
    /// The origin cannot be reached or refuses to serve.
    Unavailable,
    /// The origin was asked and did not answer in time.
    Timeout,
    /// The origin refuses the group's statement.
    BadStatement,
    /// The origin answered something that is not a value.
    BadValue,
    /// The key cannot be a key of this group.
    BadKey,
    /// This node had no room to ask the origin.
    Overloaded,
    /// The load was abandoned: a bug, or a shutdown.
    Internal,
}

impl LoadErrorKind {
    /// Whether the failure is remembered for `error_ttl`, to spare the origin a storm of retries.
    ///
    /// Only what the origin did is. `Overloaded` passes sooner than any lifetime, and remembering
    /// it would prolong it; `BadKey` is found without asking the origin, and remembering it would
    /// let anyone fill the cache with nonsense; `Internal` says nothing about the origin.
    #[must_use]
    pub fn is_remembered(self) -> bool {
        match self {
            Self::Unavailable | Self::Timeout | Self::BadStatement | Self::BadValue => true,
            Self::BadKey | Self::Overloaded | Self::Internal => false,
        }
    }
}
