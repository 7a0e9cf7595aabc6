//! What somebody asks of a member, and what the member does with it first.

use gcache::cache::{Receipt, Role};
use gcache::ids::{Epoch, NodeId};
use gcache::topology::view::Role as ViewRole;

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
    pub(super) receipts: Vec<Receipt>,
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
            receipts: Vec::new(),
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
        let own = member
            .view
            .role_of(NodeId(call.to), self.partition(call.key));
        let role = match (call.role, own) {
            (Role::Owner | Role::Standby, ViewRole::Owner) => Role::Owner,
            (Role::Standby, ViewRole::Standby) => Role::Standby,
            (Role::LastResort, _) => Role::LastResort,
            _ => {
                self.seen.refused += 1;
                return;
            }
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
