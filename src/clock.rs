//! The process's monotonic clock, as pure code wants it: [`Millis`] since the process began.
//!
//! Roles make one and hand `now()` to the cache and to policies. It goes on while the machine is suspended:
//! a member that wakes up must not believe in a lease that ran out meanwhile. In unit tests it runs on
//! `tokio::time`, so that a test with paused time drives it.

use std::time::{SystemTime, UNIX_EPOCH};

use self::moment::Moment;
use crate::ids::{Millis, as_millis};

/// A cheap copyable clock. Every copy shows the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Moment,
}

#[cfg(not(test))]
mod moment {
    use std::time::Duration;

    use nix::time::{ClockId, clock_gettime};

    /// The time since the machine was started, with the time that it was suspended: CLOCK_BOOTTIME of
    /// clock_gettime(2). CLOCK_MONOTONIC, which all other timers use, stands still meanwhile.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Moment(Duration);

    impl Moment {
        pub(super) fn now() -> Self {
            let now = clock_gettime(ClockId::CLOCK_BOOTTIME);
            Self(now.expect("Linux has this clock since 2.6.39").into())
        }

        pub(super) fn elapsed(self) -> Duration {
            Self::now().0.saturating_sub(self.0)
        }
    }
}

impl Clock {
    /// A clock that shows 0 now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            zero: Moment::now(),
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

#[cfg(test)]
mod moment {
    pub(super) use tokio::time::Instant as Moment;
}
