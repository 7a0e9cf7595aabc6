//! The read path of a node: turns a call into an answer, at once from the cache or after a load.
//!
//! A node answers for its own keys only and never forwards. Its own view decides in which role it may answer,
//! never the caller's.

// Deletes and expiries, the other half of `ReadPath`. The two halves know each other: `judge` begins a
// delete, and a delete that has waited is judged again.
mod delete;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use self::delete::acts_by;
use super::answers::{self, Provenance, refusal};
use super::lease::{Duty, Held};
use super::loader::Loader;
use super::me::Me;
use super::metrics::{CallOutcome, ReadMetrics};
use crate::cache::{
    Cache, Entry, Found, Kind, Lead, LoadOutcome, Phase, Receipt, Refused, Request, Role, Stamps,
    Wait,
};
use crate::clock::Clock;
use crate::hash::{KeyHash, MAX_KEY_BYTES};
use crate::ids::as_millis;
use crate::ids::{Epoch, GroupId};
use crate::overload::queues::Class;
use crate::rpc::proto::{self, Call, Detail, Op, Status, Via};
use crate::rpc::wire::AnswerItem;
use crate::topology::model::group::{Group, OnIsolated};
use crate::topology::view::{Role as ViewRole, Route, View};

/// The bounds of the read path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// How long a call with a newer epoch waits until this node has applied that epoch.
    pub(super) epoch_wait: Duration,
    /// The longest time a call may take, even if its caller allows more.
    pub(super) max_deadline: Duration,
    /// The largest value that can be sent.
    pub(super) max_value_bytes: usize,
}

/// Everything a call needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct ReadPath {
    shared: Arc<Shared>,
}

struct Shared {
    me: Me,
    held: Held,
    cache: Cache,
    loader: Loader,
    view: watch::Receiver<Arc<View>>,
    clock: Clock,
    settings: Settings,
    metrics: ReadMetrics,
}

/// An answer, or the rest of the work for it.
pub(super) enum Begun {
    /// Answered without waiting.
    Now(AnswerItem),
    /// The answer takes a wait, in a task of its own.
    Later(Later),
}

/// A call that waits for one of [`WaitsFor`].
pub(super) struct Later {
    path: ReadPath,
    call: Call,
    key: Bytes,
    until: Instant,
    waits_for: WaitsFor,
}

/// What a call waits for.
enum WaitsFor {
    /// A view of at least the call's epoch.
    Epoch,
    /// That this node acts as the owner, by this route.
    Arrival(Route),
    /// That the members which also keep the entry drop it.
    Receipts(Vec<Receipt>, CallOutcome),
    Load(Load),
}

/// A load that a call waits for.
struct Load {
    wait: Wait,
    fallback: Option<Entry>,
    leads: bool,
    detail: Detail,
}

impl ReadPath {
    /// A read path for member `me`.
    #[must_use]
    pub(super) fn new(
        (me, held): (Me, Held),
        cache: Cache,
        loader: Loader,
        view: watch::Receiver<Arc<View>>,
        clock: Clock,
        settings: Settings,
        metrics: ReadMetrics,
    ) -> Self {
        let shared = Shared {
            me,
            held,
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

    /// The current view, by which calls are judged.
    #[must_use]
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.shared.view.borrow())
    }

    /// Refuses a call that exceeds the bound `limit` of its pipeline, and counts it.
    pub(super) fn limited(
        &self,
        (id, group): (u64, GroupId),
        view: &View,
        limit: &'static str,
        why: &str,
    ) -> AnswerItem {
        if let Some(group) = view.group(group) {
            self.shared.metrics.limited(group, limit);
        }
        refusal(id, Status::Overloaded, why)
    }

