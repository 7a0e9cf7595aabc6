//! Partitions that move: what this node sends of those it gives away, and keeps of those it gets.
//!
//! `source` is the giver's side of one transfer and `target` the receiver's; this is what both have in
//! common, and where a new view begins and ends transfers. The protocol is told in
//! [`mod@crate::topology::moves`], in `cache::feed` and in `cache::arrivals`; a checker of its own tries it in
//! tests/sim/ownership.

mod source;
mod target;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::Counter;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use self::source::{Gone, Source};
use self::target::Link;
pub(super) use self::target::Peek;
use super::Me;
use super::control::Renewer;
use crate::cache::{Cache, End, PartitionSet};
use crate::clock::Clock;
use crate::ids::{NodeId, Partition, Tenure};
use crate::metrics::Registry;
use crate::rpc::pipeline::Target;
use crate::shutdown::Shutdown;
use crate::topology::moves::MoveReport;
use crate::topology::view::View;

/// For how long after a move the old owner is asked for what is missing.
const PEEK_FOR: Duration = Duration::from_secs(10);

/// The bounds of transfers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Bytes of keys and values that one transfer may send in a second.
    pub(super) max_rate: u64,
    /// Bytes of one message.
    pub(super) max_message: usize,
}

/// Everything that a transfer needs.
pub(super) struct Parts {
    pub(super) me: Me,
    pub(super) cache: Cache,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) clock: Clock,
    /// Who is told how moves get on.
    pub(super) renewer: Arc<Renewer>,
    /// The local address that connections leave from.
    pub(super) from: IpAddr,
    pub(super) settings: Settings,
    pub(super) shutdown: Shutdown,
}

/// The moves of one node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Moves(Arc<Shared>);

struct Shared {
    parts: Parts,
    metrics: Metrics,
    /// What this node sends, by whom it is for and the tenure to come.
    sources: Mutex<BTreeMap<(NodeId, Tenure), Source>>,
    /// Places for transfers that come in.
    transfers: Arc<Semaphore>,
    has_links: AtomicBool,
    /// From where what arrives comes.
    links: RwLock<HashMap<Partition, Link>>,
    /// Who has sent all that was to come first, by tenure.
    warm: Mutex<BTreeMap<Tenure, BTreeSet<NodeId>>>,
    report: Mutex<MoveReport>,
}

struct Metrics {
    sent_entries: Counter,
    sent_bytes: Counter,
    kept_entries: Counter,
    passed_entries: Counter,
    over: Counter,
    broken: Counter,
    found: Counter,
    missing: Counter,
    late: Counter,
}

impl Metrics {
    fn register(registry: &Registry) -> Self {
        let entries = |direction| {
            registry.counter(
                "gcache_node_transfer_entries_total",
                "Entries of partitions that move: sent, received and kept, or received in vain.",
                &[("direction", direction)],
            )
        };
        let transfers = |outcome| {
            registry.counter(
                "gcache_node_moves_total",
                "Partitions handed to other members, one for each transfer, by how it ended.",
                &[("outcome", outcome)],
            )
        };
        let peeks = |outcome| {
            registry.counter(
                "gcache_node_peeked_keys_total",
                "Misses for which the owner before was asked, by what it had.",
                &[("outcome", outcome)],
            )
        };
        Self {
            sent_entries: entries("sent"),
            kept_entries: entries("kept"),
            passed_entries: entries("passed"),
            sent_bytes: registry.counter(
                "gcache_node_transfer_sent_bytes_total",
                "Bytes of keys and values sent of partitions that move.",
                &[],
            ),
            over: transfers("over"),
            broken: transfers("broken"),
            found: peeks("found"),
            missing: peeks("missing"),
            late: peeks("late"),
        }
    }
}

impl Moves {
    pub(super) fn new(parts: Parts, registry: &Registry) -> Self {
        Self(Arc::new(Shared {
            parts,
            metrics: Metrics::register(registry),
            sources: Mutex::default(),
            transfers: Arc::new(Semaphore::new(target::TRANSFERS_MAX)),
            has_links: AtomicBool::new(false),
            links: RwLock::default(),
            warm: Mutex::default(),
            report: Mutex::default(),
        }))
    }

    /// A new view is there. When this returns, what is to move is told to whom it moves to, and what has
    /// moved is not any more: then, and not before, the node may say that it has applied the view.
    pub(super) fn follow(&self, before: &View, view: &View) {
        if view.cluster() != before.cluster() {
            self.forget_cluster();
        }
        self.begin(view);
        self.end(before, view);
        let me = self.0.parts.me.get();
        self.0.parts.cache.expect_no_more(|partition, tenure| {
            let mut moving = view.moving().iter();
            let comes = moving.any(|moving| (moving.partition, moving.to) == (partition, me));
            let route = view.route_of(partition);
            let has_come = view.is_owner(me, partition)
                && (route.tenure == tenure || route.inherits == Some(tenure));
            // Of a later one this view knows nothing yet.
            !comes && !has_come && view.epoch().0 >= tenure.0
        });
        self.look_whether_warm(view);
    }

