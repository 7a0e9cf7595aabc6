//! What somebody asks of a member, and what the member does with it first.

use gcache::cache::{Receipt, Role};
use gcache::ids::Epoch;
use gcache::ownership::answer::may_answer;
use gcache::topology::view::Route;

use super::world::{Happening, World};
use crate::queue::{MILLISECOND, Micros};

/// How long a call with a newer epoch waits for it.
const EPOCH_WAIT: Micros = 200 * MILLISECOND;

/// Between two looks at what a call waits for.
pub(super) const LOOK_EVERY: Micros = 5 * MILLISECOND;

/// What somebody asks of a member.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) key: usize,
    /// What is true from before a delete was sent; none for a read.
    pub(super) version: Option<u64>,
    pub(super) began: Micros,
    pub(super) to: u64,
    pub(super) role: Role,
    pub(super) epoch: Epoch,
    tries: u32,
    /// What a delete waits for, once it does.
    pub(super) waits_for: Option<WaitsFor>,
    /// Until when it waits, from its first wait on.
    pub(super) until: Option<Micros>,
}

/// What a delete waits for.
#[derive(Clone, Debug)]
pub(super) enum WaitsFor {
    /// That the member acts by this route.
    Arrival(Route),
    /// That those that were sent the delete have applied it.
    Receipts(Vec<Receipt>),
}

impl Call {
    pub(super) fn read(number: u64, key: usize, began: Micros) -> Self {
        Self {
            number,
            key,
            version: None,
            began,
            to: 0,
            role: Role::Owner,
            epoch: Epoch(0),
            tries: 0,
            waits_for: None,
            until: None,
        }
    }

    pub(super) fn delete(number: u64, key: usize, version: u64, began: Micros) -> Self {
        Self {
            version: Some(version),
            ..Self::read(number, key, began)
        }
    }

    pub(super) fn is_delete(&self) -> bool {
        self.version.is_some()
    }
}

impl World {
    /// A call is there; or once more, if what it needs was not.
    pub(super) fn arrive(&mut self, mut call: Call) {
        let now = self.now();
        let member = &self.members[&call.to];
        if member.paused_until > now {
            let after = member.paused_until - now;
            return self.queue.push(after, Happening::Arrive(call));
        }
        if call.epoch > member.view.epoch() {
            if u64::from(call.tries) * LOOK_EVERY < EPOCH_WAIT {
                call.tries += 1;
                self.queue.push(LOOK_EVERY, Happening::Arrive(call));
            }
            return;
        }
        let own = member.standing(self.partition(call.key)).role;
        let Some(role) = may_answer(call.role, own) else {
            self.seen.refused += 1;
            return;
        };
        if call.is_delete() {
            return match role {
                Role::Owner => self.take_back(call),
                _ => self.seen.refused += 1,
            };
        }
        self.read(call, role);
    }
}
