//! The process's monotonic clock, as pure code wants it: [`Millis`] since the process began.
//!
//! Roles make one and hand `now()` to the cache and to policies. It runs on `tokio::time`, so that a
//! test with paused time drives it.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::ids::{Millis, as_millis};

/// A cheap copyable clock. Every copy shows the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
}

impl Clock {
    /// A clock that shows 0 now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            zero: Instant::now(),
        }
    }

    /// Milliseconds since [`Clock::start`].
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(as_millis(self.zero.elapsed()))
    }
}

/// Milliseconds since 1970 by the calendar, for people to read; 0 if the calendar is set before that.
#[expect(
    clippy::disallowed_methods,
    reason = "people want to know the date of a change; nothing is computed with it"
)]
#[must_use]
pub fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, as_millis)
}
