//! What a member may do for a partition, by its lease. Pure; asked for every call.
//!
//! There is one rule: an owner acts while its lease runs and its ownership is settled, so that no other member
//! that holds a lease believes that it owns the same partition. [`crate::topology::lease`] has the reason.

use crate::cache::Role;
use crate::ids::{Epoch, Millis};
use crate::topology::lease::Lease;
use crate::topology::view::Route;

/// What a member may do for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It does all that its role is for. If it owns the partition, no other member believes that it does.
    Acts,
    /// It owns the partition by a move. The owner before it may not know yet, but sends it every delete until
    /// then. This member answers reads; it answers no delete as done before the owner before it knows.
    TakesOver,
    /// It owns the partition, and the owner before it may not know yet: until then this member has the rights
    /// of a standby.
    Arrives,
    /// It holds no lease: another member may own the partition by now.
    Isolated,
}

/// A member's lease, as far as its duties depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// Until when it runs, by the clock of the member.
    pub until: Millis,
    /// The epoch that all members with a lease have applied.
    pub settled: Epoch,
}

impl LeaseState {
    /// Whether the lease runs. A member without one is isolated.
    #[must_use]
    #[inline]
    pub fn is_valid(self, now: Millis) -> bool {
        now < self.until
    }

    /// What the member may do in `role` for the partition of `route`.
    #[must_use]
    #[inline]
    pub fn duty(self, role: Role, route: &Route, now: Millis) -> Duty {
        if !self.is_valid(now) {
            Duty::Isolated
        } else if role != Role::Owner || self.settled >= route.since {
            Duty::Acts
        } else if route.since.0 > route.tenure.0 {
            // Owned by a move, which does not end before all members know that it was prepared.
            Duty::TakesOver
        } else {
            Duty::Arrives
        }
    }
}

impl From<&Lease> for LeaseState {
    fn from(lease: &Lease) -> Self {
        Self {
            until: lease.until(),
            settled: lease.settled(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Partition, Tenure};

    #[test]
    fn an_owner_acts_with_a_lease_and_once_its_ownership_is_settled() {
        use Role::{LastResort, Owner, Standby};
        let lease = LeaseState {
            until: Millis(2_000),
            settled: Epoch(7),
        };
        // The role, the tenure, the epoch since when the owner owns, the time, and the expected duty.
        let table = [
            (Owner, 7, 7, 1_999, Duty::Acts),
            (Owner, 6, 7, 1_999, Duty::Acts),
            (Owner, 8, 8, 1_999, Duty::Arrives),
            (Owner, 7, 8, 1_999, Duty::TakesOver),
            (Owner, 7, 7, 2_000, Duty::Isolated),
            (Owner, 7, 8, 2_000, Duty::Isolated),
            // A member that stands in needs a lease and nothing else.
            (Standby, 8, 8, 1_999, Duty::Acts),
            (Standby, 7, 8, 1_999, Duty::Acts),
            (Standby, 7, 7, 2_000, Duty::Isolated),
            (LastResort, 8, 8, 1_999, Duty::Acts),
            (LastResort, 7, 7, 2_000, Duty::Isolated),
        ];
        for (role, tenure, since, now, duty) in table {
            let route = Route {
                partition: Partition(0),
                owner: None,
                standby: None,
                tenure: Tenure(tenure),
                inherits: None,
                since: Epoch(since),
            };
            let found = lease.duty(role, &route, Millis(now));
            assert_eq!(found, duty, "{role:?} {tenure} {since} {now}");
        }
    }
}
