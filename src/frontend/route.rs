//! Which member is asked for a key, in what role, and what happens when it does not answer.
//!
//! The owner; in place of an owner found unreachable, or behind, its standby; in place of both the
//! reachable member that ranks first for the key. A request tries each once and then fails honestly. Only
//! where links break all at once, and one after the other is found to be lost, the last resort is the
//! member that ranks next.
//!
//! A member known to be unreachable is passed over at no cost, and so is an owner that is lost while the
//! request waits: its standby coalesces what comes from there, so that the origin sees no storm. Any
//! attempt after that draws on the retry budget.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::Counter;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::budget::RetryBudget;
use super::gate::Gate;
use super::no_answer::NoAnswer;
use super::nodes::Routing;
use crate::clock::Clock;
use crate::hash::KeyHash;
use crate::ids::Epoch;
use crate::ids::as_millis;
use crate::metrics::Registry;
use crate::rpc::pipeline::CallError;
use crate::rpc::proto::{Answer, Call, Op, Role, Status, Via};
use crate::rpc::wire::Reply;
use crate::topology::model::group::Group;
use crate::topology::view::MemberIndex;

/// How long a request waits for the view that a node says it lacks.
const REFRESH_WAIT: Duration = Duration::from_millis(200);

/// Last resorts that a request may find to be lost one after the other.
const LAST_RESORTS_MAX: usize = 4;

/// Taken off the time a node is given, so that its word on the deadline arrives before ours.
const HOP_MARGIN: Duration = Duration::from_millis(20);

/// An answer, and in what role it was given.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) reply: Reply,
    pub(super) role: Role,
}

#[derive(Clone)]
struct Metrics {
    standby: Counter,
    last_resort: Counter,
    retries: Counter,
    refused_retries: Counter,
    refreshes: Counter,
}

/// Routes calls. Shared by all requests of a frontend.
pub(super) struct Router {
    routing: watch::Receiver<Arc<Routing>>,
    budget: RetryBudget,
    gate: Gate,
    clock: Clock,
    metrics: Metrics,
}

/// A member to ask, and in what role.
type Candidate = (MemberIndex, Role);

impl Router {
    pub(super) fn new(
        routing: watch::Receiver<Arc<Routing>>,
        budget: RetryBudget,
        gate: Gate,
        clock: Clock,
        registry: &Registry,
    ) -> Self {
        let failover = |to| {
            registry.counter(
                "gcache_frontend_failovers_total",
                "Calls sent to another member than the owner, which was unreachable.",
                &[("to", to)],
            )
        };
        let retry = |outcome| {
            registry.counter(
                "gcache_frontend_retries_total",
                "Attempts after the one at the standby, and those that the budget refused.",
                &[("outcome", outcome)],
            )
        };
        let metrics = Metrics {
            standby: failover("standby"),
            last_resort: failover("last-resort"),
            retries: retry("made"),
            refused_retries: retry("refused"),
            refreshes: registry.counter(
                "gcache_frontend_refreshes_total",
                "Calls repeated because the member asked was not the owner.",
                &[],
            ),
        };
        Self {
            routing,
            budget,
            gate,
            clock,
            metrics,
        }
    }

    /// The view and pipelines of this moment.
    pub(super) fn routing(&self) -> Arc<Routing> {
        Arc::clone(&self.routing.borrow())
    }

    /// Says when a caller of `group`, which is overloaded, may try again.
    pub(super) fn retry_after(&self, group: &Group) -> Duration {
        self.gate.retry_after(group.id)
    }

    /// Looks a key up, by `until` at the latest, if there is a place for it to wait in. Cancel-safe.
    pub(super) async fn get(
        &self,
        group: &Group,
        key: Bytes,
        until: Instant,
    ) -> Result<Routed, NoAnswer> {
        let _place = self.gate.enter(group)?;
        let began = Instant::now();
        let found = self.find(group, key, until).await;
        if let Ok(routed) = &found
            && waited_for_a_load(&routed.reply.answer)
        {
            self.gate.loaded(group.id, began.elapsed());
        }
        found
    }

    /// Asks one member after the other. One that says that it is not the owner is asked again once this
    /// frontend has the view that the answer names. One that still says so, or that is behind itself, because its Raft has ended or it has
    /// only just started, is passed over as if it were unreachable.
    async fn find(&self, group: &Group, key: Bytes, until: Instant) -> Result<Routed, NoAnswer> {
        self.budget.first_attempt(self.clock.now());
        let hash = KeyHash::of(group.id, &key);
        let mut routing = self.routing();
        let (mut tried, mut lost) = (Vec::new(), Vec::new());
        let (mut refreshed, mut disagreed) = (false, false);
        while let Some((member, role)) = next(&routing, hash, &tried, &lost) {
            if tried.iter().any(|(_, role)| *role != Role::Owner) && !self.spend() {
                break;
            }
            tried.push((member, role));
            let Some(pipeline) = routing.reachable(member) else {
                continue;
            };
            self.count(role);
            let call = call(Op::Get, role, group, &routing, until);
            match timeout_at(until, pipeline.call(call, key.clone())).await {
                Err(_) => return Err(NoAnswer::Deadline),
                Ok(Err(CallError::Unreachable | CallError::Lost)) => lost.push(member),
                Ok(Err(CallError::Overloaded(full))) => return Err(self.gate.refused(group, full)),
                Ok(Ok(reply)) if reply.answer.status() != Status::NotOwner => {
                    return Ok(Routed { reply, role });
                }
                Ok(Ok(reply)) => {
                    disagreed = true;
                    let theirs = Epoch(reply.answer.epoch);
                    if theirs < routing.view.epoch() {
                        // It answers no caller that knows more than it does.
                        lost.push(member);
                    }
                    let is_newer = theirs > routing.view.epoch();
                    if !is_newer || std::mem::replace(&mut refreshed, true) {
                        continue;
                    }
                    self.metrics.refreshes.increment(1);
                    routing = self.refresh(&routing, theirs, until).await;
                    // Members have other places in another view.
                    tried.clear();
                    lost.clear();
                }
            }
        }
        Err(match disagreed {
            true => NoAnswer::Unsettled,
            false => NoAnswer::Unreachable,
        })
    }

