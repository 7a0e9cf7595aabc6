//! The node: owns partitions, keeps their values in memory, and loads what it lacks from the origin.

mod answers;
pub mod control;
mod explain;
mod follow;
mod groups;
mod inspect;
mod known;
mod leader;
mod lease;
mod loader;
mod me;
mod member;
mod metrics;
mod moves;
mod place;
mod probe;
mod read;
mod service;
mod settings;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::known::Known;
pub use self::place::Place;
use self::settings::{cache_limits, loader_settings, max_message, read_settings, service_settings};
use crate::admin::Probe;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Registry;
use crate::origin::Origin;
use crate::rpc::server;
use crate::shutdown::Shutdown;

/// Time that a unary call has beyond `node.max_deadline`, so that its answer can say what took so long.
const CALL_MARGIN: Duration = Duration::from_secs(1);

/// The parts of a node beside its configuration. The caller binds the listener.
pub struct Parts {
    /// Which member this is, and its view.
    pub place: Place,
    /// The bound listener of the gRPC server.
    pub listener: TcpListener,
    /// The origin that values are loaded from.
    pub origin: Arc<dyn Origin>,
    /// The registry of the node's metrics.
    pub registry: Registry,
    /// The process's clock.
    pub clock: Clock,
    /// The signal to stop. Every task of the node is tied to it.
    pub shutdown: Shutdown,
}

/// Starts a node's tasks. Returns its readiness probe, and the handle that makes it leave before it is
/// stopped.
///
/// The node is ready from when it has been up in its cluster until shutdown begins. A group or an origin that
/// fails is reported in the probe, but does not make the node unready: the other groups are still served.
#[must_use]
pub fn start(config: &Config, parts: Parts) -> (Probe, member::Leaver) {
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
        loads: shutdown.apart(),
    };
    let moves = moves(&known, &cache, clock, config, &registry, &shutdown);
    let loader = loader::Loader::new(
        Arc::clone(&origin),
        view.clone(),
        clock,
        loader_settings(config),
        &registry,
        stages.loads.clone(),
        moves.clone(),
    );
    let sweeper = sweep::Sweeper::new(&known, &cache, clock, config, &registry);
    let sweeping = sweeper.run(config.node.sweep_interval, shutdown.clone());
    shutdown.spawn_critical("sweeper", sweeping);
    let follow = follow::follow(known, moves.clone(), cache.clone(), shutdown.clone());
    shutdown.spawn_critical("follower of views", follow);
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
    let serving = serve(listener, services, config, &stages.pipelines);
    let server = tokio::spawn(stages.pipelines.supervise("gRPC port", serving));
    let checker = groups::Checker {
        origin: Arc::clone(&origin),
        view,
        patience: config.origin.timeout,
        unusable: groups::Unusable::default(),
        count: groups::register(&registry),
    };
    let unusable = Arc::clone(&checker.unusable);
    shutdown.spawn_critical("checker of groups", checker.run(shutdown.clone()));
    let ending = stages.end(server, shutdown.clone(), config.process.shutdown_grace);
    shutdown.spawn_critical("end of the node", ending);
    let leaver = control.as_ref().map(control::Service::leaver);
    let leaver = leaver.unwrap_or_else(member::Leaver::of_no_cluster);
    (probe::probe(origin, unusable, control, shutdown), leaver)
}

/// The moves of a node that has a control plane; none if its view is given.
fn moves(
    known: &Known,
    cache: &Cache,
    clock: Clock,
    config: &Config,
    registry: &Registry,
    shutdown: &Shutdown,
) -> Option<moves::Moves> {
    let parts = moves::Parts {
        me: known.me.clone(),
        cache: cache.clone(),
        view: known.view.clone(),
        clock,
        renewer: Arc::clone(known.renewer.as_ref()?),
        from: known.from,
        settings: moves::Settings {
            max_rate: config.transfer.max_rate.0,
            max_message: max_message(config) / 2,
        },
        shutdown: shutdown.clone(),
    };
    Some(moves::Moves::new(parts, registry))
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
    // A node with a given view serves from the start.
    let fixed = tokio::sync::watch::Sender::new(true);
    let serving = control.as_ref().map(control::Service::has_been_up);
    let serving = serving.unwrap_or_else(|| fixed.subscribe());
    async move {
        let stop = shutdown.begun();
        let served = server::serve(listener, cache, control, limits, serving, stop).await;
        if let Err(error) = served {
            tracing::error!(%error, "gRPC server failed");
        }
    }
}

/// How long connections may take to end once no call runs on them. Some would stay for ever: those of a
/// client that watches the health service, and idle ones.
const SERVER_PATIENCE: Duration = Duration::from_millis(500);

/// Parts of the node that end one after the other: calls before loads, because a call may wait for a load.
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
