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

/// Starts a node's tasks and returns its readiness probe, and what makes it leave before it is stopped.
///
/// It is ready until shutdown begins: a group or an origin that fails is told, not hidden, and does not
/// keep the others from being served.
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
        loads: Shutdown::new(),
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
    shutdown.spawn(sweeper.run(config.node.sweep_interval, shutdown.clone()));
    let follow = follow::follow(known, moves.clone(), cache.clone(), shutdown.clone());
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
    let leaver = leaver.unwrap_or_else(member::Leaver::of_nobody);
    (probe::probe(origin, unusable, control, shutdown), leaver)
}

/// The moves of a node whose control plane says what moves.
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
