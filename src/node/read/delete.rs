//! Deletes and expiries: dropped here at once, and said to be done once nobody can serve the value any more.
//!
//! Only an owner that acts says so, and only after everybody who is told of its partition has done the same:
//! [`crate::topology::lease`] and `cache::feed` are why that is enough.

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

/// How long a delete waits for this node to be known as the owner: a change of owners is settled within
/// a second, and 3 s after a leader was lost.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(4);

/// How long a delete waits for a lease: longer than an election of others that goes well.
const ISOLATED_PATIENCE: Duration = Duration::from_secs(1);

/// Before a delete is tried again whose partition was about to move.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Why an owner refuses whose partition moves, or has copies.
const UNHEARD: &str = "the member that has the key too, or is about to, does not answer";

/// Why a new owner refuses.
const ARRIVING: &str = "the owner is new, and not all others know it yet";

impl ReadPath {
    /// Drops what is cached and closes the flight, and then says so if nobody else may act for the key and
    /// whoever is to have it has done the same: in this order, so that what was true when it was dropped is
    /// true when it is said.
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
            // By a view that is not the latest it may have been dropped after whom it moved to was told.
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
            // It may have started a moment ago, or have lost its leader.
            Duty::Isolated => ISOLATED_PATIENCE,
        };
        let until = self.until(&call).min(Instant::now() + patience);
        Begun::Later(self.later(call, key.clone(), until, WaitsFor::Arrival(*route)))
    }

    /// Says that a delete is done once this node is known as the owner, and all who are told of it have done
    /// it too. If one will not hear of it any more, its partition is elsewhere by now, or stays, or the
    /// leader is about to give its move up: then all is asked anew, by a view that may be another.
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
            // Whatever stands in the way ends with a commit.
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

    /// Whether what was true when a key was dropped is true still, after others were told; counts it then.
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

/// The route of a delete: nobody else may believe to have the partition, as its owner or with copies of the
/// group.
pub(super) fn acts_by(view: &View, group: Option<&Group>, route: Route) -> Route {
    let copied = match group {
        // Others' copies are nothing to it.
        Some(group) if group.spec.copies == 1 => group.copies_since,
        Some(_) | None => view.copies_of(route.partition).since,
    };
    let since = route.since.max(copied);
    Route { since, ..route }
}

/// Whether all have done what they were told; an error if that is not known by `until`.
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

    /// A group of so many copies, since this epoch.
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
    fn a_delete_waits_for_whoever_may_believe_to_have_the_partition_or_copies_of_the_group() {
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
        // Of how many copies, since when, and which epoch all must know.
        for (copies, since, expected) in [(2, 0, 8), (2, 7, 8), (1, 0, 5), (1, 7, 7), (1, 3, 5)] {
            let group = group(copies, since);
            let found = acts_by(&view, Some(&group), route);
            assert_eq!(found.since, Epoch(expected), "{copies} since {since}");
        }
        assert_eq!(acts_by(&view, None, route).since, Epoch(8));
    }
}
