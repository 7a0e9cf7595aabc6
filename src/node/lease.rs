//! Whether this node may act for what its view says it owns, as the read path asks for every call.
//!
//! Written by the control plane, which renews the lease ([`crate::topology::lease`]); read without a
//! lock. The rule is the whole of it: an owner acts while its lease runs and its tenure is settled, so
//! that nobody else who holds a lease believes to own the same partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::ids::{Epoch, Millis};
use crate::topology::view::Route;

/// What a node may do for a partition that its view says it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// It owns it, and nobody else believes to.
    Acts,
    /// It owns it, and whoever had it before may not know yet, but tells it of every delete until then: it
    /// answers reads, and says nothing is done before the other knows.
    TakesOver,
    /// It owns it, and another may not know yet: until then it is what a standby is.
    Arrives,
    /// It holds no lease: another may own it by now.
    Isolated,
}

/// The lease of this node, as of now. Clones show the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Until when the lease runs, by the process's clock.
    until: AtomicU64,
    /// The epoch that all who hold a lease have applied.
    settled: AtomicU64,
    changed: Notify,
}

impl Held {
    /// The lease of a node whose view is given, and which needs none.
    #[must_use]
    pub(super) fn always() -> Self {
        let held = Self::default();
        held.set(Millis(u64::MAX), Epoch(u64::MAX));
        held
    }

    /// The lease runs until `until`, and `settled` is settled.
    pub(super) fn set(&self, until: Millis, settled: Epoch) {
        self.0.until.store(until.0, Ordering::Release);
        self.0.settled.store(settled.0, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    /// Whether the lease runs. A node without one is isolated.
    #[must_use]
    pub(super) fn is_valid(&self, now: Millis) -> bool {
        now.0 < self.0.until.load(Ordering::Acquire)
    }

    /// What it may do for a partition that it owns by this route.
    #[must_use]
    pub(super) fn duty(&self, route: &Route, now: Millis) -> Duty {
        if !self.is_valid(now) {
            Duty::Isolated
        } else if self.0.settled.load(Ordering::Acquire) >= route.since.0 {
            Duty::Acts
        } else if route.since.0 > route.tenure.0 {
            // By a move, which is not over before all know that it was prepared.
            Duty::TakesOver
        } else {
            Duty::Arrives
        }
    }

    /// Waits until it acts for a partition that it owns by `route`, by `until` at the latest; false if it
    /// does not by then. Cancel-safe.
    pub(super) async fn acts(&self, route: &Route, clock: Clock, until: Instant) -> bool {
        loop {
            // Made before the look, so that no change between the two is missed.
            let changed = self.0.changed.notified();
            if self.duty(route, clock.now()) == Duty::Acts {
                return true;
            }
            if timeout_at(until, changed).await.is_err() {
                return self.duty(route, clock.now()) == Duty::Acts;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::{Partition, Tenure};

    fn route(tenure: u64, since: u64) -> Route {
        Route {
            partition: Partition(0),
            owner: None,
            standby: None,
            tenure: Tenure(tenure),
            inherits: None,
            since: Epoch(since),
        }
    }

    #[test]
    fn an_owner_acts_with_a_lease_and_once_all_know() {
        let held = Held::default();
        assert_eq!(held.duty(&route(0, 0), Millis(0)), Duty::Isolated);
        held.set(Millis(2_000), Epoch(7));
        // The tenure, since when it owns, the time, and what follows.
        let table = [
            (7, 7, 1_999, Duty::Acts),
            (8, 8, 1_999, Duty::Arrives),
            (6, 7, 1_999, Duty::Acts),
            (7, 8, 1_999, Duty::TakesOver),
            (7, 7, 2_000, Duty::Isolated),
            (7, 8, 2_000, Duty::Isolated),
        ];
        for (tenure, since, now, duty) in table {
            let found = held.duty(&route(tenure, since), Millis(now));
            assert_eq!(found, duty, "{tenure} {since} {now}");
        }
        let held = Held::always();
        let last = route(u64::MAX, u64::MAX);
        assert_eq!(held.duty(&last, Millis(1 << 40)), Duty::Acts);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_to_act_hears_of_it_and_not_for_ever() {
        let (held, clock) = (Held::default(), Clock::start());
        let by = |ms| Instant::now() + Duration::from_millis(ms);
        let third = route(3, 3);
        assert!(!held.acts(&third, clock, by(500)).await);
        held.set(Millis(9_000), Epoch(2));
        let waits = held.acts(&third, clock, by(5_000));
        let settles = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            held.set(Millis(9_000), Epoch(3));
        };
        let (acts, ()) = tokio::join!(waits, settles);
        assert!(acts && clock.now() < Millis(1_000));
    }
}
