//! Explains to operators what this node knows of one key. It is read-only, and off the path of all other
//! calls.
//!
//! The gRPC service calls it. It never loads, changes neither the LRU order nor a counter, and judges by the
//! node's own view, as the read path does.

use std::sync::Arc;

use tokio::sync::watch;

use super::me::Me;
use crate::cache::{Cache, Entry, Kind, Phase, Role, Stamps, Worth};
use crate::clock::Clock;
use crate::hash::{KeyHash, MAX_KEY_BYTES};
use crate::ids::{GroupId, Millis};
use crate::rpc::proto::{
    CachedEntry, EntryKind, EntryPhase, EntryStanding, ExplainReply, ExplainRequest, Part,
};
use crate::topology::view::{Role as ViewRole, View};

/// Explains keys. Cheap to clone.
#[derive(Clone)]
pub(super) struct Explainer {
    me: Me,
    cache: Cache,
    view: watch::Receiver<Arc<View>>,
    clock: Clock,
}

impl Explainer {
    /// An explainer of what `cache` holds, for member `me` by `view`.
    pub(super) fn new(
        me: Me,
        cache: Cache,
        view: watch::Receiver<Arc<View>>,
        clock: Clock,
    ) -> Self {
        Self {
            me,
            cache,
            view,
            clock,
        }
    }

    /// Explains what this node knows of a key. It never blocks for longer than a look-up does.
    ///
    /// # Errors
    /// The bytes are not a valid key: empty or too long.
    pub(super) fn explain(&self, request: &ExplainRequest) -> Result<ExplainReply, String> {
        let key = &request.key[..];
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(format!(
                "a key has 1 to {MAX_KEY_BYTES} bytes, this one has {}",
                key.len()
            ));
        }
        let view = Arc::clone(&self.view.borrow());
        let me = self.me.get();
        let id = GroupId(request.group);
        let hash = KeyHash::of(id, key);
        let standing = view.standing(me, hash.partition());
        let group = view.group(id);
        let entry = group.and_then(|group| {
            let entry = self.cache.peek(id, key, hash)?;
            let stamps = standing.stamps(group);
            Some(describe(&entry, &stamps, standing.role, self.clock.now()))
        });
        Ok(ExplainReply {
            epoch: view.epoch().0,
            node: me.0,
            has_group: group.is_some(),
            part: part(standing.role).into(),
            entry,
        })
    }
}

fn part(own: ViewRole) -> Part {
    match own {
        ViewRole::Owner => Part::Owner,
        ViewRole::Standby => Part::Standby,
        ViewRole::Neither => Part::Neither,
    }
}

/// Describes an entry, without its value.
fn describe(entry: &Entry, stamps: &Stamps, own: ViewRole, now: Millis) -> CachedEntry {
    let (kind, value_bytes) = match entry.kind() {
        Kind::Value => (EntryKind::Value, entry.value().len() as u64),
        Kind::Negative => (EntryKind::Absent, 0),
        Kind::Error(_) => (EntryKind::Error, 0),
    };
    let phase = match entry.phase(now) {
        Phase::Fresh => EntryPhase::Fresh,
        Phase::Stale => EntryPhase::Stale,
        Phase::StaleOnError => EntryPhase::StaleOnError,
        Phase::Dead => EntryPhase::Ended,
    };
    let role = match own {
        ViewRole::Owner => Some(Role::Owner),
        ViewRole::Standby => Some(Role::Standby),
        ViewRole::Neither => None,
    };
    let standing = match entry.worth(stamps, role) {
        Worth::Valid => EntryStanding::Valid,
        Worth::Void => EntryStanding::Void,
        Worth::Unused => EntryStanding::Unused,
    };
    CachedEntry {
        kind: kind.into(),
        error: entry.error().map(|error| error.message).unwrap_or_default(),
        age_ms: entry.age_ms(now),
        ttl_ms: entry.ttl_left_ms(now),
        phase: phase.into(),
        value_bytes,
        tenure: entry.tenure().0,
        generation: entry.generation().0,
        standing: standing.into(),
        is_standby: entry.is_standby(),
        is_copy: entry.is_copy(),
    }
}
