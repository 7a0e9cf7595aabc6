//! Whether this node may act for the partitions that its view says it owns. The read path asks this for every
//! call.
//!
//! The control plane renews the lease ([`crate::topology::lease`]) and writes it here; readers take no lock.
//! There is one rule: an owner acts while its lease runs and its tenure is settled, so that no other member
//! that holds a lease believes that it owns the same partition.

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
    /// It owns the partition, and no other member believes that it does.
    Acts,
    /// It owns the partition by a move. The owner before it may not know yet, but sends it every delete until
    /// then. This node answers reads; it answers no delete as done before the owner before it knows.
    TakesOver,
    /// It owns the partition, and the owner before it may not know yet: until then this node has the rights
    /// of a standby.
    Arrives,
    /// It holds no lease: another member may own the partition by now.
    Isolated,
}

/// The lease of this node, as of now. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Until when the lease runs, by the process's clock.
    until: AtomicU64,
    /// The epoch that all members with a lease have applied.
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

    /// Sets the end of the lease and the epoch that is settled.
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

    /// What this node may do for a partition that it owns by `route`.
    #[must_use]
    pub(super) fn duty(&self, route: &Route, now: Millis) -> Duty {
        if !self.is_valid(now) {
            Duty::Isolated
        } else if self.0.settled.load(Ordering::Acquire) >= route.since.0 {
            Duty::Acts
        } else if route.since.0 > route.tenure.0 {
            // Owned by a move, which does not end before all members know that it was prepared.
            Duty::TakesOver
        } else {
            Duty::Arrives
        }
    }

    /// Waits until this node acts for a partition that it owns by `route`. False if it does not by `until`.
    /// Cancel-safe.
    pub(super) async fn acts(&self, route: &Route, clock: Clock, until: Instant) -> bool {
        loop {
            // Created before the check, so that no change between the two is missed.
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
    fn an_owner_acts_with_a_lease_and_once_its_tenure_is_settled() {
        let held = Held::default();
        assert_eq!(held.duty(&route(0, 0), Millis(0)), Duty::Isolated);
        held.set(Millis(2_000), Epoch(7));
        // The tenure, the epoch since when it owns, the time, and the expected duty.
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
    async fn a_wait_to_act_ends_with_the_settlement_or_at_its_deadline() {
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
