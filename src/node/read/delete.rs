//! Deletes and expiries: this node drops the value at once, and answers "done" once no member can serve it
//! any more.
//!
//! What comes after the drop, and after each wait, is decided in [`crate::ownership::settle`]; here is the
//! waiting and the answering. `node/read` begins a delete, and runs the rest of one that waits in a task.

use bytes::Bytes;
use tokio::time::{Duration, Instant, sleep_until, timeout_at};

use super::parts::{ISOLATED, Judged, Parts};
use crate::cache::{Heard, Receipt, Role};
use crate::hash::KeyHash;
use crate::ids::GroupId;
use crate::node::answers::{self, refusal};
use crate::node::metrics::CallOutcome;
use crate::ownership::settle::{self, AfterDrop, AfterWait, Unsettled};
use crate::rpc::proto::{Call, Op, Status};
use crate::rpc::wire::AnswerItem;
use crate::topology::view::Route;

/// The pause before a delete is tried again because its partition was about to move.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// The reason of an owner when the other member of a move, or the standby with copies, does not answer.
const UNHEARD: &str = "the member that also has the key, or is about to get it, does not answer";

/// The reason of an owner that not all members know yet.
const ARRIVING: &str = "the owner is new, and not all members know it yet";

/// What a delete waits for.
pub(super) enum WaitsFor {
    /// That this node acts as the owner, by this route.
    Arrival(Route),
    /// That the members which also keep the entry drop it.
    Receipts(Vec<Receipt>),
}

/// A delete after its drop.
pub(super) enum TakenBack {
    Answered(AnswerItem),
    /// It waits, and not longer than this.
    Waits(WaitsFor, Duration),
}

impl Parts {
    /// Drops the cached value and closes the flight. Then it answers "done" if no other member may act for
    /// the key and each member that receives the partition's entries has dropped this one too. The order
    /// matters: conditions are checked after the drop, so that what held at the drop still holds at the
    /// answer.
    pub(super) fn take_back(&self, call: &Call, key: &Bytes, judged: &Judged<'_>) -> TakenBack {
        let (group, hash) = (judged.group, judged.hash);
        // No other member may act for the owner when a value must never be served again.
        if judged.role != Role::Owner {
            return TakenBack::Answered(self.not_owner(call, group, judged.epoch));
        }
        let route = settle::acts_by(&judged.standing, Some(group));
        let voided = match call.op() {
            Op::Expire => self.cache.expire(group.id, key, hash, self.clock.now()),
            Op::Get | Op::Delete => self.cache.delete(group.id, key, hash),
        };
        let duty = (self.held.state()).duty(Role::Owner, &route, self.clock.now());
        let is_latest = self.view.borrow().epoch() == judged.epoch;
        match settle::after_drop(duty, !voided.receipts.is_empty(), is_latest) {
            AfterDrop::Acknowledge => {
                self.metrics.count(group, counted(call));
                TakenBack::Answered(answers::done(call.id))
            }
            AfterDrop::WaitForReceipts(patience) => {
                TakenBack::Waits(WaitsFor::Receipts(voided.receipts), patience)
            }
            AfterDrop::WaitToAct(patience) => TakenBack::Waits(WaitsFor::Arrival(route), patience),
        }
    }

    /// Answers that a delete is done once this node acts as the owner, and every member that was sent the
    /// delete has applied it; refuses it if that is not so by `until`. Cancel-safe: what was dropped stays
    /// dropped.
    pub(super) async fn taken_back(
        &self,
        call: &Call,
        key: &Bytes,
        mut waits_for: WaitsFor,
        until: Instant,
    ) -> AnswerItem {
        loop {
            let after = match waits_for {
                WaitsFor::Arrival(route) => {
                    settle::after_arrival(self.held.acts(&route, self.clock, until).await)
                }
                WaitsFor::Receipts(receipts) => {
                    let heard = heard(&receipts, until).await;
                    let is_over = Instant::now() >= until;
                    settle::after_receipts(heard, self.is_done(call, key), is_over)
                }
            };
            match after {
                AfterWait::Acknowledge => {
                    if let Some(group) = self.view().group(GroupId(call.group)) {
                        self.metrics.count(group, counted(call));
                    }
                    return answers::done(call.id);
                }
                AfterWait::GiveUp(reason) => {
                    return refusal(call.id, Status::Isolated, because(reason));
                }
                AfterWait::Again => {}
            }
            let view = self.view();
            let begun = match self.judge(call, key, &view) {
                Ok(judged) => self.take_back(call, key, &judged),
                Err(refusal) => return refusal,
            };
            waits_for = match begun {
                TakenBack::Answered(answer) => return answer,
                TakenBack::Waits(waits_for, _) => waits_for,
            };
            // Every obstacle ends with a commit, so polling is enough.
            sleep_until(until.min(Instant::now() + AGAIN_AFTER)).await;
        }
    }

    /// Whether the conditions of the drop still hold.
    fn is_done(&self, call: &Call, key: &[u8]) -> bool {
        let (view, group) = (self.view(), GroupId(call.group));
        let standing = view.standing(self.me.get(), KeyHash::of(group, key).partition());
        let group = view.group(group).map(|group| &**group);
        settle::is_done(&standing, group, self.held.state(), self.clock.now())
    }
}

/// As what a delete or expiry counts.
fn counted(call: &Call) -> CallOutcome {
    match call.op() {
        Op::Expire => CallOutcome::Expired,
        Op::Get | Op::Delete => CallOutcome::Deleted,
    }
}

fn because(reason: Unsettled) -> &'static str {
    match reason {
        Unsettled::Isolated => ISOLATED,
        Unsettled::Arriving => ARRIVING,
        Unsettled::Unheard => UNHEARD,
    }
}

/// What is known by `until` of the members that were sent a delete: whether all have applied it, or else of the
/// first that has not.
async fn heard(receipts: &[Receipt], until: Instant) -> Heard {
    for receipt in receipts {
        match timeout_at(until, receipt.wait()).await {
            Ok(Heard::Applied) => {}
            Ok(heard) => return heard,
            Err(_) => return Heard::Waits,
        }
    }
    Heard::Applied
}
