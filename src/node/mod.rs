//! The node: owns partitions, keeps their values in memory, and loads what it lacks from the origin.

mod answers;
mod loader;
mod metrics;
mod read;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;

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
use crate::topology::view::View;

/// Entries dropped at most by one sweep: a bound on how long it keeps a core.
const SWEEP_ENTRIES: usize = 100_000;

/// What a message needs beside its values.
const MESSAGE_OVERHEAD_BYTES: usize = 64 << 10;

/// How often a group that the origin refused is checked again.
const RECHECK_EVERY: Duration = Duration::from_secs(10);

/// What a node is made of beside its configuration. The listener is bound by the caller.
pub struct Parts {
    /// Which member this is.
    pub me: NodeId,
    /// For gRPC.
    pub listener: TcpListener,
    /// Where values come from.
    pub origin: Arc<dyn Origin>,
    /// Who owns what.
    pub view: watch::Receiver<Arc<View>>,
    /// Where it counts.
    pub registry: Registry,
    /// The process's clock.
    pub clock: Clock,
    /// When to stop. Every task of the node belongs to it.
    pub shutdown: Shutdown,
}

/// What the origin said of each group that it cannot load, by name.
type Unusable = Arc<Mutex<BTreeMap<Arc<str>, String>>>;

/// Starts a node's tasks and returns its readiness probe.
///
/// It is ready until shutdown begins: a group or an origin that fails is told, not hidden, and does not
/// keep the others from being served.
#[must_use]
pub fn start(config: &Config, parts: Parts) -> Probe {
    let Parts {
        me,
        listener,
        origin,
        view,
        registry,
        clock,
        shutdown,
    } = parts;
    let memory_bytes = config.node.memory.0;
    let cache = Cache::new(Limits {
        memory_bytes,
        max_waiters_per_key: config.node.max_waiters_per_key,
        max_waiters_per_group: config.node.max_waiters_per_group,
    });
    let loader = loader::Loader::new(
        Arc::clone(&origin),
        view.clone(),
        clock,
        loader_settings(config),
        &registry,
        shutdown.clone(),
    );
    let sweeper = Sweeper {
        cache: cache.clone(),
        clock,
        view: view.clone(),
        budget_bytes: memory_bytes,
        metrics: metrics::CacheMetrics::register(&registry),
    };
    shutdown.spawn(sweeper.run(config.node.sweep_interval, shutdown.clone()));
    shutdown.spawn(follow(me, cache.clone(), view.clone(), shutdown.clone()));
    let path = read::ReadPath::new(
        me,
        cache,
        loader,
        view.clone(),
        clock,
        read_settings(config),
        metrics::ReadMetrics::register(&registry),
    );
    let sent = registry.histogram(
        "gcache_node_sent_batch_calls",
        "Answers in one message to a frontend.",
        &[],
    );
    let service = service::Service::new(path, service_settings(config), sent, shutdown.clone());
    shutdown.spawn(serve(listener, service, config, &shutdown));
    let unusable = Unusable::default();
    shutdown.spawn(check_groups(
        Arc::clone(&origin),
        view,
        Arc::clone(&unusable),
        registry,
        shutdown.clone(),
    ));
    probe(origin, unusable, shutdown)
}

fn serve(
    listener: TcpListener,
    service: service::Service,
    config: &Config,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + use<> {
    let limits = server::Limits {
        max_connections: config.node.max_connections,
        max_message_bytes: max_message(config),
    };
    let shutdown = shutdown.clone();
    async move {
        let stop = shutdown.begun();
        if let Err(error) = server::serve(listener, service, limits, stop).await {
            tracing::error!(%error, "gRPC server failed");
        }
    }
}

/// Closes the flights of partitions that a new view takes from this node, and reclaims the groups that
/// it resets. The stamps have already made both void.
async fn follow(
    me: NodeId,
    cache: Cache,
    mut views: watch::Receiver<Arc<View>>,
    shutdown: Shutdown,
) {
    let mut known = Arc::clone(&views.borrow_and_update());
    loop {
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return },
            () = shutdown.begun() => return,
        }
        let view = Arc::clone(&views.borrow_and_update());
        cache.close_partitions(|partition| {
            known.is_owner(me, partition) && !view.is_owner(me, partition)
        });
        for group in view.groups() {
            if known
                .group(group.id)
                .is_some_and(|old| old.generation < group.generation)
            {
                cache.reset(group.id, group.generation);
            }
        }
        known = view;
    }
}

/// Drops what has expired and shows the cache's state.
struct Sweeper {
    cache: Cache,
    clock: Clock,
    view: watch::Receiver<Arc<View>>,
    budget_bytes: u64,
    metrics: metrics::CacheMetrics,
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
            let view = Arc::clone(&self.view.borrow());
            self.metrics
                .show(&self.cache.stats(), self.budget_bytes, &view);
        }
    }
}

/// Asks the origin whether it can load each group, until it can load all of them.
async fn check_groups(
    origin: Arc<dyn Origin>,
    view: watch::Receiver<Arc<View>>,
    unusable: Unusable,
    registry: Registry,
    shutdown: Shutdown,
) {
    let count = registry.gauge(
        "gcache_origin_unusable_groups",
        "Groups that the origin cannot load, as of the last check.",
        &[],
    );
    loop {
        let view = Arc::clone(&view.borrow());
        for group in view.groups() {
            match origin.check(group).await {
                Ok(()) => {
                    if unusable.lock().remove(&group.name).is_some() {
                        tracing::info!(group = %group.name, "group usable again");
                    }
                }
                Err(error) => {
                    let known = unusable
                        .lock()
                        .insert(Arc::clone(&group.name), error.message.clone());
                    if known.as_ref() != Some(&error.message) {
                        tracing::error!(group = %group.name, %error, "group cannot be loaded");
                    }
                }
            }
        }
        count.set(unusable.lock().len() as f64);
        tokio::select! {
            () = tokio::time::sleep(RECHECK_EVERY) => {}
            () = shutdown.begun() => return,
        }
    }
}

fn probe(origin: Arc<dyn Origin>, unusable: Unusable, shutdown: Shutdown) -> Probe {
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
        readiness
    })
}

fn max_message(config: &Config) -> usize {
    usize::try_from(config.pipeline.max_message.0).unwrap_or(usize::MAX)
}

fn loader_settings(config: &Config) -> loader::Settings {
    loader::Settings {
        timeout: config.origin.timeout,
        max_batch: config.origin.max_batch,
        max_concurrent_loads: config.origin.max_concurrent_loads,
        miss_queue: config.node.miss_queue,
        queue_wait: config.frontend.deadline,
    }
}

fn read_settings(config: &Config) -> read::Settings {
    read::Settings {
        epoch_wait: config.node.epoch_wait,
        deadline: config.frontend.deadline,
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
        max_in_flight: config.pipeline.max_in_flight,
        max_unsent_bytes: 2 * max,
    }
}
