//! A member's side of leases: asks the leader to renew its lease, for as long as it is a member.
//!
//! The rules are in [`crate::topology::lease`]; this module connects them to the clock and the network. A
//! node that was removed learns so from the leader's answer.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Running, Shared};
use crate::clock::Clock;
use crate::ids::{Epoch, Incarnation, Millis, NodeId};
use crate::metrics::Registry;
use crate::node::leader::handle::LeaderHandle;
use crate::node::lease::Held;
use crate::rpc::control::{KeptClient, to_wire};
use crate::rpc::control_proto::renew_reply::Outcome;
use crate::rpc::control_proto::{RenewRequest, Unheard};
use crate::rpc::leader::named_leader;
use crate::rpc::pipeline::Target;
use crate::topology::leader::event::Answer;
use crate::topology::lease::{Grant, LEASE_MS, Lease, Renewal};
use crate::topology::moves::MoveReport;

/// How long an answer may take: a grant for a renewal older than a lease is worth nothing.
const PATIENCE: Duration = Duration::from_millis(LEASE_MS);

/// The most renewals under way at once: more than one, because one that hangs must not keep the next from
/// another leader.
const UNDER_WAY_MAX: usize = 4;

/// The shortest pause of the loop.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The lease of this node, once it is a member.
pub(in crate::node) struct Renewer {
    clock: Clock,
    held: Held,
    known: Mutex<Known>,
    news: Notify,
    metrics: Metrics,
}

/// The metrics of leases.
struct Metrics {
    granted: Counter,
    refused: Counter,
    unanswered: Counter,
}

#[derive(Default)]
struct Known {
    lease: Option<Lease>,
    /// What the data plane has applied: the epoch, and since when the node owns the partition that it got
    /// last.
    applied: (Epoch, Epoch),
    /// This node's report on the moves that it takes part in.
    moves: MoveReport,
}

impl Metrics {
    fn register(registry: &Registry) -> Self {
        let renewals = |outcome| {
            registry.counter(
                "gcache_node_lease_renewals_total",
                "Renewals of this node's lease, by outcome.",
                &[("outcome", outcome)],
            )
        };
        Self {
            granted: renewals("granted"),
            refused: renewals("refused"),
            unanswered: renewals("unanswered"),
        }
    }
}

impl Renewer {
    pub(in crate::node) fn new(clock: Clock, registry: &Registry) -> Self {
        Self {
            clock,
            held: Held::default(),
            known: Mutex::default(),
            news: Notify::new(),
            metrics: Metrics::register(registry),
        }
    }

    /// The lease as the read path sees it.
    pub(in crate::node) fn held(&self) -> Held {
        self.held.clone()
    }

    /// Whether the node holds no lease now.
    pub(in crate::node) fn is_isolated(&self) -> bool {
        !self.held.is_valid(self.clock.now())
    }

    /// The epoch that all members with a lease have applied, as far as this node knows.
    pub(super) fn settled(&self) -> Epoch {
        let known = self.known.lock();
        known.lease.as_ref().map_or(Epoch(0), Lease::settled)
    }

    /// Which start of the node this is; 0 before it is a member.
    pub(in crate::node) fn start(&self) -> Incarnation {
        let known = self.known.lock();
        let lease = known.lease.as_ref();
        lease.map_or(Incarnation(0), Lease::incarnation)
    }

    /// Begins a lease, since this node is a member from now on.
    fn begin(&self, member: NodeId, incarnation: Incarnation) {
        let mut known = self.known.lock();
        let mut lease = Lease::new(member, incarnation);
        let (epoch, since) = known.applied;
        lease.applied(epoch, since);
        lease.reports(known.moves);
        known.lease = Some(lease);
    }

    /// Ends the lease, since this node is no member any more.
    pub(super) fn end(&self) {
        *self.known.lock() = Known::default();
        self.held.set(Millis(0), Epoch(0));
    }

