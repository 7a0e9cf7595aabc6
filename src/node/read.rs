//! The read path of a node: a call becomes an answer, at once from the cache or after a load.
//!
//! It answers for its own keys only and never forwards. In which role it may answer is decided by its
//! own view, never by what the caller believes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Me;
use super::answers::{self, refusal};
use super::loader::Loader;
use super::metrics::{Outcome as Counted, ReadMetrics};
use crate::cache::{Cache, Entry, Found, Kind, Lead, Outcome, Phase, Request, Role, Stamps, Wait};
use crate::clock::{Clock, as_millis};
use crate::hash::{KeyHash, MAX_KEY_BYTES};
use crate::ids::{Epoch, GroupId};
use crate::rpc::proto::{self, Call, Op, Status, Via};
use crate::rpc::wire::AnswerItem;
use crate::topology::group::Group;
use crate::topology::view::{Role as ViewRole, View};

/// The bounds of the read path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// How long a call with a newer epoch waits for this node to have it.
    pub(super) epoch_wait: Duration,
    /// The longest a call may take, whatever its caller allows.
    pub(super) max_deadline: Duration,
    /// Values larger than this cannot be sent.
    pub(super) max_value_bytes: usize,
}

/// Everything a call needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct ReadPath {
    shared: Arc<Shared>,
}

struct Shared {
    me: Me,
    cache: Cache,
    loader: Loader,
    view: watch::Receiver<Arc<View>>,
    clock: Clock,
    settings: Settings,
    metrics: ReadMetrics,
}

/// An answer, or what is left to do for it.
pub(super) enum Begun {
    /// Answered without waiting.
    Now(AnswerItem),
    /// To be awaited in a task of its own.
    Later(Later),
}

/// A call that waits: for a load, or for a newer view.
pub(super) struct Later {
    path: ReadPath,
    call: Call,
    key: Bytes,
    until: Instant,
    waits_for: WaitsFor,
}

enum WaitsFor {
    Epoch,
    Load {
        wait: Wait,
        fallback: Option<Entry>,
        leads: bool,
    },
}

impl ReadPath {
    /// A read path for member `me`.
    #[must_use]
    pub(super) fn new(
        me: Me,
        cache: Cache,
        loader: Loader,
        view: watch::Receiver<Arc<View>>,
        clock: Clock,
        settings: Settings,
        metrics: ReadMetrics,
    ) -> Self {
        let shared = Shared {
            me,
            cache,
            loader,
            view,
            clock,
            settings,
            metrics,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The view that calls are judged by now.
    #[must_use]
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.shared.view.borrow())
    }

    /// Begins a call. Never blocks: hits, refusals and deletes are answered here.
    #[must_use]
    pub(super) fn begin(&self, call: Call, key: Bytes, view: &View) -> Begun {
        if call.epoch > view.epoch().0 {
            let until = self.until(&call);
            return Begun::Later(self.later(call, key, until, WaitsFor::Epoch));
        }
        self.judge(call, key, view)
    }

    fn judge(&self, call: Call, key: Bytes, view: &View) -> Begun {
        let Some(group) = view.group(GroupId(call.group)) else {
            return self.refuse(&call, None, Status::NoSuchGroup, "no such group");
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let reason = "a key has 1 to 512 bytes";
            return self.refuse(&call, Some(group), Status::BadKey, reason);
        }
        let hash = KeyHash::of(group.id, &key);
        let row = view.route(hash);
        let own = view.role_of(self.shared.me.get(), hash.partition());
        let Some(role) = may_answer(call.role(), own) else {
            self.shared.metrics.count(group, Counted::NotOwner);
            return Begun::Now(answers::not_owner(call.id, view.epoch()));
        };
        let request = Request {
            group: group.id,
            key: &key,
            hash,
            role,
            stamps: Stamps {
                tenure: row.tenure,
                inherits: row.inherits,
                generation: group.generation,
            },
            now: self.shared.clock.now(),
        };
        match call.op() {
            Op::Get => self.get(&call, &key, group, &request),
            // Nothing may stand in for the owner when a value must never be served again.
            _ if role != Role::Owner => {
                self.shared.metrics.count(group, Counted::NotOwner);
                Begun::Now(answers::not_owner(call.id, view.epoch()))
            }
            Op::Delete => {
                self.shared.cache.delete(group.id, &key, hash);
                self.shared.metrics.count(group, Counted::Deleted);
                Begun::Now(answers::done(call.id))
            }
            Op::Expire => {
                self.shared.cache.expire(group.id, &key, hash, request.now);
                self.shared.metrics.count(group, Counted::Expired);
                Begun::Now(answers::done(call.id))
            }
        }
    }

