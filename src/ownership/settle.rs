//! When a delete is done: at once, after a wait, or not at all. Pure.
//!
//! The value is dropped first, and then the conditions are looked at: so what held at the drop still holds at
//! the answer. After a wait everything is looked at once more, by the view of then. Expiries follow the same
//! rules.
//!
//! ```text
//! drop → after_drop → Acknowledge
//!                   → WaitForReceipts → after_receipts → Acknowledge, GiveUp, or again from the drop
//!                   → WaitToAct       → after_arrival  → GiveUp, or again from the drop
//! ```

use std::time::Duration;

use super::duty::{Duty, LeaseState};
use crate::cache::{Heard, Role};
use crate::ids::Millis;
use crate::topology::model::group::Group;
use crate::topology::view::{Role as ViewRole, Route, Standing};

/// How long a delete waits until all members know this one as the owner, and until those that were sent the
/// delete have applied it. A change of owners is settled within a second, or within 3 s when the leader was
/// lost.
pub const ARRIVAL_PATIENCE: Duration = Duration::from_secs(4);

/// How long a delete waits for a lease: longer than a normal election of another leader takes.
pub const ISOLATED_PATIENCE: Duration = Duration::from_secs(1);

/// What comes after the drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterDrop {
    /// The delete is done.
    Acknowledge,
    /// The members that also have the key are waited for, no longer than this.
    WaitForReceipts(Duration),
    /// The member waits until it acts, no longer than this.
    WaitToAct(Duration),
}

/// What comes after a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterWait {
    /// The delete is done.
    Acknowledge,
    /// The value is dropped again, by the view of then: the key may be another member's.
    Again,
    /// The delete is not acknowledged, for this reason.
    GiveUp(Unsettled),
}

/// Why a delete is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// The member holds no lease.
    Isolated,
    /// Not all members know it as the owner yet.
    Arriving,
    /// A member that also has the key has not said that it has applied the delete.
    Unheard,
}

/// The route by which a delete is judged. Its `since` is the epoch from which on no other member may believe
/// that it owns the partition or has copies of the group's keys.
#[must_use]
pub fn acts_by(standing: &Standing, group: Option<&Group>) -> Route {
    let copied = match group {
        // This group has no copies: those of other groups do not matter.
        Some(group) if group.spec.copies == 1 => group.copies_since,
        Some(_) | None => standing.copies.since,
    };
    let route = standing.route;
    let since = route.since.max(copied);
    Route { since, ..route }
}

/// What comes after the drop by the owner with this duty, which is that for [`acts_by`]. `has_receipts`: there
/// are members that are to hear of it. `is_latest`: the view by which it was dropped is the latest.
#[must_use]
pub fn after_drop(duty: Duty, has_receipts: bool, is_latest: bool) -> AfterDrop {
    match duty {
        // With a view that is not the latest, the drop may have come after the partition was sent to its
        // new owner.
        Duty::Acts if is_latest && !has_receipts => AfterDrop::Acknowledge,
        Duty::Acts => AfterDrop::WaitForReceipts(ARRIVAL_PATIENCE),
        Duty::Arrives | Duty::TakesOver => AfterDrop::WaitToAct(ARRIVAL_PATIENCE),
        // The member may have started a moment ago, or its cluster may have lost its leader.
        Duty::Isolated => AfterDrop::WaitToAct(ISOLATED_PATIENCE),
    }
}

/// What comes after the wait for receipts. `is_done` is what [`is_done`] says by now; `is_over`: the patience
/// has ended.
///
/// If a member takes no more deletes for the partition, then the partition is elsewhere by now, or stays, or
/// the leader is about to give its move up: each of these ends with a commit.
#[must_use]
pub fn after_receipts(heard: Heard, is_done: bool, is_over: bool) -> AfterWait {
    match heard {
        Heard::Applied if is_done => AfterWait::Acknowledge,
        Heard::Applied => AfterWait::Again,
        Heard::Waits | Heard::Ended(_) if is_over => AfterWait::GiveUp(Unsettled::Unheard),
        Heard::Waits | Heard::Ended(_) => AfterWait::Again,
    }
}

/// What comes after the wait to act; `duty` is that of its end.
#[must_use]
pub fn after_arrival(duty: Duty) -> AfterWait {
    match duty {
        Duty::Acts => AfterWait::Again,
        Duty::Arrives | Duty::TakesOver => AfterWait::GiveUp(Unsettled::Arriving),
        Duty::Isolated => AfterWait::GiveUp(Unsettled::Isolated),
    }
}