    /// Notes that the whole data plane has applied `epoch`. In it, `since` is since when the node owns the
    /// partition that it got last.
    pub(in crate::node) fn applied(&self, epoch: Epoch, since: Epoch) {
        let mut known = self.known.lock();
        known.applied = (epoch, since);
        self.change(&mut known, |lease| lease.applied(epoch, since));
        drop(known);
        self.news.notify_one();
    }

    /// Sets the report on the moves that this node takes part in, all but `stops_soon`, which has its own
    /// function.
    pub(in crate::node) fn reports(&self, moves: MoveReport) {
        self.report(|known| {
            *known = MoveReport {
                stops_soon: known.stops_soon,
                ..moves
            };
        });
    }

    /// Reports that this node stops in a moment: moves from it need not be waited for any more.
    pub(super) fn stops_soon(&self) {
        self.report(|known| known.stops_soon = true);
    }

    fn report(&self, change: impl FnOnce(&mut MoveReport)) {
        let mut known = self.known.lock();
        change(&mut known.moves);
        let moves = known.moves;
        self.change(&mut known, |lease| lease.reports(moves));
        drop(known);
        self.news.notify_one();
    }

    fn granted(&self, grant: &Grant) {
        let now = self.clock.now();
        self.change(&mut self.known.lock(), |lease| lease.granted(grant, now));
    }

    /// Renews at once, since another leader may know nothing of this node yet.
    fn hurry(&self) {
        self.change(&mut self.known.lock(), Lease::hurry);
        self.news.notify_one();
    }

    fn change(&self, known: &mut Known, change: impl FnOnce(&mut Lease)) {
        if let Some(lease) = &mut known.lease {
            change(lease);
            self.held.set(lease.until(), lease.settled());
        }
    }

    /// The renewal to send now, if one is due, and the time until the next.
    fn renew(&self) -> (Option<Renewal>, Duration) {
        let mut known = self.known.lock();
        let now = self.clock.now();
        let Some(lease) = &mut known.lease else {
            return (None, PATIENCE);
        };
        let renewal = lease.renew(now);
        let pause = Duration::from_millis(lease.due().since(now));
        (renewal, pause.max(PAUSE_MIN))
    }
}

/// Renews the lease of a running node until it is removed or its Raft ends; true if it was removed. Dropping
/// the future aborts the renewals under way, and the lease then runs out by itself.
pub(super) async fn renew(shared: Arc<Shared>, running: Arc<Running>) -> bool {
    let renewer = &shared.renewer;
    renewer.begin(running.ident.node, running.ident.incarnation);
    let asking = Arc::new(Asking {
        client: KeptClient::default(),
        hint: Mutex::default(),
        removed: Notify::new(),
        shared: Arc::clone(&shared),
        running,
    });
    let mut under_way = JoinSet::new();
    let mut standing = asking.running.raft.standing();
    let mut leader = standing.borrow().role.leader;
    loop {
        // A renewal counts as sent once it is made, so none is made that cannot be sent.
        let has_room = under_way.len() < UNDER_WAY_MAX;
        let (renewal, pause) = if has_room {
            renewer.renew()
        } else {
            (None, PATIENCE)
        };
        if let Some(renewal) = renewal {
            under_way.spawn(Arc::clone(&asking).ask(renewal));
        }
        tokio::select! {
            Some(_) = under_way.join_next() => {}
            () = tokio::time::sleep(pause) => {}
            () = renewer.news.notified() => {}
            () = asking.removed.notified() => return true,
            changed = standing.changed() => {
                if changed.is_err() {
                    return false;
                }
                let now = standing.borrow_and_update().role.leader;
                if now != leader && now.is_some() {
                    // The previous leader will not answer.
                    under_way.abort_all();
                    *asking.hint.lock() = None;
                    renewer.hurry();
                }
                leader = now;
            }
        }
    }
}