    /// A recovered cluster may count up to tenures that the one before had given already.
    fn forget_cluster(&self) {
        let shared = &self.0;
        for (_, source) in std::mem::take(&mut *shared.sources.lock()) {
            source.over(Gone::default());
            source.feed().finish(End::Over);
            shared.parts.cache.untap(source.feed());
        }
        shared.parts.cache.expect_no_more(|_, _| true);
        shared.warm.lock().clear();
        self.report(|report| *report = MoveReport::default());
    }

    /// Begins to send what moves away from here.
    fn begin(&self, view: &View) {
        let shared = &self.0;
        let me = shared.parts.me.get();
        let mut going: BTreeMap<(NodeId, Tenure), Vec<Partition>> = BTreeMap::new();
        for moving in view.moving().iter().filter(|moving| moving.from == me) {
            let to = (moving.to, moving.tenure);
            going.entry(to).or_default().push(moving.partition);
        }
        for ((to, tenure), partitions) in going {
            let mut sources = shared.sources.lock();
            let Some(member) = view.members().iter().find(|member| member.id == to) else {
                continue;
            };
            if sources.contains_key(&(to, tenure)) {
                continue;
            }
            let target = Target {
                host: member.host.to_string(),
                port: member.grpc_port,
                from: shared.parts.from,
            };
            let set: PartitionSet = partitions.into_iter().collect();
            tracing::debug!(%to, %tenure, partitions = set.len(), "transfer begins");
            let source = Source::new(to, tenure, set);
            let cache = &shared.parts.cache;
            cache.tap(source.partitions().clone(), source.feed().clone());
            sources.insert((to, tenure), source.clone());
            let run = source.run(self.clone(), target);
            shared.parts.shutdown.spawn(run);
        }
    }

    /// Ends what does not move any more.
    fn end(&self, before: &View, view: &View) {
        let shared = &self.0;
        let me = shared.parts.me.get();
        let mut sources = shared.sources.lock();
        sources.retain(|(to, tenure), source| {
            let mut moving = view.moving().iter();
            if moving.any(|moving| (moving.from, moving.to, moving.tenure) == (me, *to, *tenure)) {
                return true;
            }
            let has_moved = |partition: &Partition| {
                view.is_owner(*to, *partition) && view.route_of(*partition).tenure == *tenure
            };
            let gone: Vec<_> = source.partitions().iter().filter(has_moved).collect();
            let gone = gone.into_iter().map(|partition| {
                let route = before.route_of(partition);
                (partition, (route.tenure, route.inherits))
            });
            source.over(Gone(gone.collect()));
            source.feed().finish(End::Over);
            shared.parts.cache.untap(source.feed());
            false
        });
    }

    /// This node cannot send what it is to send.
    fn broken(&self, tenure: Tenure) {
        self.report(|report| report.broken = report.broken.max(tenure));
    }

    fn report(&self, change: impl FnOnce(&mut MoveReport)) {
        let mut report = self.0.report.lock();
        change(&mut report);
        self.0.parts.renewer.reports(*report);
    }

    /// `from` has sent all that was to come first for `tenure`.
    fn warmed(&self, from: NodeId, tenure: Tenure) {
        let mut warm = self.0.warm.lock();
        warm.entry(tenure).or_default().insert(from);
        drop(warm);
        let view = Arc::clone(&self.0.parts.view.borrow());
        self.look_whether_warm(&view);
    }

    /// Says that a move is warm once all who give for it have sent what they are to.
    fn look_whether_warm(&self, view: &View) {
        let me = self.0.parts.me.get();
        let mut givers: BTreeMap<Tenure, BTreeSet<NodeId>> = BTreeMap::new();
        for moving in view.moving().iter().filter(|moving| moving.to == me) {
            givers.entry(moving.tenure).or_default().insert(moving.from);
        }
        let mut warm = self.0.warm.lock();
        // What moves no more was activated or given up; what is later is not in this view yet.
        let oldest = givers.keys().next().copied();
        warm.retain(|tenure, _| oldest.is_none_or(|oldest| *tenure >= oldest));
        let is_warm = |(tenure, givers): &(&Tenure, &BTreeSet<NodeId>)| {
            let sent = warm.get(tenure);
            sent.is_some_and(|sent| givers.is_subset(sent))
        };
        let warmed = givers.iter().take_while(is_warm).last();
        let warmed = warmed.map(|(tenure, _)| *tenure);
        drop(warm);
        if let Some(tenure) = warmed {
            self.report(|report| report.warmed = report.warmed.max(tenure));
        }
    }

    /// The bounds.
    fn settings(&self) -> Settings {
        self.0.parts.settings
    }

    fn set_has_links(&self, links: &HashMap<Partition, Link>) {
        self.0.has_links.store(!links.is_empty(), Ordering::Release);
    }
}