    /// Begins a call. Never blocks: hits, refusals, and deletes that wait for nothing are answered here.
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
            self.shared.metrics.count(group, CallOutcome::NotOwner);
            return Begun::Now(answers::not_owner(call.id, view.epoch()));
        };
        let now = self.shared.clock.now();
        let duty = match role {
            Role::Owner => self.shared.held.duty(&row, now),
            Role::Standby | Role::LastResort if self.shared.held.is_valid(now) => Duty::Acts,
            Role::Standby | Role::LastResort => Duty::Isolated,
        };
        let request = Request {
            group: group.id,
            key: &key,
            hash,
            role,
            stamps: Stamps {
                tenure: row.tenure,
                inherits: row.inherits,
                copies: view.copies_of(row.partition).stamp(),
                generation: group.generation,
            },
            now,
        };
        match call.op() {
            Op::Get => self.get_as(duty, &call, &key, group, &request),
            // No other member may act for the owner when a value must never be served again.
            _ if role != Role::Owner => {
                self.shared.metrics.count(group, CallOutcome::NotOwner);
                Begun::Now(answers::not_owner(call.id, view.epoch()))
            }
            Op::Delete | Op::Expire => {
                let row = acts_by(view, Some(group), row);
                self.invalidate(call, &key, group, &request, (&row, view.epoch()))
            }
        }
    }

    /// Looks a key up as far as the node's duty allows.
    fn get_as(
        &self,
        duty: Duty,
        call: &Call,
        key: &Bytes,
        group: &Group,
        request: &Request<'_>,
    ) -> Begun {
        let last_resort = Request {
            role: Role::LastResort,
            ..*request
        };
        match (duty, group.spec.on_isolated) {
            (Duty::Acts | Duty::TakesOver, _) => self.get(call, key, group, request, Detail::None),
            // Another member may still act as the owner, and delete what this node would go on serving.
            (Duty::Arrives, _) => {
                let request = Request {
                    role: Role::Standby,
                    ..*request
                };
                self.get(call, key, group, &request, Detail::Standby)
            }
            (Duty::Isolated, OnIsolated::Refuse) => {
                self.refuse(call, Some(group), Status::Isolated, ISOLATED)
            }
            (Duty::Isolated, OnIsolated::Origin) => {
                self.get(call, key, group, &last_resort, Detail::Isolated)
            }
            (Duty::Isolated, OnIsolated::Serve) => match self.shared.cache.get(request) {
                Some(entry) => {
                    self.shared
                        .metrics
                        .count(group, CallOutcome::of_fresh(entry.kind()));
                    let provenance = Provenance::of(Via::Hit, Detail::Isolated);
                    Begun::Now(self.serve(call, entry, provenance))
                }
                None => self.get(call, key, group, &last_resort, Detail::Isolated),
            },
        }
    }

    fn get(
        &self,
        call: &Call,
        key: &Bytes,
        group: &Group,
        request: &Request<'_>,
        detail: Detail,
    ) -> Begun {
        let (wait, fallback, leads) = match self.shared.cache.get_or_join(request) {
            Found::Fresh(entry) => {
                self.shared
                    .metrics
                    .count(group, CallOutcome::of_fresh(entry.kind()));
                return Begun::Now(self.serve(call, entry, Provenance::of(Via::Hit, detail)));
            }
            Found::Stale { entry, refresh } => {
                if let Some(lead) = refresh {
                    self.submit(lead, Class::Refresh, call);
                }
                let via = match entry.phase(request.now) {
                    Phase::StaleOnError => Via::StaleIfError,
                    Phase::Fresh | Phase::Stale | Phase::Dead => Via::Stale,
                };
                self.shared.metrics.count(group, CallOutcome::of_stale(via));
                return Begun::Now(self.serve(call, entry, Provenance::of(via, detail)));
            }
            Found::Refused { reason, fallback } => {
                self.shared.metrics.limited(group, limit_of(reason));
                if let Some(entry) = fallback.filter(|entry| entry.serves_on_error(request.now)) {
                    self.shared.metrics.count(group, CallOutcome::StaleIfError);
                    let provenance = Provenance::of(Via::StaleIfError, detail);
                    return Begun::Now(self.serve(call, entry, provenance));
                }
                return self.refuse(call, Some(group), Status::Overloaded, &reason.to_string());
            }
            Found::Lead {
                lead,
                wait,
                fallback,
            } => {
                self.shared.metrics.count(group, CallOutcome::Miss);
                self.submit(lead, Class::Miss, call);
                (wait, fallback, true)
            }
            Found::Wait { wait, fallback } => {
                self.shared.metrics.count(group, CallOutcome::Collapsed);
                (wait, fallback, false)
            }
        };
        let load = WaitsFor::Load(Load {
            wait,
            fallback,
            leads,
            detail,
        });
        Begun::Later(self.later(*call, key.clone(), self.until(call), load))
    }

    fn submit(&self, lead: Lead, class: Class, call: &Call) {
        let left = self.until(call).saturating_duration_since(Instant::now());
        let until = self.shared.clock.now().plus(as_millis(left));
        self.shared.loader.submit(lead, class, until);
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
            self.shared.metrics.count(group, CallOutcome::Refused);
        }
        Begun::Now(refusal(call.id, status, message))
    }

    fn serve(&self, call: &Call, entry: Entry, provenance: Provenance) -> AnswerItem {
        if entry.value().len() > self.shared.settings.max_value_bytes {
            let message = format!(
                "the value has {} bytes; pipeline.max_message lets {} through",
                entry.value().len(),
                self.shared.settings.max_value_bytes
            );
            return refusal(call.id, Status::TooLarge, &message);
        }
        answers::of_entry(call.id, entry, provenance, self.shared.clock.now())
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
            WaitsFor::Load(load) => path.loaded(&call, load, until).await,
            WaitsFor::Arrival(_) | WaitsFor::Receipts(..) => {
                path.waited(call, key, waits_for, until).await
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
                    // Not for an epoch again: the view is new enough.
                    Begun::Later(later) => Box::pin(later.answer()).await,
                }
            }
        }
    }
}