/// The state that all renewals under way share.
struct Asking {
    shared: Arc<Shared>,
    running: Arc<Running>,
    client: KeptClient,
    /// The node that granted last, or that another node names as the leader.
    hint: Mutex<Option<Target>>,
    removed: Notify,
}

impl Asking {
    async fn ask(self: Arc<Self>, renewal: Renewal) {
        let asked = async {
            if self.running.raft.standing().borrow().role.is_leader {
                self.ask_here(renewal).await
            } else {
                self.ask_there(renewal).await
            }
        };
        // The timeout covers everything that the renewal waits for.
        let metrics = &self.shared.renewer.metrics;
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Some(true)) => metrics.granted.increment(1),
            Ok(Some(false)) => metrics.refused.increment(1),
            Ok(None) => metrics.unanswered.increment(1),
            Err(_) => {
                metrics.unanswered.increment(1);
                *self.hint.lock() = None;
            }
        }
    }

    /// Asks the leader on this node. Returns whether it granted the lease; none if no leader decided.
    async fn ask_here(&self, renewal: Renewal) -> Option<bool> {
        let leader: &LeaderHandle = &self.running.leader;
        match leader.renew(renewal).await {
            Answer::Granted(grant) => {
                self.shared.renewer.granted(&grant);
                return Some(true);
            }
            Answer::Refused(refusal) => tracing::debug!(%refusal, "lease not renewed"),
            Answer::Removed => self.removed.notify_one(),
            Answer::NotLeader => {
                self.shared.renewer.hurry();
                return None;
            }
        }
        Some(false)
    }

    /// Asks the leader on another node. Returns whether it granted the lease; none if no leader decided.
    async fn ask_there(&self, renewal: Renewal) -> Option<bool> {
        let target = self.target()?;
        let request = RenewRequest {
            cluster: to_wire(self.running.ident.cluster.0),
            node: renewal.member.0,
            incarnation: renewal.incarnation.0,
            sent_at_ms: renewal.sent_at.0,
            warmed: renewal.moves.warmed.0,
            broken: renewal.moves.broken.0,
            stops_soon: renewal.moves.stops_soon,
            unheard: renewal.moves.unheard.map(|unheard| Unheard {
                standby: unheard.standby.0,
                since: unheard.since.0,
            }),
            epoch: renewal.epoch.0,
        };
        let reply = match self.client.renew(&target, request, PATIENCE).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%error, "lease not renewed");
                *self.hint.lock() = None;
                return None;
            }
        };
        match reply.outcome {
            Some(Outcome::Granted(granted)) => {
                *self.hint.lock() = Some(target);
                self.shared.renewer.granted(&Grant {
                    renewal,
                    epoch: Epoch(granted.epoch),
                    settled: Epoch(granted.settled),
                });
                return Some(true);
            }
            Some(Outcome::Redirect(redirect)) => {
                let leader = named_leader(&redirect, self.shared.from);
                let is_known = leader.is_some();
                *self.hint.lock() = leader.filter(|leader| *leader != target);
                if is_known {
                    self.shared.renewer.hurry();
                }
                return None;
            }
            Some(Outcome::Removed(why)) => {
                tracing::warn!(why, "this node was removed from the cluster");
                self.removed.notify_one();
            }
            Some(Outcome::Refused(why)) => tracing::debug!(why, "lease not renewed"),
            None => tracing::debug!(%target, "answer not understood"),
        }
        Some(false)
    }

    /// The node to ask: the hint, the leader as far as it is known, or any seed or member.
    fn target(&self) -> Option<Target> {
        if let Some(hint) = self.hint.lock().clone() {
            return Some(hint);
        }
        let leader = self.running.raft.standing().borrow().role.leader;
        let state = self.running.raft.state().borrow().clone();
        if let Some(leader) = leader.and_then(|leader| state.member(leader)) {
            return Some(self.shared.target_of(leader));
        }
        fastrand::choice(self.shared.seeds_and_members(&state))
    }
}
