//! The deletes of a node: what is dropped at once, and acknowledged when all have heard of it.

use gcache::cache::{Heard, Receipt, Role};
use gcache::ids::Epoch;
use gcache::ownership::Duty;
use gcache::ownership::settle::{self, AfterDrop, AfterWait};
use gcache::topology::model::group::Group;
use gcache::topology::model::partitions::Copies;
use gcache::topology::view::Standing;

use super::call::{Call, LOOK_EVERY, WaitsFor};
use super::member::Member;
use super::slips::Slip;
use super::world::{Happening, World, key_of};
use crate::queue::{MILLISECOND, Micros};

/// Before a delete is tried again.
const AGAIN_AFTER: Micros = 20 * MILLISECOND;

impl World {
    /// A delete: dropped at once, and acknowledged when it may be.
    pub(super) fn take_back(&mut self, mut call: Call) {
        let now = self.now();
        let member = &self.members[&call.to];
        let (standing, group) = self.settles_by(member, call.key);
        let route = settle::acts_by(&standing, Some(&group));
        let hash = self.hash(call.key);
        let voided = member.cache.delete(self.group(), &key_of(call.key), hash);
        let duty = match (self.slip, member.duty(Role::Owner, &route, now)) {
            (Some(Slip::ActsAtOnce), Duty::TakesOver) => Duty::Acts,
            (_, duty) => duty,
        };
        let has_receipts =
            self.slip != Some(Slip::AcknowledgedAlone) && !voided.receipts.is_empty();
        self.seen.forwarded += voided.receipts.len() as u64;
        self.tell(|| format!("{}: key {} goes, {duty:?} {voided:?}", call.to, call.key));
        // Nothing else happens at the same time, so that the view is the latest.
        let (waits_for, patience) = match settle::after_drop(duty, has_receipts, true) {
            AfterDrop::Acknowledge => return self.acknowledge(&call),
            AfterDrop::WaitForReceipts(patience) => (WaitsFor::Receipts(voided.receipts), patience),
            AfterDrop::WaitToAct(patience) => (WaitsFor::Arrival(route), patience),
        };
        call.waits_for = Some(waits_for);
        call.until
            .get_or_insert(now + patience.as_micros() as Micros);
        let start = self.members[&call.to].start;
        self.queue
            .push(LOOK_EVERY, Happening::Told(call.to, start, call));
    }

    /// What a delete is judged by at this member: its standing and its group, as it takes them to be.
    fn settles_by(&self, member: &Member, key: usize) -> (Standing, Group) {
        let standing = member.standing(self.partition(key));
        let group = member.group().clone();
        match self.slip {
            Some(Slip::DroppedUnsettled) => {
                let since = Epoch(0);
                let copies = Copies {
                    since,
                    ..standing.copies
                };
                let group = Group {
                    copies_since: since,
                    ..group
                };
                (Standing { copies, ..standing }, group)
            }
            _ => (standing, group),
        }
    }

    fn acknowledge(&mut self, call: &Call) {
        self.seen.acknowledged += 1;
        let version = call.version.expect("it is a delete");
        self.tell(|| format!("{}: key {} is {version} from now on", call.to, call.key));
        self.oracle.acknowledged(call.key, version, self.now());
    }

    /// A member looks whether what a delete waits for has come.
    pub(super) fn told(&mut self, id: u64, start: u64, call: Call) {
        let now = self.now();
        let member = &self.members[&id];
        if member.start != start {
            self.seen.refused += 1;
            return;
        }
        if member.paused_until > now {
            let after = member.paused_until - now;
            return self.queue.push(after, Happening::Told(id, start, call));
        }
        let is_over = call.until.is_none_or(|until| now >= until);
        let (goes_on, after) = match call.waits_for.as_ref().expect("it waits") {
            WaitsFor::Arrival(route) => {
                let duty = member.duty(Role::Owner, route, now);
                (duty != Duty::Acts, settle::after_arrival(duty))
            }
            WaitsFor::Receipts(receipts) => {
                let mut heard = receipts.iter().map(Receipt::heard);
                let heard = heard.find(|heard| *heard != Heard::Applied);
                let heard = heard.unwrap_or(Heard::Applied);
                let (standing, group) = self.settles_by(member, call.key);
                let (lease, clock) = (member.lease_state(), member.clock(now));
                let is_done = settle::is_done(&standing, Some(&group), lease, clock);
                let after = settle::after_receipts(heard, is_done, is_over);
                (heard == Heard::Waits, after)
            }
        };
        if goes_on && !is_over {
            return self
                .queue
                .push(LOOK_EVERY, Happening::Told(id, start, call));
        }
        match after {
            AfterWait::Acknowledge => self.acknowledge(&call),
            AfterWait::GiveUp(_) => self.seen.refused += 1,
            // From the beginning: it may be another's by now.
            AfterWait::Again => self.queue.push(AGAIN_AFTER, Happening::Arrive(call)),
        }
    }
}
