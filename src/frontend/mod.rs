//! The frontend: a stateless HTTP server that knows which node owns a key and asks it.

mod budget;
mod follow;
mod gate;
mod many;
mod metrics;
mod no_answer;
mod nodes;
mod path;
mod problem;
mod respond;
mod route;
mod service;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin::{Probe, Readiness};
use crate::clock::Clock;
use crate::config::{Config, Seed};
use crate::discovery::Discovery;
use crate::http::{self, Limits};
use crate::ids::Epoch;
use crate::metrics::Registry;
use crate::overload::shares::Bounds;
use crate::shutdown::Shutdown;
use crate::topology::view::View;

/// What a frontend is made of beside its configuration. The listener is bound by the caller.
pub struct Parts {
    /// For HTTP.
    pub listener: TcpListener,
    /// Where its views come from.
    pub views: Views,
    /// Where it counts.
    pub registry: Registry,
    /// The process's clock.
    pub clock: Clock,
    /// When to stop. Every task of the frontend belongs to it.
    pub shutdown: Shutdown,
}

/// Where a frontend's views come from.
pub enum Views {
    /// From the caller that starts it: for tests of frontends that are behind.
    Given(watch::Receiver<Arc<View>>),
    /// From the nodes, which may be found at these places.
    Followed(Vec<Seed>),
}

impl Views {
    /// The views, and the follower that is to be run for them.
    fn take(
        self,
        config: &Config,
        registry: &Registry,
        shutdown: &Shutdown,
    ) -> (Option<follow::Follower>, watch::Receiver<Arc<View>>) {
        match self {
            Self::Given(view) => (None, view),
            Self::Followed(seeds) => {
                let from = config.process.address();
                let discovery = Discovery::start(seeds, from, registry, shutdown);
                let (follower, view) = follow::Follower::new(discovery, from);
                (Some(follower), view)
            }
        }
    }
}

/// Starts a frontend's tasks and returns its readiness probe.
///
/// It is ready while it holds a view and reaches at least one node, and until shutdown begins.
#[must_use]
pub fn start(config: &Config, parts: Parts) -> Probe {
    let Parts {
        listener,
        views,
        registry,
        clock,
        shutdown,
    } = parts;
    let (follower, view) = views.take(config, &registry, &shutdown);
    let stages = Stages {
        connections: shutdown.child(),
        pipelines: shutdown.apart(),
    };
    let routing = nodes::follow(
        view,
        config.process.address(),
        (&config.pipeline).into(),
        registry.clone(),
        stages.pipelines.clone(),
    );
    if let Some(follower) = follower {
        let following = follower.run(routing.clone(), shutdown.clone());
        shutdown.spawn_critical("follower of the topology", following);
    }
    let budget = budget::RetryBudget::new(
        config.frontend.retry_ratio,
        config.frontend.retry_floor_per_second,
    );
    let waiting = Bounds {
        in_all: config.frontend.max_waiting,
        per_group: config.frontend.max_waiting_per_group,
    };
    let gate = gate::Gate::new(waiting, &registry);
    let ready = probe(routing.clone(), shutdown.clone());
    let service = Arc::new(service::Service {
        router: route::Router::new(routing, budget, gate, clock, &registry),
        deadline: config.frontend.deadline,
        many: many::Limits {
            max_body_bytes: config.frontend.max_body_bytes.0,
            max_keys: config.frontend.multi_get_max_keys,
            max_value_bytes: config.frontend.multi_get_max_bytes.0,
            body_timeout: config.frontend.body_timeout,
        },
        ready: Arc::clone(&ready),
        metrics: metrics::Metrics::register(&registry),
    });
    let connections = registry.gauge("gcache_frontend_connections", "Open HTTP connections.", &[]);
    let limits = Limits {
        max_connections: config.frontend.max_connections,
        header_timeout: config.frontend.header_timeout,
        idle_timeout: config.frontend.idle_timeout,
        write_timeout: config.frontend.write_timeout,
        max_header_bytes: usize::try_from(config.frontend.max_header_bytes.0).unwrap_or(usize::MAX),
    };
    let answer = move |request| Arc::clone(&service).answer(request);
    let serving = http::serve(
        listener,
        limits,
        connections,
        stages.connections.clone(),
        answer,
    );
    stages.connections.spawn_critical("HTTP port", serving);
    let ending = stages.end(shutdown.clone(), config.process.shutdown_grace);
    shutdown.spawn_critical("end of the frontend", ending);
    ready
}

/// What ends one after the other: a request that is being answered still needs its node.
struct Stages {
    connections: Shutdown,
    pipelines: Shutdown,
}

impl Stages {
    async fn end(self, shutdown: Shutdown, grace: Duration) {
        shutdown.begun().await;
        self.connections.finish(grace).await;
        self.pipelines.finish(grace).await;
    }
}

fn probe(routing: watch::Receiver<Arc<nodes::Routing>>, shutdown: Shutdown) -> Probe {
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
        let routing = Arc::clone(&routing.borrow());
        readiness.check(
            "topology",
            match routing.view.epoch() {
                Epoch(0) => Err("none yet".into()),
                epoch => Ok(Some(format!("epoch {epoch}"))),
            },
        );
        let (reachable, all) = routing.reach();
        readiness.check(
            "nodes",
            match reachable {
                // Else the first requests after a start would go to standbys without need.
                _ if !routing.is_judged() => {
                    Err(format!("connecting, {reachable} of {all} reachable"))
                }
                0 => Err(format!("none of {all} is reachable")),
                some => Ok(Some(format!("{some} of {all} reachable"))),
            },
        );
        readiness
    })
}
