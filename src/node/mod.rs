//! The node: owns partitions, keeps their values in memory, and loads what it lacks from the origin.

mod answers;
pub mod control;
mod explain;
mod groups;
mod inspect;
mod lease;
mod loader;
mod metrics;
mod moves;
mod read;
mod service;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::metrics::Gauge;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::lease::Held;
use crate::admin::{Probe, Readiness};
use crate::cache::{Cache, Limits};
use crate::clock::Clock;
use crate::config::Config;
use crate::ids::NodeId;
use crate::metrics::Registry;
use crate::origin::Origin;
use crate::rpc::outbox::BatchLimits;
use crate::rpc::server;
use crate::shutdown::Shutdown;
use crate::topology::model::group::Group;
use crate::topology::view::View;

/// Entries dropped at most by one sweep: a bound on how long it keeps a core.
const SWEEP_ENTRIES: usize = 100_000;

/// What a message needs beside its values.
const MESSAGE_OVERHEAD_BYTES: usize = 64 << 10;

/// Given to a unary call beyond `node.max_deadline`, so that its answer says what took so long.
const CALL_MARGIN: Duration = Duration::from_secs(1);

/// What a node is made of beside its configuration. The listener is bound by the caller.
pub struct Parts {
    /// Which member this is, and who owns what.
    pub place: Place,
    /// For gRPC.
    pub listener: TcpListener,
    /// Where values come from.
    pub origin: Arc<dyn Origin>,
    /// Where it counts.
    pub registry: Registry,
    /// The process's clock.
    pub clock: Clock,
    /// When to stop. Every task of the node belongs to it.
    pub shutdown: Shutdown,
}

/// How a node knows who it is and who owns what.
pub enum Place {
    /// It was told, and needs no lease: for tests and benchmarks of the data plane alone.
    Fixed {
        /// Which member this is.
        me: NodeId,
        /// Who owns what.
        view: watch::Receiver<Arc<View>>,
    },
    /// As its control plane agrees with others.
    Agreed(Box<control::Parts>),
}

impl Place {
    /// The control plane, started, and what the node goes by.
    fn take(
        self,
        clock: Clock,
        registry: &Registry,
        shutdown: &Shutdown,
        inspector: inspect::Inspector,
    ) -> (Option<control::Service>, Known) {
        match self {
            Self::Fixed { me, view } => {
                let known = Known {
                    me: me.into(),
                    view,
                    held: Held::always(),
                    renewer: None,
                    from: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                };
                (None, known)
            }
            Self::Agreed(parts) => {
                let control = control::start(*parts, clock, registry, shutdown, inspector);
                let known = control.known();
                (Some(control), known)
            }
        }
    }
}

/// What a node goes by.
struct Known {
    /// Who it is.
    me: Me,
    /// Who owns what.
    view: watch::Receiver<Arc<View>>,
    /// Whether it may act for what it owns.
    held: Held,
    /// Who wants to know what the data plane goes by.
    renewer: Option<Arc<control::Renewer>>,
    /// The local address that connections leave from.
    from: IpAddr,
}

impl Known {
    fn sweeper(
        &self,
        cache: &Cache,
        clock: Clock,
        config: &Config,
        registry: &Registry,
    ) -> Sweeper {
        Sweeper {
            cache: cache.clone(),
            clock,
            view: self.view.clone(),
            budget_bytes: config.node.memory.0,
            metrics: metrics::CacheMetrics::register(registry),
            held: self.held.clone(),
            isolated: metrics::isolated(registry),
        }
    }

    /// The moves of a node whose control plane says what moves.
    fn moves(
        &self,
        cache: &Cache,
        clock: Clock,
        config: &Config,
        registry: &Registry,
        shutdown: &Shutdown,
    ) -> Option<moves::Moves> {
        let parts = moves::Parts {
            me: self.me.clone(),
            cache: cache.clone(),
            view: self.view.clone(),
            clock,
            renewer: Arc::clone(self.renewer.as_ref()?),
            from: self.from,
            settings: moves::Settings {
                max_rate: config.transfer.max_rate.0,
                max_message: max_message(config) / 2,
            },
            shutdown: shutdown.clone(),
        };
        Some(moves::Moves::new(parts, registry))
    }
}

/// This node's id: 0, which is no member's, until it has one.
#[derive(Clone, Debug, Default)]
struct Me(Arc<AtomicU64>);

impl Me {
    fn set(&self, id: NodeId) {
        self.0.store(id.0, Ordering::Release);
    }

    fn get(&self) -> NodeId {
        NodeId(self.0.load(Ordering::Acquire))
    }
}

