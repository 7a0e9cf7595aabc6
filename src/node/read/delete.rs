//! Deletes and expiries: this node drops the value at once, and answers "done" once no member can serve it
//! any more.
//!
//! Only an owner that acts answers so, and only after each member that is sent the partition's changes has
//! applied this one. [`crate::topology::lease`] and `cache::feed` explain why that is enough.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{Begun, ISOLATED, ReadPath, WaitsFor};
use crate::cache::{Heard, Receipt, Request};
use crate::hash::KeyHash;
use crate::ids::{Epoch, GroupId};
use crate::node::answers::{self, refusal};
use crate::node::lease::Duty;
use crate::node::metrics::CallOutcome;
use crate::rpc::proto::{Call, Op, Status};
use crate::rpc::wire::AnswerItem;
use crate::topology::model::group::Group;
use crate::topology::view::{Route, View};

/// How long a delete waits until all members know this node as the owner. A change of owners is settled
/// within a second, or within 3 s when the leader was lost.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(4);

/// How long a delete waits for a lease: longer than a normal election of another leader takes.
const ISOLATED_PATIENCE: Duration = Duration::from_secs(1);

/// The pause before a delete is tried again because its partition was about to move.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// The reason of an owner when the other member of a move, or the standby with copies, does not answer.
const UNHEARD: &str = "the member that also has the key, or is about to get it, does not answer";

/// The reason of an owner that not all members know yet.
const ARRIVING: &str = "the owner is new, and not all members know it yet";

impl ReadPath {
    /// Drops the cached value and closes the flight. Then it answers "done" if no other member may act for
    /// the key and each member that receives the partition's entries has dropped this one too. The order
    /// matters: conditions are checked after the drop, so that what held at the drop still holds at the
    /// answer.
    pub(super) fn invalidate(
        &self,
        call: Call,
        key: &Bytes,
        group: &Group,
        request: &Request<'_>,
        (route, epoch): (&Route, Epoch),
    ) -> Begun {
        let (shared, hash) = (&self.shared, request.hash);
        let (voided, counted) = match call.op() {
            Op::Expire => {
                let voided = shared.cache.expire(group.id, key, hash, request.now);
                (voided, CallOutcome::Expired)
            }
            Op::Get | Op::Delete => {
                let voided = shared.cache.delete(group.id, key, hash);
                (voided, CallOutcome::Deleted)
            }
        };
        let patience = match shared.held.duty(route, shared.clock.now()) {
            // With a view that is not the latest, the drop may have come after the partition was sent to its
            // new owner.
            Duty::Acts if voided.receipts.is_empty() && self.view().epoch() == epoch => {
                shared.metrics.count(group, counted);
                return Begun::Now(answers::done(call.id));
            }
            Duty::Acts => {
                let until = self.until(&call).min(Instant::now() + ARRIVAL_PATIENCE);
                let receipts = WaitsFor::Receipts(voided.receipts, counted);
                return Begun::Later(self.later(call, key.clone(), until, receipts));
            }
            Duty::Arrives | Duty::TakesOver => ARRIVAL_PATIENCE,
            // This node may have started a moment ago, or its cluster may have lost its leader.
            Duty::Isolated => ISOLATED_PATIENCE,
        };
        let until = self.until(&call).min(Instant::now() + patience);
        Begun::Later(self.later(call, key.clone(), until, WaitsFor::Arrival(*route)))
    }

    /// Answers that a delete is done once this node acts as the owner, and every member that was sent the
    /// delete has applied it. If one of them takes no more deletes for the partition, then the partition is
    /// elsewhere by now, or stays, or the leader is about to give its move up: then everything is judged
    /// anew, perhaps by another view. Cancel-safe: what was dropped stays dropped.
    pub(super) async fn waited(
        &self,
        call: Call,
        key: Bytes,
        mut waits_for: WaitsFor,
        until: Instant,
    ) -> AnswerItem {
        loop {
            let why = match waits_for {
                WaitsFor::Arrival(route) => self.acts(&route, until).await.err(),
                WaitsFor::Receipts(receipts, counted) => match heard(&receipts, until).await {
                    Ok(true) if self.is_done(&call, &key, counted) => {
                        return answers::done(call.id);
                    }
                    Ok(_) => None,
                    Err(why) => Some(why),
                },
                WaitsFor::Epoch | WaitsFor::Load(_) => Some(ARRIVING),
            };
            if let Some(why) = why {
                return refusal(call.id, Status::Isolated, why);
            }
            waits_for = match self.judge(call, key.clone(), &self.view()) {
                Begun::Now(answer) => return answer,
                Begun::Later(later) => later.waits_for,
            };
            // Every obstacle ends with a commit, so polling is enough.
            tokio::time::sleep_until(until.min(Instant::now() + AGAIN_AFTER)).await;
        }
    }

