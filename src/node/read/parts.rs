//! What reads and deletes of a node both stand on: its own view, lease, cache and clock, and the first look at a
//! call. `node/read` owns it; `delete` and `node/read` itself call it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cache::{Cache, Role};
use crate::clock::Clock;
use crate::hash::{KeyHash, MAX_KEY_BYTES};
use crate::ids::{Epoch, GroupId};
use crate::node::answers::{self, refusal};
use crate::node::lease::Held;
use crate::node::me::Me;
use crate::node::metrics::{CallOutcome, ReadMetrics};
use crate::ownership::answer::may_answer;
use crate::rpc::proto::{self, Call, Status};
use crate::rpc::wire::AnswerItem;
use crate::topology::model::group::Group;
use crate::topology::view::{Standing, View};

/// The reason of a node without a lease.
pub(super) const ISOLATED: &str =
    "the owner is cut off from the members that decide which member owns what";

/// What a node judges a call by.
pub(super) struct Parts {
    pub(super) me: Me,
    pub(super) held: Held,
    pub(super) cache: Cache,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) clock: Clock,
    pub(super) metrics: ReadMetrics,
    /// The longest time a call may take, even if its caller allows more.
    pub(super) max_deadline: Duration,
}

/// A call that this node may answer, by one view.
pub(super) struct Judged<'a> {
    pub(super) group: &'a Group,
    pub(super) hash: KeyHash,
    pub(super) standing: Standing,
    pub(super) role: Role,
    pub(super) epoch: Epoch,
}

impl Parts {
    /// The current view.
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// When the caller stops waiting.
    pub(super) fn until(&self, call: &Call) -> Instant {
        let own = self.max_deadline;
        let asked = match call.deadline_ms {
            0 => own,
            ms => Duration::from_millis(ms.into()).min(own),
        };
        Instant::now() + asked
    }

    /// Looks whether this node may answer a call, by `view`, and in which role.
    ///
    /// # Errors
    /// The refusal, which is counted.
    #[inline]
    pub(super) fn judge<'a>(
        &self,
        call: &Call,
        key: &Bytes,
        view: &'a View,
    ) -> Result<Judged<'a>, AnswerItem> {
        let Some(group) = view.group(GroupId(call.group)) else {
            return Err(refusal(call.id, Status::NoSuchGroup, "no such group"));
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(self.refuse(call, group, Status::BadKey, "a key has 1 to 512 bytes"));
        }
        let hash = KeyHash::of(group.id, key);
        let standing = view.standing(self.me.get(), hash.partition());
        let epoch = view.epoch();
        let Some(role) = may_answer(asked(call.role()), standing.role) else {
            return Err(self.not_owner(call, group, epoch));
        };
        Ok(Judged {
            group,
            hash,
            standing,
            role,
            epoch,
        })
    }

    /// Refuses a call of a known group, and counts it.
    pub(super) fn refuse(
        &self,
        call: &Call,
        group: &Group,
        status: Status,
        message: &str,
    ) -> AnswerItem {
        self.metrics.count(group, CallOutcome::Refused);
        refusal(call.id, status, message)
    }

    /// Answers that this node does not answer for the key, by its view of `epoch`, and counts it.
    pub(super) fn not_owner(&self, call: &Call, group: &Group, epoch: Epoch) -> AnswerItem {
        self.metrics.count(group, CallOutcome::NotOwner);
        answers::not_owner(call.id, epoch)
    }
}

/// As what a call asks this node.
fn asked(role: proto::Role) -> Role {
    match role {
        proto::Role::Owner => Role::Owner,
        proto::Role::Standby => Role::Standby,
        proto::Role::LastResort => Role::LastResort,
    }
}
