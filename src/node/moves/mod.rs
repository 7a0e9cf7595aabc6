//! Partitions that move: this node sends the entries of those it gives away, and keeps the entries of those
//! it gets.
//!
//! `move_out` is the giver's side of one transfer and `move_in` the receiver's. `copy_out` and `copy_in` are
//! the same for copies, which the standbys of an owner keep. `stream` is what both kinds of streams share.
//! This file begins and ends them when a new view comes. The protocol is explained in
//! [`mod@crate::topology::moves`], `cache::feed` and `cache::arrivals`; a checker in tests/sim/ownership
//! tests it.

// The streams and `Moves` know each other: each file below holds one part of its state.
mod copy_in;
mod copy_out;
mod move_in;
mod move_out;
mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use metrics::Counter;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use self::copy_out::Copier;
use self::move_in::Link;
pub(super) use self::move_in::Peek;
use self::move_out::{Gone, Source};
use self::stream::Sent;
use super::member::Renewer;
use crate::cache::{Cache, End, PartitionSet};
use crate::clock::Clock;
use crate::ids::{NodeId, Partition, Tenure};
use crate::metrics::Registry;
use crate::node::me::Me;
use crate::ownership::streams;
use crate::rpc::pipeline::Target;
use crate::shutdown::Shutdown;
use crate::topology::model::member::Member;
use crate::topology::model::partitions::partitions;
use crate::topology::moves::MoveReport;
use crate::topology::view::View;

/// How long after a move the new owner asks the previous one for missing keys.
const PEEK_FOR: Duration = Duration::from_secs(10);

/// The bounds of transfers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The most bytes of keys and values that one transfer sends in a second.
    pub(super) max_rate: u64,
    /// The most bytes of one message.
    pub(super) max_message: usize,
}

/// Everything that a transfer needs.
pub(super) struct Parts {
    pub(super) me: Me,
    pub(super) cache: Cache,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) clock: Clock,
    /// Carries reports on the progress of moves to the leader.
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
    /// The transfers that this node sends, by receiver and new tenure.
    sources: Mutex<BTreeMap<(NodeId, Tenure), Source>>,
    /// Permits for incoming transfers.
    transfers: Arc<Semaphore>,
    has_links: AtomicBool,
    /// The number of streams that this node has begun.
    lines: AtomicU64,
    /// The link to the giver of each partition that arrives.
    links: RwLock<HashMap<Partition, Link>>,
    /// By new tenure: the givers that have sent all entries that were due first.
    warm: Mutex<BTreeMap<Tenure, BTreeSet<NodeId>>>,
    report: Mutex<MoveReport>,
    /// The streams of copies, by standby.
    copiers: Mutex<BTreeMap<NodeId, Copier>>,
}

struct Metrics {
    registry: Registry,
    sent: Sent,
    copies_kept: Counter,
    copies_passed: Counter,
    copies_broken: Counter,
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
                "Misses for which the previous owner was asked, by what it had.",
                &[("outcome", outcome)],
            )
        };
        let copies = |direction| copied_entries(registry, direction);
        Self {
            registry: registry.clone(),
            copies_kept: copies("kept"),
            copies_passed: copies("passed"),
            copies_broken: registry.counter(
                "gcache_node_unheard_copies_events_total",
                "Standbys that were found not to acknowledge deletes of their copies.",
                &[],
            ),
            kept_entries: entries("kept"),
            passed_entries: entries("passed"),
            sent: Sent {
                entries: entries("sent"),
                bytes: registry.counter(
                    "gcache_node_transfer_sent_bytes_total",
                    "Bytes of keys and values sent of partitions that move.",
                    &[],
                ),
            },
            over: transfers("over"),
            broken: transfers("broken"),
            found: peeks("found"),
            missing: peeks("missing"),
            late: peeks("late"),
        }
    }
}

/// The counter of copied entries in one direction.
fn copied_entries(registry: &Registry, direction: &'static str) -> Counter {
    registry.counter(
        "gcache_node_copied_entries_total",
        "Entries of which standbys keep copies: sent, received and kept, or received in vain.",
        &[("direction", direction)],
    )
}

impl Moves {
    pub(super) fn new(parts: Parts, registry: &Registry) -> Self {
        Self(Arc::new(Shared {
            parts,
            metrics: Metrics::register(registry),
            sources: Mutex::default(),
            transfers: Arc::new(Semaphore::new(move_in::TRANSFERS_MAX)),
            has_links: AtomicBool::new(false),
            lines: AtomicU64::new(0),
            links: RwLock::default(),
            warm: Mutex::default(),
            report: Mutex::default(),
            copiers: Mutex::default(),
        }))
    }

    /// Applies a new view. When this returns, changes of a partition that is to move are fed to its new
    /// owner, and those of one that has moved no more. Only then may the node report the view as applied.
    pub(super) fn follow(&self, before: &View, view: &View) {
        if view.cluster() != before.cluster() {
            self.forget_cluster();
        }
        self.begin(view);
        self.end(before, view);
        let me = self.0.parts.me.get();
        let is_over = |partition, tenure, _| !streams::expects(view, me, partition, tenure);
        self.0.parts.cache.expect_no_more(is_over);
        self.copy(view);
        self.look_whether_warm(view);
    }