impl From<NodeId> for Me {
    fn from(id: NodeId) -> Self {
        Self(Arc::new(AtomicU64::new(id.0)))
    }
}

/// Starts a node's tasks and returns its readiness probe, and what makes it leave before it is stopped.
///
/// It is ready until shutdown begins: a group or an origin that fails is told, not hidden, and does not
/// keep the others from being served.
#[must_use]
pub fn start(config: &Config, parts: Parts) -> (Probe, control::Leaver) {
    let Parts {
        place,
        listener,
        origin,
        registry,
        clock,
        shutdown,
    } = parts;
    let inspector = inspect::Inspector::new(Arc::clone(&origin), config);
    let (control, known) = place.take(clock, &registry, &shutdown, inspector);
    let Known { me, view, held, .. } = &known;
    let (me, view, held) = (me.clone(), view.clone(), held.clone());
    let cache = Cache::new(cache_limits(config));
    let stages = Stages {
        pipelines: shutdown.child(),
        loads: Shutdown::new(),
    };
    let moves = known.moves(&cache, clock, config, &registry, &shutdown);
    let loader = loader::Loader::new(
        Arc::clone(&origin),
        view.clone(),
        clock,
        loader_settings(config),
        &registry,
        stages.loads.clone(),
        moves.clone(),
    );
    let sweeper = known.sweeper(&cache, clock, config, &registry);
    shutdown.spawn(sweeper.run(config.node.sweep_interval, shutdown.clone()));
    let follow = follow(known, moves.clone(), cache.clone(), shutdown.clone());
    shutdown.spawn(follow);
    let explainer = explain::Explainer::new(me.clone(), cache.clone(), view.clone(), clock);
    let path = read::ReadPath::new(
        (me, held),
        cache,
        loader,
        view.clone(),
        clock,
        read_settings(config),
        metrics::ReadMetrics::register(&registry),
    );
    let service = service::Service::new(
        path,
        service_settings(config),
        metrics::sent_batches(&registry),
        stages.pipelines.clone(),
        explainer,
        moves,
    );
    let services = (service, control.clone());
    let server = tokio::spawn(serve(listener, services, config, &stages.pipelines));
    let checker = groups::Checker {
        origin: Arc::clone(&origin),
        view,
        patience: config.origin.timeout,
        unusable: groups::Unusable::default(),
        count: groups::register(&registry),
    };
    let unusable = Arc::clone(&checker.unusable);
    shutdown.spawn(checker.run(shutdown.clone()));
    shutdown.spawn(stages.end(server, shutdown.clone(), config.process.shutdown_grace));
    let leaver = control.as_ref().map(control::Service::leaver);
    let leaver = leaver.unwrap_or_else(control::Leaver::of_nobody);
    (probe(origin, unusable, control, shutdown), leaver)
}

fn serve(
    listener: TcpListener,
    (cache, control): (service::Service, Option<control::Service>),
    config: &Config,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + use<> {
    let limits = server::Limits {
        max_connections: config.node.max_connections,
        max_message_bytes: max_message(config),
        call_timeout: config.node.max_deadline + CALL_MARGIN,
    };
    let shutdown = shutdown.clone();
    async move {
        let stop = shutdown.begun();
        if let Err(error) = server::serve(listener, cache, control, limits, stop).await {
            tracing::error!(%error, "gRPC server failed");
        }
    }
}

/// How long connections may take to end once nothing is asked on them any more. Some would stay for
/// ever: whoever watches the health service, or says nothing.
const SERVER_PATIENCE: Duration = Duration::from_millis(500);

/// What ends one after the other: a call that waits for a load still needs it.
struct Stages {
    /// Pipelines and unary calls.
    pipelines: Shutdown,
    loads: Shutdown,
}

impl Stages {
    async fn end(self, mut server: JoinHandle<()>, shutdown: Shutdown, grace: Duration) {
        shutdown.begun().await;
        self.pipelines.finish(grace).await;
        if timeout(SERVER_PATIENCE, &mut server).await.is_err() {
            server.abort();
        }
        self.loads.finish(grace).await;
    }
}

/// Closes the flights of partitions that a new view takes from this node. Then, and not before, the node
/// may say that it has applied the view: nobody joins a flight any more that the view ends. (A flight of a
/// group that the view resets is joined by nobody, by its stamp.) What is void is reclaimed after that. Of
/// another cluster nothing is kept.
async fn follow(known: Known, moves: Option<moves::Moves>, cache: Cache, shutdown: Shutdown) {
    let Known {
        me,
        view: mut views,
        renewer,
        ..
    } = known;
    let mut before = Arc::clone(&views.borrow_and_update());
    loop {
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return },
            () = shutdown.begun() => return,
        }
        let view = Arc::clone(&views.borrow_and_update());
        let me = me.get();
        if view.cluster() != before.cluster() {
            // A recovered cluster may count up to stamps that the one before had given already.
            let cache = cache.clone();
            let cleared = tokio::task::spawn_blocking(move || cache.clear()).await;
            let entries = cleared.map_or(0, |cleared| cleared.entries);
            tracing::debug!(cluster = view.cluster(), entries, "cache cleared");
        }
        cache.close_partitions(|partition| {
            before.is_owner(me, partition) && !view.is_owner(me, partition)
        });
        if let Some(moves) = &moves {
            moves.follow(&before, &view);
        }
        if let Some(renewer) = &renewer {
            renewer.applied(view.epoch(), view.latest_since(me));
        }
        let is_reset = |group: &&Arc<Group>| {
            let old = before.group(group.id);
            old.is_some_and(|old| old.generation < group.generation)
        };
        for group in view.groups().filter(is_reset) {
            let (cache, id, generation) = (cache.clone(), group.id, group.generation);
            // It looks at every entry: for seconds, where there are millions.
            tokio::task::spawn_blocking(move || cache.reset(id, generation));
        }
        before = view;
    }
}