    /// Waits until this node acts for what it owns by `route`.
    async fn acts(&self, route: &Route, until: Instant) -> Result<(), &'static str> {
        let shared = &self.shared;
        if shared.held.acts(route, shared.clock, until).await {
            return Ok(());
        }
        Err(match shared.held.is_valid(shared.clock.now()) {
            true => ARRIVING,
            false => ISOLATED,
        })
    }

    /// Whether the conditions of the drop still hold now that the other members have applied it. Counts the
    /// delete if they do.
    fn is_done(&self, call: &Call, key: &[u8], counted: CallOutcome) -> bool {
        let (shared, view) = (&self.shared, self.view());
        let group = GroupId(call.group);
        let spec = view.group(group).map(|group| &**group);
        let route = acts_by(&view, spec, view.route(KeyHash::of(group, key)));
        let is_done = view.is_owner(shared.me.get(), route.partition)
            && shared.held.duty(&route, shared.clock.now()) == Duty::Acts;
        if let Some(group) = view.group(group).filter(|_| is_done) {
            shared.metrics.count(group, counted);
        }
        is_done
    }
}

/// The route by which a delete is judged. Its `since` is the epoch from which on no other member may believe
/// that it owns the partition or has copies of the group's keys.
pub(super) fn acts_by(view: &View, group: Option<&Group>, route: Route) -> Route {
    let copied = match group {
        // This group has no copies: those of other groups do not matter.
        Some(group) if group.spec.copies == 1 => group.copies_since,
        Some(_) | None => view.copies_of(route.partition).since,
    };
    let since = route.since.max(copied);
    Route { since, ..route }
}

/// Whether all members have applied what they were sent; an error if that is not known by `until`.
async fn heard(receipts: &[Receipt], until: Instant) -> Result<bool, &'static str> {
    for receipt in receipts {
        match timeout_at(until, receipt.wait()).await {
            Ok(Heard::Applied) => {}
            Ok(Heard::Waits | Heard::Ended(_)) if Instant::now() < until => return Ok(false),
            Ok(Heard::Waits | Heard::Ended(_)) | Err(_) => return Err(UNHEARD),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Partition};
    use crate::node::tests::{groups, members};
    use crate::topology::model::partitions::{Assignment, Copies, PartitionTable};
    use crate::topology::place;

    /// A group with `copies` copies since epoch `since`.
    fn group(copies: u8, since: u64) -> Group {
        let (_, mut spec) = groups().remove(0);
        spec.copies = copies;
        Group {
            id: GroupId(1),
            name: "a".into(),
            generation: Generation(1),
            copies_since: Epoch(since),
            spec,
        }
    }

    #[test]
    fn a_delete_waits_for_a_change_of_the_owner_and_of_the_copies_of_its_group() {
        let placed = place(&members(2), None, Epoch(5));
        let table = PartitionTable::from_fn(|partition| Assignment {
            copies: Copies {
                since: Epoch(8),
                are_kept: true,
            },
            ..placed[partition]
        });
        let view = View::new("test", Epoch(9), members(2), &table, vec![]).unwrap();
        let route = view.route_of(Partition(7));
        // Copies of the group, the epoch since when, and the epoch that all members must know.
        for (copies, since, expected) in [(2, 0, 8), (2, 7, 8), (1, 0, 5), (1, 7, 7), (1, 3, 5)] {
            let group = group(copies, since);
            let found = acts_by(&view, Some(&group), route);
            assert_eq!(found.since, Epoch(expected), "{copies} since {since}");
        }
        assert_eq!(acts_by(&view, None, route).since, Epoch(8));
    }
}
