//! Identities and versions: one newtype each, so that a number is never mistaken for another.
//!
//! Pure. Everything above uses these; nothing here knows what they are used for.

use std::fmt;
use std::time::Duration;

/// Defines a newtype over an unsigned integer, shown as the bare number.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A member for as long as the cluster exists: never reused, not even after removal.
    NodeId(u64)
}
id! {
    /// The version of the topology: +1 with every committed change.
    Epoch(u64)
}
id! {
    /// The epoch of the command that created a partition's present ownership. Only grows.
    Tenure(u64)
}
id! {
    /// A cache group for as long as the cluster exists: never reused.
    GroupId(u32)
}
id! {
    /// The version of a group's content: entries of an older one are void. Only grows.
    Generation(u32)
}
id! {
    /// One of [`PARTITIONS`](crate::hash::PARTITIONS) equal arcs of the hash circle.
    Partition(u16)
}

id! {
    /// How often a node has started on its directory. A message from an earlier one is refused.
    Incarnation(u64)
}

/// A cluster for ever: drawn at random when it is founded. No message crosses from one to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

/// A moment on this process's monotonic clock, in milliseconds since the process began.
///
/// Pure code takes it as an argument and never asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus `ms` milliseconds, stopping at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A duration in whole milliseconds, stopping at `u64::MAX`.
#[must_use]
pub fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
