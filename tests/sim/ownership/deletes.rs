//! The deletes of a node: what is dropped at once, and acknowledged when all have heard of it.

use gcache::cache::{Heard, Receipt};
use gcache::ids::NodeId;
use gcache::topology::view::Route;

use super::call::{Call, LOOK_EVERY};
use super::member::{Duty, Member};
use super::slips::Slip;
use super::world::{Happening, World, key_of};
use crate::queue::{MILLISECOND, Micros};

/// Before a delete is tried again.
const AGAIN_AFTER: Micros = 20 * MILLISECOND;

/// How long a delete waits.
const DELETE_PATIENCE: Micros = 4_000 * MILLISECOND;

impl World {
    /// A delete: dropped at once, and acknowledged when it may be.
    pub(super) fn take_back(&mut self, mut call: Call) {
        let now = self.now();
        let hash = self.hash(call.key);
        let member = &self.members[&call.to];
        let route = self.acts_by(member, member.view.route(hash));
        let voided = member.cache.delete(self.group(), &key_of(call.key), hash);
        let duty = member.duty(&route, now);
        self.seen.forwarded += voided.receipts.len() as u64;
        self.tell(|| format!("{}: key {} goes, {duty:?} {voided:?}", call.to, call.key));
        let may_say = match duty {
            Duty::Acts => true,
            Duty::TakesOver => self.slip == Some(Slip::ActsAtOnce),
            Duty::Arrives | Duty::Isolated => false,
        };
        let is_alone = self.slip == Some(Slip::AcknowledgedAlone) || voided.receipts.is_empty();
        if may_say && is_alone {
            return self.acknowledge(&call);
        }
        call.receipts = if may_say { voided.receipts } else { Vec::new() };
        let start = self.members[&call.to].start;
        self.queue
            .push(LOOK_EVERY, Happening::Told(call.to, start, call));
    }

    /// The route of a delete: nobody else may believe to have copies.
    fn acts_by(&self, member: &Member, route: Route) -> Route {
        let copied = member.view.copies_of(route.partition).since;
        let since = match self.slip {
            Some(Slip::DroppedUnsettled) => route.since,
            _ => route.since.max(copied),
        };
        Route { since, ..route }
    }

    fn acknowledge(&mut self, call: &Call) {
        self.seen.acknowledged += 1;
        let version = call.version.expect("it is a delete");
        self.tell(|| format!("{}: key {} is {version} from now on", call.to, call.key));
        self.oracle.acknowledged(call.key, version, self.now());
    }

    /// Whether a delete may be acknowledged by now.
    pub(super) fn told(&mut self, id: u64, start: u64, call: Call) {
        let now = self.now();
        let member = &self.members[&id];
        if member.start != start || now > call.began + DELETE_PATIENCE {
            self.seen.refused += 1;
            return;
        }
        if member.paused_until > now {
            let after = member.paused_until - now;
            return self.queue.push(after, Happening::Told(id, start, call));
        }
        let heard = call.receipts.iter().map(Receipt::heard);
        let waits = heard.clone().any(|heard| heard == Heard::Waits);
        if waits {
            return self
                .queue
                .push(LOOK_EVERY, Happening::Told(id, start, call));
        }
        let all_have =
            !call.receipts.is_empty() && heard.clone().all(|heard| heard == Heard::Applied);
        let route = self.acts_by(member, member.view.route(self.hash(call.key)));
        let owns = member.view.is_owner(NodeId(id), route.partition);
        if all_have && owns && member.duty(&route, now) == Duty::Acts {
            return self.acknowledge(&call);
        }
        // From the beginning: it may be another's by now.
        self.queue.push(AGAIN_AFTER, Happening::Arrive(call));
    }
}
