//! The lease of this node, as its calls see it: the read path looks at it for every call.
//!
//! The control plane renews the lease ([`crate::topology::lease`]) and writes it here; readers take no lock.
//! What the node may do by it is decided in [`crate::ownership`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::cache::Role;
use crate::clock::Clock;
use crate::ids::{Epoch, Millis};
use crate::ownership::{Duty, LeaseState};
use crate::topology::view::Route;

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

    /// The lease as it is now.
    #[must_use]
    #[inline]
    pub(super) fn state(&self) -> LeaseState {
        LeaseState {
            until: Millis(self.0.until.load(Ordering::Acquire)),
            settled: Epoch(self.0.settled.load(Ordering::Acquire)),
        }
    }

    /// Whether the lease runs. A node without one is isolated.
    #[must_use]
    pub(super) fn is_valid(&self, now: Millis) -> bool {
        self.state().is_valid(now)
    }

    /// Waits until this node acts for a partition that it owns by `route`, but not longer than `until`. Returns
    /// the duty that it has then. Cancel-safe.
    pub(super) async fn acts(&self, route: &Route, clock: Clock, until: Instant) -> Duty {
        let duty = || self.state().duty(Role::Owner, route, clock.now());
        loop {
            // Created before the check, so that no change between the two is missed.
            let changed = self.0.changed.notified();
            if duty() == Duty::Acts {
                return Duty::Acts;
            }
            if timeout_at(until, changed).await.is_err() {
                return duty();
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
    fn a_node_that_needs_no_lease_always_acts() {
        let duty = |held: &Held, now| {
            let last = route(u64::MAX, u64::MAX);
            held.state().duty(Role::Owner, &last, Millis(now))
        };
        assert_eq!(duty(&Held::default(), 0), Duty::Isolated);
        assert_eq!(duty(&Held::always(), 1 << 40), Duty::Acts);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_to_act_ends_with_the_settlement_or_at_its_deadline() {
        let (held, clock) = (Held::default(), Clock::start());
        let by = |ms| Instant::now() + Duration::from_millis(ms);
        let third = route(3, 3);
        assert_eq!(held.acts(&third, clock, by(500)).await, Duty::Isolated);
        held.set(Millis(9_000), Epoch(2));
        assert_eq!(held.acts(&third, clock, by(500)).await, Duty::Arrives);
        let waits = held.acts(&third, clock, by(5_000));
        let settles = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            held.set(Millis(9_000), Epoch(3));
        };
        let (duty, ()) = tokio::join!(waits, settles);
        assert!(duty == Duty::Acts && clock.now() < Millis(1_500));
    }
}