impl ReadPath {
    async fn loaded(&self, call: &Call, load: Load, until: Instant) -> AnswerItem {
        let Load {
            wait,
            fallback,
            leads,
            detail,
        } = load;
        let outcome: Option<LoadOutcome> = timeout_at(until, wait.outcome()).await.ok();
        let now = self.shared.clock.now();
        let collapsed = !leads;
        let via = if fallback.is_some() {
            Via::Expired
        } else {
            Via::Miss
        };
        let provenance = |via, stored| Provenance {
            via,
            stored,
            collapsed,
            detail,
        };
        let failed = outcome
            .as_ref()
            .is_none_or(|outcome| matches!(outcome.entry.kind(), Kind::Error(_)));
        if failed && let Some(entry) = fallback.filter(|entry| entry.serves_on_error(now)) {
            return self.serve(call, entry, provenance(Via::StaleIfError, false));
        }
        match outcome {
            Some(LoadOutcome {
                entry,
                stored,
                peeked,
            }) => {
                let provenance = provenance(via, stored);
                let detail = match provenance.detail {
                    Detail::None if peeked => Detail::Peek,
                    detail => detail,
                };
                self.serve(
                    call,
                    entry,
                    Provenance {
                        detail,
                        ..provenance
                    },
                )
            }
            None => refusal(
                call.id,
                Status::Deadline,
                "the load did not end within the deadline",
            ),
        }
    }
}

/// The setting whose bound refused a caller, as the metric's label has it.
fn limit_of(reason: Refused) -> &'static str {
    match reason {
        Refused::PerKey => "max_waiters_per_key",
        Refused::PerGroup => "max_waiters_per_group",
        Refused::InAll => "max_waiters",
    }
}

/// The reason of a node without a lease.
const ISOLATED: &str = "the owner is cut off from the members that decide which member owns what";

/// The role in which a node answers a call for `asked` when its own view says `own`; none if it may not
/// answer.
fn may_answer(asked: proto::Role, own: ViewRole) -> Option<Role> {
    match (asked, own) {
        // A caller that believes the owner unreachable asks it as a standby: it answers as the owner.
        (proto::Role::Owner | proto::Role::Standby, ViewRole::Owner) => Some(Role::Owner),
        (proto::Role::Standby, ViewRole::Standby) => Some(Role::Standby),
        (proto::Role::LastResort, _) => Some(Role::LastResort),
        (proto::Role::Owner, ViewRole::Standby | ViewRole::Neither)
        | (proto::Role::Standby, ViewRole::Neither) => None,
    }
}
