//! `gcache dev`: a whole cluster in one process, with an embedded origin, for a laptop.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin::{self, Probe};
use crate::clock::Clock;
use crate::config::Config;
use crate::ids::NodeId;
use crate::metrics::Registry;
use crate::net::{BACKLOG, listen};
use crate::origin::Origin;
use crate::shutdown::Shutdown;
use crate::topology::fixed::fixed_view;
use crate::topology::group::GroupSpec;
use crate::topology::member::{Member, MemberStatus, Zone};
use crate::topology::view::View;
use crate::{frontend, node};

/// The most nodes one process takes.
pub const MAX_NODES: u16 = 32;

/// How long the frontend may take to reach its nodes before `dev` gives up.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Members are spread over this many made-up zones.
const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// What to start.
pub struct Parts {
    /// How many nodes, 1 to [`MAX_NODES`].
    pub nodes: u16,
    /// What all of them load from.
    pub origin: Arc<dyn Origin>,
    /// What they cache.
    pub groups: Vec<(String, GroupSpec)>,
    /// When to stop. Every task belongs to it.
    pub shutdown: Shutdown,
}

/// Where a running `dev` listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The frontend's HTTP.
    pub http: SocketAddr,
    /// Metrics and health of everything.
    pub admin: SocketAddr,
}

/// Starts nodes on free ports, a frontend and one admin port; returns once the frontend is ready.
///
/// # Errors
/// A taken port, or a frontend that does not reach its nodes within ten seconds.
pub async fn start(config: &Config, parts: Parts) -> anyhow::Result<Addresses> {
    let Parts {
        nodes,
        origin,
        groups,
        shutdown,
    } = parts;
    let host = config.process.address();
    let http = listen(
        (host, config.frontend.port).into(),
        "HTTP (--port)",
        config.frontend.backlog,
    )?;
    let admin = listen(
        (host, config.process.admin_port).into(),
        "metrics (--admin-port)",
        BACKLOG,
    )?;
    let addresses = Addresses {
        http: http.local_addr()?,
        admin: admin.local_addr()?,
    };
    let mut members = Vec::new();
    let mut listeners = Vec::new();
    for number in 1..=nodes {
        let listener = listen((host, 0).into(), "gRPC", BACKLOG)?;
        members.push(member(number, host, listener.local_addr()?));
        listeners.push(listener);
    }
    let view = fixed_view(members.clone(), groups).context("the cluster cannot be laid out")?;
    let (_, view) = watch::channel(Arc::new(view));
    let world = World {
        config,
        view,
        origin,
        registry: Registry::new(),
        clock: Clock::start(),
        shutdown,
    };
    world.origin.register(&world.registry);
    for (member, listener) in members.iter().zip(listeners) {
        world.node(member, listener);
    }
    let ready = world.frontend(http);
    let admin_task = admin::run(
        admin,
        world.registry.clone(),
        Arc::clone(&ready),
        world.shutdown.clone(),
    );
    world.shutdown.spawn(admin_task);
    until_ready(&ready).await?;
    Ok(addresses)
}

fn member(number: u16, host: IpAddr, address: SocketAddr) -> Member {
    Member {
        id: NodeId(number.into()),
        name: format!("node-{number}").into(),
        host: host.to_string().into(),
        grpc_port: address.port(),
        zone: Zone::new(ZONES[usize::from(number - 1) % ZONES.len()]),
        weight: 1,
        status: MemberStatus::Up,
    }
}

/// What every role of the process shares.
struct World<'a> {
    config: &'a Config,
    view: watch::Receiver<Arc<View>>,
    origin: Arc<dyn Origin>,
    registry: Registry,
    clock: Clock,
    shutdown: Shutdown,
}

impl World<'_> {
    fn node(&self, member: &Member, listener: TcpListener) {
        let registry = self.registry.labelled("node", &member.name);
        registry.describe_process("node", member.zone.as_str());
        let parts = node::Parts {
            place: node::Place::Fixed {
                me: member.id,
                view: self.view.clone(),
                control: None,
            },
            listener,
            origin: Arc::clone(&self.origin),
            registry,
            clock: self.clock,
            shutdown: self.shutdown.clone(),
        };
        // The frontend's readiness stands for the process: a node alone is always ready.
        let (_ready, _leaver) = node::start(self.config, parts);
    }

    fn frontend(&self, listener: TcpListener) -> Probe {
        let registry = self.registry.labelled("node", "frontend");
        registry.describe_process("frontend", self.config.process.zone());
        let parts = frontend::Parts {
            listener,
            views: frontend::Views::Given(self.view.clone()),
            registry,
            clock: self.clock,
            shutdown: self.shutdown.clone(),
        };
        frontend::start(self.config, parts)
    }
}

async fn until_ready(ready: &Probe) -> anyhow::Result<()> {
    let wait = async {
        while !ready().is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(START_DEADLINE, wait).await.is_err() {
        bail!("not ready after {START_DEADLINE:?}: {:?}", ready().checks);
    }
    Ok(())
}

/// What a person who started it wants to know.
#[must_use]
pub fn banner(nodes: u16, origin: &str, addresses: Addresses, sample: Option<&str>) -> String {
    let Addresses { http, admin } = addresses;
    let path = sample.unwrap_or("{group}/{key}");
    let plural = if nodes == 1 { "" } else { "s" };
    format!(
        "gcache dev: {nodes} node{plural} and a frontend over {origin}

  HTTP     http://{http}/v1/{path}
  API      http://{http}/openapi.json
  metrics  http://{admin}/metrics

Try:
  curl -i http://{http}/v1/{path}              # a miss: loaded from the origin
  curl -i http://{http}/v1/{path}              # a hit: see Cache-Status
  curl -i -X DELETE http://{http}/v1/{path}    # forget it

Ctrl-C stops all of it.
"
    )
}