/// Whether the conditions of the drop still hold, now that the other members have applied it: the member
/// owns the key and acts, by the view and the lease of now. `group` is none if it was removed meanwhile.
#[must_use]
pub fn is_done(standing: &Standing, group: Option<&Group>, lease: LeaseState, now: Millis) -> bool {
    let duty = lease.duty(Role::Owner, &acts_by(standing, group), now);
    standing.role == ViewRole::Owner && duty == Duty::Acts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::End;
    use crate::ids::{Epoch, Generation, GroupId, Partition, Tenure};
    use crate::topology::fixtures::table_spec;
    use crate::topology::model::partitions::Copies;

    /// A group with `copies` copies since epoch `since`.
    fn group(copies: u8, since: u64) -> Group {
        let mut spec = table_spec("t", 60);
        spec.copies = copies;
        Group {
            id: GroupId(1),
            name: "a".into(),
            generation: Generation(1),
            copies_since: Epoch(since),
            spec,
        }
    }

    /// An owner since epoch 5, of a partition with copies since epoch 8.
    fn standing(role: ViewRole) -> Standing {
        Standing {
            route: Route {
                partition: Partition(7),
                owner: None,
                standby: None,
                tenure: Tenure(5),
                inherits: None,
                since: Epoch(5),
            },
            copies: Copies {
                since: Epoch(8),
                are_kept: true,
            },
            role,
        }
    }

    #[test]
    fn a_delete_waits_for_a_change_of_the_owner_and_of_the_copies_of_its_group() {
        let standing = standing(ViewRole::Owner);
        // Copies of the group, the epoch since when, and the epoch that all members must know.
        for (copies, since, expected) in [(2, 0, 8), (2, 7, 8), (1, 0, 5), (1, 7, 7), (1, 3, 5)] {
            let group = group(copies, since);
            let found = acts_by(&standing, Some(&group));
            assert_eq!(found.since, Epoch(expected), "{copies} since {since}");
        }
        assert_eq!(acts_by(&standing, None).since, Epoch(8));
    }

    #[test]
    fn a_drop_is_acknowledged_at_once_by_an_owner_that_acts_alone_by_the_latest_view() {
        let receipts = AfterDrop::WaitForReceipts(ARRIVAL_PATIENCE);
        let arrival = AfterDrop::WaitToAct(ARRIVAL_PATIENCE);
        let isolated = AfterDrop::WaitToAct(ISOLATED_PATIENCE);
        // The duty, whether there are receipts, whether the view is the latest, and what comes then.
        let table = [
            (Duty::Acts, false, true, AfterDrop::Acknowledge),
            (Duty::Acts, true, true, receipts),
            (Duty::Acts, false, false, receipts),
            (Duty::Acts, true, false, receipts),
            (Duty::TakesOver, false, true, arrival),
            (Duty::Arrives, false, true, arrival),
            (Duty::Isolated, false, true, isolated),
            (Duty::Isolated, true, false, isolated),
        ];
        for (duty, has_receipts, is_latest, expected) in table {
            let found = after_drop(duty, has_receipts, is_latest);
            assert_eq!(found, expected, "{duty:?} {has_receipts} {is_latest}");
        }
    }

    #[test]
    fn a_wait_ends_with_an_acknowledgement_only_if_all_have_heard_and_the_conditions_still_hold() {
        let unheard = AfterWait::GiveUp(Unsettled::Unheard);
        let ended = Heard::Ended(End::Broken);
        // What was heard, whether the conditions hold, whether the patience has ended, and what comes then.
        let table = [
            (Heard::Applied, true, false, AfterWait::Acknowledge),
            (Heard::Applied, true, true, AfterWait::Acknowledge),
            (Heard::Applied, false, false, AfterWait::Again),
            (ended, true, false, AfterWait::Again),
            (ended, true, true, unheard),
            (Heard::Waits, true, true, unheard),
        ];
        for (heard, is_done, is_over, expected) in table {
            let found = after_receipts(heard, is_done, is_over);
            assert_eq!(found, expected, "{heard:?} {is_done} {is_over}");
        }
    }

    #[test]
    fn a_wait_to_act_that_does_not_end_in_time_names_its_reason() {
        let table = [
            (Duty::Acts, AfterWait::Again),
            (Duty::TakesOver, AfterWait::GiveUp(Unsettled::Arriving)),
            (Duty::Arrives, AfterWait::GiveUp(Unsettled::Arriving)),
            (Duty::Isolated, AfterWait::GiveUp(Unsettled::Isolated)),
        ];
        for (duty, expected) in table {
            assert_eq!(after_arrival(duty), expected, "{duty:?}");
        }
    }

    #[test]
    fn a_delete_is_done_where_the_member_owns_and_acts_by_now() {
        use ViewRole::{Neither, Owner, Standby};
        let two = group(2, 0);
        // The role, the group, the epoch that is settled, the time, and whether it is done.
        let table = [
            (Owner, Some(&two), 8, 1_999, true),
            (Owner, Some(&two), 7, 1_999, false),
            (Owner, Some(&two), 8, 2_000, false),
            (Owner, None, 8, 1_999, true),
            (Owner, None, 7, 1_999, false),
            (Standby, Some(&two), 8, 1_999, false),
            (Neither, Some(&two), 8, 1_999, false),
        ];
        for (role, group, settled, now, expected) in table {
            let lease = LeaseState {
                until: Millis(2_000),
                settled: Epoch(settled),
            };
            let found = is_done(&standing(role), group, lease, Millis(now));
            assert_eq!(found, expected, "{role:?} {settled} {now}");
        }
    }
}