    /// Deletes or expires a key at its owner, by `until` at the latest. No other member stands in.
    pub(super) async fn invalidate(
        &self,
        op: Op,
        group: &Group,
        key: Bytes,
        until: Instant,
    ) -> Result<Routed, NoAnswer> {
        let _place = self.gate.enter(group)?;
        let hash = KeyHash::of(group.id, &key);
        let mut routing = self.routing();
        for _ in 0..2 {
            let owner = routing.view.route(hash).owner;
            let pipeline = owner
                .and_then(|member| routing.reachable(member))
                .ok_or(NoAnswer::Unreachable)?;
            let call = call(op, Role::Owner, group, &routing, until);
            let reply = match timeout_at(until, pipeline.call(call, key.clone())).await {
                Err(_) | Ok(Err(CallError::Lost)) => return Err(NoAnswer::Unknown),
                Ok(Err(CallError::Unreachable)) => return Err(NoAnswer::Unreachable),
                Ok(Err(CallError::Overloaded(full))) => return Err(self.gate.refused(group, full)),
                Ok(Ok(reply)) => reply,
            };
            if reply.answer.status() != Status::NotOwner {
                return Ok(Routed {
                    reply,
                    role: Role::Owner,
                });
            }
            self.metrics.refreshes.increment(1);
            routing = self
                .refresh(&routing, Epoch(reply.answer.epoch), until)
                .await;
        }
        Err(NoAnswer::Unsettled)
    }

    /// Waits a moment for a routing at least as new as `epoch`; whatever is there then is used.
    async fn refresh(&self, known: &Routing, epoch: Epoch, until: Instant) -> Arc<Routing> {
        if epoch > known.view.epoch() {
            let mut routing = self.routing.clone();
            let newer = routing.wait_for(|routing| routing.view.epoch() >= epoch);
            let patience = until.min(Instant::now() + REFRESH_WAIT);
            let _late = timeout_at(patience, newer).await;
        }
        self.routing()
    }

    fn spend(&self) -> bool {
        let granted = self.budget.may_retry(self.clock.now());
        let counter = if granted {
            &self.metrics.retries
        } else {
            &self.metrics.refused_retries
        };
        counter.increment(1);
        granted
    }

    fn count(&self, role: Role) {
        match role {
            Role::Owner => {}
            Role::Standby => self.metrics.standby.increment(1),
            Role::LastResort => self.metrics.last_resort.increment(1),
        }
    }
}

/// Whether the node had to ask the origin for this answer, or to wait until it gave up on it.
fn waited_for_a_load(answer: &Answer) -> bool {
    match answer.status() {
        Status::Ok | Status::Absent => matches!(answer.via(), Via::Miss | Via::Expired),
        Status::OriginTimeout | Status::Deadline => true,
        // An overloaded node may have refused at once: that is no time that a load takes.
        _ => false,
    }
}

/// The next member to ask: the first in order that is reachable and was not asked yet. One that was asked
/// as something that it is not may be the last resort, but none that was `lost` or is behind.
fn next(
    routing: &Routing,
    hash: KeyHash,
    tried: &[Candidate],
    lost: &[MemberIndex],
) -> Option<Candidate> {
    let route = routing.view.route(hash);
    let is_there = |member: MemberIndex| routing.reachable(member).is_some();
    let is_free =
        |member: MemberIndex| is_there(member) && !tried.iter().any(|(asked, _)| *asked == member);
    if let Some(owner) = route.owner.filter(|member| is_free(*member)) {
        return Some((owner, Role::Owner));
    }
    if let Some(standby) = route.standby.filter(|member| is_free(*member)) {
        return Some((standby, Role::Standby));
    }
    let is_last = |(_, role): &&Candidate| *role == Role::LastResort;
    let has_answered = |(member, _): &Candidate| !lost.contains(member);
    let mut last = tried.iter().filter(is_last);
    if last.clone().count() >= LAST_RESORTS_MAX || last.any(has_answered) {
        return None;
    }
    let index = |id| routing.view.index_of(id);
    let may_be_last = |member| is_there(member) && !lost.contains(&member);
    let last = routing
        .view
        .last_resort(hash, |id| index(id).is_some_and(may_be_last))?;
    Some((index(last.id)?, Role::LastResort))
}

fn call(op: Op, role: Role, group: &Group, routing: &Routing, until: Instant) -> Call {
    let left = until
        .saturating_duration_since(Instant::now())
        .saturating_sub(HOP_MARGIN);
    Call {
        op: op.into(),
        role: role.into(),
        group: group.id.0,
        epoch: routing.view.epoch().0,
        // 0 would mean the node's own bound.
        deadline_ms: u32::try_from(as_millis(left)).unwrap_or(u32::MAX).max(1),
        ..Call::default()
    }
}
