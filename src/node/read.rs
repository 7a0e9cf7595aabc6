//! The read path of a node: turns a call into an answer, at once from the cache or after a load.
//!
//! A node answers for its own keys only and never forwards. Its own view decides in which role it may answer,
//! never the caller's.

mod parts;

mod delete;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use self::delete::TakenBack;
use self::parts::{ISOLATED, Judged, Parts};
use super::answers::{self, Provenance, refusal};
use super::lease::Held;
use super::loader::Loader;
use super::me::Me;
use super::metrics::{CallOutcome, ReadMetrics};
use crate::cache::{
    Cache, Entry, Found, Kind, Lead, LoadOutcome, Phase, Refused, Request, Role, Wait,
};
use crate::clock::Clock;
use crate::ids::as_millis;
use crate::ids::{Epoch, GroupId};
use crate::overload::queues::Class;
use crate::ownership::answer::{self, Answer};
use crate::rpc::proto::{Call, Detail, Op, Status, Via};
use crate::rpc::wire::AnswerItem;
use crate::topology::model::group::Group;
use crate::topology::view::View;

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
    parts: Parts,
    loader: Loader,
    settings: Settings,
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
    /// That a delete is done.
    Delete(delete::WaitsFor),
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
        let parts = Parts {
            me,
            held,
            cache,
            view,
            clock,
            metrics,
            max_deadline: settings.max_deadline,
        };
        let shared = Shared {
            parts,
            loader,
            settings,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    fn parts(&self) -> &Parts {
        &self.shared.parts
    }

    /// The current view, by which calls are judged.
    #[must_use]
    pub(super) fn view(&self) -> Arc<View> {
        self.parts().view()
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
            self.parts().metrics.limited(group, limit);
        }
        refusal(id, Status::Overloaded, why)
    }

    /// Begins a call. Never blocks: hits, refusals, and deletes that wait for nothing are answered here.
    #[must_use]
    pub(super) fn begin(&self, call: Call, key: Bytes, view: &View) -> Begun {
        if call.epoch > view.epoch().0 {
            let until = self.parts().until(&call);
            return Begun::Later(self.later(call, key, until, WaitsFor::Epoch));
        }
        self.judge(call, key, view)
    }

    fn judge(&self, call: Call, key: Bytes, view: &View) -> Begun {
        let judged = match self.parts().judge(&call, &key, view) {
            Ok(judged) => judged,
            Err(refusal) => return Begun::Now(refusal),
        };
        match call.op() {
            Op::Get => self.read(&call, &key, &judged),
            Op::Delete | Op::Expire => match self.parts().take_back(&call, &key, &judged) {
                TakenBack::Answered(answer) => Begun::Now(answer),
                TakenBack::Waits(waits_for, patience) => {
                    let until = self.parts().until(&call).min(Instant::now() + patience);
                    Begun::Later(self.later(call, key, until, WaitsFor::Delete(waits_for)))
                }
            },
        }
    }

    /// Looks a key up as far as the node's duty allows.
    fn read(&self, call: &Call, key: &Bytes, judged: &Judged<'_>) -> Begun {
        let (parts, group, role) = (self.parts(), judged.group, judged.role);
        let now = parts.clock.now();
        let duty = parts.held.state().duty(role, &judged.standing.route, now);
        let stamps = judged.standing.stamps(group);
        let request = |role| Request {
            group: group.id,
            key,
            hash: judged.hash,
            role,
            stamps,
            now,
        };
        match answer::answer(duty, role, group.spec.on_isolated) {
            Answer::LookUp(role, detail) => {
                self.get(call, key, group, &request(role), wire(detail))
            }
            Answer::Refusal => Begun::Now(parts.refuse(call, group, Status::Isolated, ISOLATED)),
            Answer::CachedOrLastResort(role) => {
                if let Some(entry) = parts.cache.get(&request(role)) {
                    parts
                        .metrics
                        .count(group, CallOutcome::of_fresh(entry.kind()));
                    let provenance = Provenance::of(Via::Hit, Detail::Isolated);
                    return Begun::Now(self.serve(call, entry, provenance));
                }
                let last_resort = request(Role::LastResort);
                self.get(call, key, group, &last_resort, Detail::Isolated)
            }
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
        let (wait, fallback, leads) = match self.parts().cache.get_or_join(request) {
            Found::Fresh(entry) => {
                self.parts()
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
                self.parts()
                    .metrics
                    .count(group, CallOutcome::of_stale(via));
                return Begun::Now(self.serve(call, entry, Provenance::of(via, detail)));
            }
            Found::Refused { reason, fallback } => {
                self.parts().metrics.limited(group, limit_of(reason));
                if let Some(entry) = fallback.filter(|entry| entry.serves_on_error(request.now)) {
                    self.parts().metrics.count(group, CallOutcome::StaleIfError);
                    let provenance = Provenance::of(Via::StaleIfError, detail);
                    return Begun::Now(self.serve(call, entry, provenance));
                }
                let refusal =
                    self.parts()
                        .refuse(call, group, Status::Overloaded, &reason.to_string());
                return Begun::Now(refusal);
            }
            Found::Lead {
                lead,
                wait,
                fallback,
            } => {
                self.parts().metrics.count(group, CallOutcome::Miss);
                self.submit(lead, Class::Miss, call);
                (wait, fallback, true)
            }
            Found::Wait { wait, fallback } => {
                self.parts().metrics.count(group, CallOutcome::Collapsed);
                (wait, fallback, false)
            }
        };
        let load = WaitsFor::Load(Load {
            wait,
            fallback,
            leads,
            detail,
        });
        Begun::Later(self.later(*call, key.clone(), self.parts().until(call), load))
    }

    fn submit(&self, lead: Lead, class: Class, call: &Call) {
        let left = self
            .parts()
            .until(call)
            .saturating_duration_since(Instant::now());
        let until = self.parts().clock.now().plus(as_millis(left));
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

    fn serve(&self, call: &Call, entry: Entry, provenance: Provenance) -> AnswerItem {
        if entry.value().len() > self.shared.settings.max_value_bytes {
            let message = format!(
                "the value has {} bytes; pipeline.max_message lets {} through",
                entry.value().len(),
                self.shared.settings.max_value_bytes
            );
            return refusal(call.id, Status::TooLarge, &message);
        }
        answers::of_entry(call.id, entry, provenance, self.parts().clock.now())
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
            WaitsFor::Delete(waits_for) => {
                let parts = path.parts();
                parts.taken_back(&call, &key, waits_for, until).await
            }
            WaitsFor::Epoch => {
                let patience = Instant::now() + path.shared.settings.epoch_wait;
                let mut views = path.parts().view.clone();
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
        let now = self.parts().clock.now();
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

/// What the wire calls it.
fn wire(detail: answer::Detail) -> Detail {
    match detail {
        answer::Detail::Ordinary => Detail::None,
        answer::Detail::Standby => Detail::Standby,
        answer::Detail::Isolated => Detail::Isolated,
    }
}