    /// Copies to the members that are standbys now, and stops expecting copies of partitions that this node
    /// is no standby of.
    fn copy(&self, view: &View) {
        let shared = &self.0;
        let (me, cache) = (shared.parts.me.get(), &shared.parts.cache);
        let is_over = |partition, stamp, _| !streams::expects_copies(view, me, partition, stamp);
        cache.expect_no_more_copies(is_over);
        let (groups, wanted) = streams::copies_out(view, me, partitions());
        let mut copiers = shared.copiers.lock();
        copiers.retain(|to, copier| {
            let is_wanted = wanted
                .get(to)
                .is_some_and(|stamps| !copier.is_outlived_by(stamps));
            if !is_wanted {
                copier.end(cache);
            }
            is_wanted
        });
        for (to, stamps) in wanted {
            let Some(member) = view.member(to) else {
                continue;
            };
            let copier = copiers.entry(to).or_insert_with(|| {
                let copier = Copier::new(to);
                let run = copier.clone().run(
                    self.clone(),
                    Target::of(member, self.0.parts.from),
                    self.sent_to(view, member),
                );
                shared.parts.shutdown.spawn(run);
                copier
            });
            copier.keep(cache, stamps, &groups);
        }
        drop(copiers);
        self.report_unheard();
    }

    /// Reports a standby that is unheard to the leader, if there is one.
    fn report_unheard(&self) {
        // In one step under the lock: an older state must not be reported after a newer one.
        self.report(|report| {
            let copiers = self.0.copiers.lock();
            // Each is asked, even though one is reported: asking makes it note up to which stamp it is
            // unheard.
            let unheard: Vec<_> = copiers.values().filter_map(Copier::unheard).collect();
            report.unheard = unheard.first().copied();
        });
    }

    /// The counters of what is copied to a member.
    fn sent_to(&self, view: &View, to: &Member) -> Sent {
        let registry = &self.0.metrics.registry;
        let own = view.member(self.0.parts.me.get());
        let zone = match own.is_some_and(|own| own.zone == to.zone) {
            true => "same",
            false => "other",
        };
        Sent {
            entries: copied_entries(registry, "sent"),
            bytes: registry.counter(
                "gcache_node_copied_bytes_total",
                "Bytes of keys and values sent to standbys that keep copies, by whether they are in another \
                 zone.",
                &[("zone", zone)],
            ),
        }
    }

    /// The number of the next stream from this node.
    fn next_line(&self) -> u64 {
        self.0.lines.fetch_add(1, Ordering::Relaxed)
    }

    /// Drops everything of the previous cluster: a recovered cluster may reach tenures that the previous one
    /// has already given out.
    fn forget_cluster(&self) {
        let shared = &self.0;
        for (_, source) in std::mem::take(&mut *shared.sources.lock()) {
            source.over(Gone::default());
            source.feed().finish(End::Over);
            shared.parts.cache.untap(source.feed());
        }
        shared.parts.cache.expect_no_more(|_, _, _| true);
        for (_, copier) in std::mem::take(&mut *shared.copiers.lock()) {
            copier.end(&shared.parts.cache);
        }
        shared.parts.cache.expect_no_more_copies(|_, _, _| true);
        shared.warm.lock().clear();
        self.report(|report| *report = MoveReport::default());
    }

    /// Begins transfers of the partitions that move away from this node.
    fn begin(&self, view: &View) {
        let shared = &self.0;
        let me = shared.parts.me.get();
        for ((to, tenure), partitions) in streams::moves_out(view, me) {
            let mut sources = shared.sources.lock();
            let Some(member) = view.members().iter().find(|member| member.id == to) else {
                continue;
            };
            if sources.contains_key(&(to, tenure)) {
                continue;
            }
            let target = Target::of(member, self.0.parts.from);
            let set: PartitionSet = partitions.into_iter().collect();
            tracing::debug!(%to, %tenure, partitions = set.len(), "transfer begins");
            let source = Source::new(to, tenure, set);
            let cache = &shared.parts.cache;
            cache.tap(to, source.partitions().clone(), source.feed().clone());
            sources.insert((to, tenure), source.clone());
            let run = source.run(self.clone(), target);
            shared.parts.shutdown.spawn(run);
        }
    }

    /// Ends the transfers of moves that are over.
    fn end(&self, before: &View, view: &View) {
        let shared = &self.0;
        let me = shared.parts.me.get();
        let mut sources = shared.sources.lock();
        sources.retain(|(to, tenure), source| {
            if streams::is_moving(view, (me, *to), *tenure) {
                return true;
            }
            let has_moved =
                |partition: &Partition| streams::has_moved(view, *to, *tenure, *partition);
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

    /// Reports that the transfer for `tenure` is broken on this side.
    fn broken(&self, tenure: Tenure) {
        self.report(|report| report.broken = report.broken.max(tenure));
    }

    fn report(&self, change: impl FnOnce(&mut MoveReport)) {
        let mut report = self.0.report.lock();
        change(&mut report);
        self.0.parts.renewer.reports(*report);
    }

    /// Notes that `from` has sent all entries that were due first for `tenure`.
    fn warmed(&self, from: NodeId, tenure: Tenure) {
        let mut warm = self.0.warm.lock();
        warm.entry(tenure).or_default().insert(from);
        drop(warm);
        let view = Arc::clone(&self.0.parts.view.borrow());
        self.look_whether_warm(&view);
    }

    /// Reports a move as warm once all its givers have sent the entries that were due first.
    fn look_whether_warm(&self, view: &View) {
        let me = self.0.parts.me.get();
        let givers = streams::moves_in(view, me);
        let mut warm = self.0.warm.lock();
        // A tenure before the oldest was activated or given up; a later one is not in this view yet.
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

    /// The bounds of transfers.
    fn settings(&self) -> Settings {
        self.0.parts.settings
    }

    fn set_has_links(&self, links: &HashMap<Partition, Link>) {
        self.0.has_links.store(!links.is_empty(), Ordering::Release);
    }
}