    fn get(&self, call: &Call, key: &Bytes, group: &Group, request: &Request<'_>) -> Begun {
        let (wait, fallback, leads) = match self.shared.cache.get_or_join(request) {
            Found::Fresh(entry) => {
                let counted = match entry.kind() {
                    Kind::Value => Counted::Hit,
                    Kind::Negative => Counted::NegativeHit,
                    Kind::Error(_) => Counted::ErrorHit,
                };
                self.shared.metrics.count(group, counted);
                return Begun::Now(self.serve(call, entry, Via::Hit, false, false));
            }
            Found::Stale { entry, refresh } => {
                if let Some(lead) = refresh {
                    self.submit(lead, call);
                }
                let via = match entry.phase(request.now) {
                    Phase::StaleOnError => Via::StaleIfError,
                    Phase::Fresh | Phase::Stale | Phase::Dead => Via::Stale,
                };
                self.shared.metrics.count(group, Counted::of_stale(via));
                return Begun::Now(self.serve(call, entry, via, false, false));
            }
            Found::Refused { reason, fallback } => {
                if let Some(entry) = fallback.filter(|entry| entry.serves_on_error(request.now)) {
                    self.shared.metrics.count(group, Counted::StaleIfError);
                    return Begun::Now(self.serve(call, entry, Via::StaleIfError, false, false));
                }
                return self.refuse(call, Some(group), Status::Overloaded, &reason.to_string());
            }
            Found::Lead {
                lead,
                wait,
                fallback,
            } => {
                self.shared.metrics.count(group, Counted::Miss);
                self.submit(lead, call);
                (wait, fallback, true)
            }
            Found::Wait { wait, fallback } => {
                self.shared.metrics.count(group, Counted::Collapsed);
                (wait, fallback, false)
            }
        };
        let waits_for = WaitsFor::Load {
            wait,
            fallback,
            leads,
        };
        Begun::Later(self.later(*call, key.clone(), self.until(call), waits_for))
    }

    fn submit(&self, lead: Lead, call: &Call) {
        let left = self.until(call).saturating_duration_since(Instant::now());
        let until = self.shared.clock.now().plus(as_millis(left));
        self.shared.loader.submit(lead, until);
    }

    fn later(&self, call: Call, key: Bytes, until: Instant, waits_for: WaitsFor) -> Later {
        Later {
            path: self.clone(),
            call,
            key,
            until,
            waits_for,
        }
    }

    /// When the caller stops waiting.
    fn until(&self, call: &Call) -> Instant {
        let own = self.shared.settings.max_deadline;
        let asked = match call.deadline_ms {
            0 => own,
            ms => Duration::from_millis(ms.into()).min(own),
        };
        Instant::now() + asked
    }

    fn refuse(&self, call: &Call, group: Option<&Group>, status: Status, message: &str) -> Begun {
        if let Some(group) = group {
            self.shared.metrics.count(group, Counted::Refused);
        }
        Begun::Now(refusal(call.id, status, message))
    }

    fn serve(
        &self,
        call: &Call,
        entry: Entry,
        via: Via,
        stored: bool,
        collapsed: bool,
    ) -> AnswerItem {
        if entry.value().len() > self.shared.settings.max_value_bytes {
            let message = format!(
                "the value has {} bytes; pipeline.max_message lets {} through",
                entry.value().len(),
                self.shared.settings.max_value_bytes
            );
            return refusal(call.id, Status::TooLarge, &message);
        }
        answers::of_entry(
            call.id,
            entry,
            via,
            stored,
            collapsed,
            self.shared.clock.now(),
        )
    }
}

impl Later {
    /// Waits for the answer, no longer than the call's deadline. Cancel-safe.
    pub(super) async fn answer(self) -> AnswerItem {
        let Self {
            path,
            call,
            key,
            until,
            waits_for,
        } = self;
        match waits_for {
            WaitsFor::Load {
                wait,
                fallback,
                leads,
            } => {
                let ended = timeout_at(until, wait.outcome()).await;
                path.loaded(&call, ended.ok(), fallback, leads)
            }
            WaitsFor::Epoch => {
                let patience = Instant::now() + path.shared.settings.epoch_wait;
                let mut views = path.shared.view.clone();
                let newer = views.wait_for(|view| view.epoch() >= Epoch(call.epoch));
                let view = match timeout_at(until.min(patience), newer).await {
                    Ok(Ok(view)) => Arc::clone(&view),
                    Ok(Err(_)) | Err(_) => return answers::not_owner(call.id, path.view().epoch()),
                };
                match path.judge(call, key, &view) {
                    Begun::Now(answer) => answer,
                    // A load, this time: the view is new enough.
                    Begun::Later(later) => Box::pin(later.answer()).await,
                }
            }
        }
    }
}

impl ReadPath {
    fn loaded(
        &self,
        call: &Call,
        outcome: Option<Outcome>,
        fallback: Option<Entry>,
        leads: bool,
    ) -> AnswerItem {
        let now = self.shared.clock.now();
        let collapsed = !leads;
        let via = if fallback.is_some() {
            Via::Expired
        } else {
            Via::Miss
        };
        let failed = outcome
            .as_ref()
            .is_none_or(|outcome| matches!(outcome.entry.kind(), Kind::Error(_)));
        if failed && let Some(entry) = fallback.filter(|entry| entry.serves_on_error(now)) {
            return self.serve(call, entry, Via::StaleIfError, false, collapsed);
        }
        match outcome {
            Some(Outcome { entry, stored }) => self.serve(call, entry, via, stored, collapsed),
            None => refusal(
                call.id,
                Status::Deadline,
                "the load did not end within the deadline",
            ),
        }
    }
}

/// In which role a node whose own view says `own` answers a call for `asked`; none if in no role.
fn may_answer(asked: proto::Role, own: ViewRole) -> Option<Role> {
    match (asked, own) {
        // An owner that is believed unreachable answers as what it is.
        (proto::Role::Owner | proto::Role::Standby, ViewRole::Owner) => Some(Role::Owner),
        (proto::Role::Standby, ViewRole::Standby) => Some(Role::Standby),
        (proto::Role::LastResort, _) => Some(Role::LastResort),
        (proto::Role::Owner, ViewRole::Standby | ViewRole::Neither)
        | (proto::Role::Standby, ViewRole::Neither) => None,
    }
}