/// Drops what has expired, and shows the cache's state and whether the node holds a lease.
struct Sweeper {
    cache: Cache,
    clock: Clock,
    view: watch::Receiver<Arc<View>>,
    budget_bytes: u64,
    metrics: metrics::CacheMetrics,
    held: Held,
    isolated: Gauge,
}

impl Sweeper {
    /// Sweeps `every` so often, until shutdown.
    async fn run(self, every: Duration, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.begun() => return,
            }
            self.cache.sweep(self.clock.now(), SWEEP_ENTRIES);
            let is_isolated = !self.held.is_valid(self.clock.now());
            self.isolated.set(f64::from(u8::from(is_isolated)));
            let view = Arc::clone(&self.view.borrow());
            self.metrics
                .show(&self.cache.stats(), self.budget_bytes, &view);
        }
    }
}

fn probe(
    origin: Arc<dyn Origin>,
    unusable: groups::Unusable,
    control: Option<control::Service>,
    shutdown: Shutdown,
) -> Probe {
    Arc::new(move || {
        let mut readiness = Readiness::default();
        let stopping = shutdown.has_begun();
        readiness.check(
            "process",
            if stopping {
                Err("shutting down".into())
            } else {
                Ok(None)
            },
        );
        readiness.check("origin", Ok(Some(origin.describe())));
        let bad = unusable.lock();
        let note = (!bad.is_empty()).then(|| {
            let each: Vec<_> = bad
                .iter()
                .map(|(group, why)| format!("{group} cannot be loaded: {why}"))
                .collect();
            each.join("; ")
        });
        readiness.check("groups", Ok(note));
        if let Some(control) = &control {
            control.tell(&mut readiness);
        }
        readiness
    })
}

fn max_message(config: &Config) -> usize {
    usize::try_from(config.pipeline.max_message.0).unwrap_or(usize::MAX)
}

fn cache_limits(config: &Config) -> Limits {
    Limits {
        memory_bytes: config.node.memory.0,
        max_waiters_per_key: config.node.max_waiters_per_key,
        max_waiters_per_group: config.node.max_waiters_per_group,
        max_waiters: config.node.max_waiters,
    }
}

fn loader_settings(config: &Config) -> loader::Settings {
    loader::Settings {
        timeout: config.origin.timeout,
        max_batch: config.origin.max_batch,
        max_concurrent_loads: config.origin.max_concurrent_loads,
        max_concurrent_refreshes: config.origin.max_concurrent_refreshes,
        miss_queue: config.node.miss_queue,
        miss_queue_timeout: config.node.miss_queue_timeout,
        refresh_queue: config.node.refresh_queue,
    }
}

fn read_settings(config: &Config) -> read::Settings {
    read::Settings {
        epoch_wait: config.node.epoch_wait,
        max_deadline: config.node.max_deadline,
        max_value_bytes: max_message(config) - MESSAGE_OVERHEAD_BYTES.min(max_message(config) / 2),
    }
}

fn service_settings(config: &Config) -> service::Settings {
    let max = max_message(config);
    service::Settings {
        batch: BatchLimits {
            items: config.pipeline.max_batch,
            bytes: max / 32,
        },
        max_in_flight: (&config.pipeline).into(),
        max_unsent_bytes: 2 * max,
    }
}
