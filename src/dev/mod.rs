//! `gcache dev`: a whole cluster in one process, for a laptop.
//!
//! Its nodes are the very nodes that `gcache node` runs: each has its own gRPC and Raft ports, they agree
//! with each other over them, and an operator's commands work on them. What they share is the process: an
//! origin, a data directory, one admin port.

mod form;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};

use self::form::{Forming, name};
use crate::admin::{self, Probe};
use crate::clock::Clock;
use crate::config::{Config, Seed};
use crate::ids::Incarnation;
use crate::metrics::Registry;
use crate::net::{BACKLOG, listen};
use crate::origin::Origin;
use crate::raft::driver::Settings;
use crate::raft::latch::Root;
use crate::rpc::pipeline::Target;
use crate::shutdown::Shutdown;
use crate::telemetry::LostLines;
use crate::topology::commands::{Agreed, COMMAND_VERSION, Joiner};
use crate::topology::model::group::GroupSpec;
use crate::topology::model::member::{MAX_WEIGHT, Zone};
use crate::{frontend, node};

/// The most nodes one process takes.
pub const MAX_NODES: u16 = 32;

/// How long it may take until everything serves: a new cluster takes about a second, and one that was
/// killed waits besides for what its disks owe.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Members are spread over this many made-up zones.
const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// Seeds that the banner names: one would do, and a few more may outlive it.
const SEEDS_SHOWN: usize = 3;

/// What to start.
pub struct Parts {
    /// How many nodes, 1 to [`MAX_NODES`].
    pub nodes: u16,
    /// What all of them load from.
    pub origin: Arc<dyn Origin>,
    /// The groups that there are to be; others that the cluster has already stay.
    pub groups: Vec<(String, GroupSpec)>,
    /// The directory of all nodes' logs: a cluster that is there goes on, else one is founded.
    pub data_dir: PathBuf,
    /// The date, as the revision of the groups keeps it for people.
    pub at_unix_ms: u64,
    /// The lines of the log that were lost.
    pub lost: LostLines,
    /// When to stop. Every task belongs to it.
    pub shutdown: Shutdown,
}

/// Where a running `dev` listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The frontend's HTTP.
    pub http: SocketAddr,
    /// Metrics and health of everything.
    pub admin: SocketAddr,
    /// The gRPC of each node, in their order.
    pub nodes: Vec<SocketAddr>,
}

/// The ports of one node.
struct Ports {
    grpc: TcpListener,
    raft: TcpListener,
}

impl Ports {
    fn bind(inside: IpAddr) -> anyhow::Result<Self> {
        Ok(Self {
            grpc: listen((inside, 0).into(), "gRPC", BACKLOG)?,
            raft: listen((inside, 0).into(), "Raft", BACKLOG)?,
        })
    }
}

/// Starts nodes on free ports, a frontend and one admin port. Returns once all members are up, own their
/// share and may act for it, enough of them vote, the groups are there and the frontend serves them.
///
/// # Errors
/// A taken port; a data directory of a larger cluster, or one that another process holds; or a cluster
/// that does not come about within 30 s, with what it lacked.
pub async fn start(config: &Config, parts: Parts) -> anyhow::Result<Addresses> {
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
    let inside = inside(host);
    let ports = (0..parts.nodes).map(|_| Ports::bind(inside));
    let ports: Vec<Ports> = ports.collect::<anyhow::Result<_>>()?;
    let nodes = ports.iter().map(|ports| ports.grpc.local_addr());
    let addresses = Addresses {
        http: http.local_addr()?,
        admin: admin.local_addr()?,
        nodes: nodes.collect::<Result<_, _>>()?,
    };
    let world = World {
        config,
        inside,
        data_dir: &parts.data_dir,
        origin: Arc::clone(&parts.origin),
        registry: Registry::new(),
        clock: Clock::start(),
        shutdown: parts.shutdown.clone(),
        addresses: &addresses,
    };
    world.origin.register(&world.registry);
    parts.lost.register(&world.registry);
    let forming = Forming {
        nodes: world.targets(),
        data_dir: &parts.data_dir,
    };
    let deadline = Instant::now() + START_DEADLINE;
    let mut ports = ports.into_iter();
    // The founder is a cluster before the others ask for one, so that they need not ask twice. The nodes
    // of a cluster that is there already can do nothing before most of them are.
    let is_founded = Root::peek(&parts.data_dir)?.is_some();
    let first_of_all = if is_founded { None } else { ports.next() };
    let next = if is_founded { 1 } else { 2 };
    if let Some(ports) = first_of_all {
        // It would ask ports that nobody serves yet, and wait for them in vain.
        let own = world.seeds().into_iter().take(1).collect();
        world.node(1, ports, own)?;
        by(deadline, &forming, forming.founded()).await?;
    }
    for (number, ports) in (next..).zip(ports) {
        world.node(number, ports, world.seeds())?;
    }
    let ready = world.frontend(http);
    let admin_task = admin::run(
        admin,
        world.registry.clone(),
        Arc::clone(&ready),
        world.shutdown.clone(),
    );
    world.shutdown.spawn_critical("admin port", admin_task);
    let rest = Box::pin(async {
        forming.formed().await?;
        forming.apply(&parts.groups, parts.at_unix_ms).await?;
        forming.served(&ready).await
    });
    by(deadline, &forming, rest).await?;
    Ok(addresses)
}

/// Returns where nodes listen of a process that listens at `host`: an address that they can give each other.
fn inside(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    }
}

/// Waits for one step of the start.
async fn by(
    deadline: Instant,
    forming: &Forming<'_>,
    step: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    match timeout_at(deadline, step).await {
        Ok(done) => done,
        Err(_) => bail!(
            "not ready after {START_DEADLINE:?}: {}",
            forming.lacks().await
        ),
    }
}

/// What every role of the process shares.
struct World<'a> {
    config: &'a Config,
    /// Where its nodes listen and connect from.
    inside: IpAddr,
    data_dir: &'a Path,
    origin: Arc<dyn Origin>,
    registry: Registry,
    clock: Clock,
    shutdown: Shutdown,
    addresses: &'a Addresses,
}

impl World<'_> {
    fn seeds(&self) -> Vec<Seed> {
        let seed = |address: &SocketAddr| Seed {
            host: address.ip().to_string(),
            port: address.port(),
        };
        self.addresses.nodes.iter().map(seed).collect()
    }

    fn targets(&self) -> Vec<Target> {
        let seeds = self.seeds().into_iter();
        seeds.map(|seed| Target::at(seed, self.inside)).collect()
    }

    fn node(&self, number: u16, ports: Ports, seeds: Vec<Seed>) -> anyhow::Result<()> {
        let own = self.own(number, &ports)?;
        let registry = self.registry.labelled("node", &own.name);
        registry.describe_process("node", own.zone.as_str());
        let parts = node::Parts {
            place: node::Place::Agreed(Box::new(self.control(own, ports.raft, seeds))),
            listener: ports.grpc,
            origin: Arc::clone(&self.origin),
            registry,
            clock: self.clock,
            shutdown: self.shutdown.clone(),
        };
        // What the process waits for at its start is more than a node alone can say.
        let (_ready, _leaver) = node::start(self.config, parts);
        Ok(())
    }

    /// Returns what a node says of itself.
    fn own(&self, number: u16, ports: &Ports) -> anyhow::Result<Joiner> {
        let mebibytes = u32::try_from(self.config.node.memory.0 >> 20).unwrap_or(u32::MAX);
        Ok(Joiner {
            name: name(number).into(),
            host: self.inside.to_string().into(),
            raft_port: ports.raft.local_addr()?.port(),
            grpc_port: ports.grpc.local_addr()?.port(),
            admin_port: self.addresses.admin.port(),
            zone: Zone::new(ZONES[usize::from(number - 1) % ZONES.len()]),
            weight: mebibytes.clamp(1, MAX_WEIGHT),
            incarnation: Incarnation(0),
            version: COMMAND_VERSION,
            settings: Agreed::ours(),
            nonce: 0,
            leaves_on_term: false,
        })
    }

    fn control(
        &self,
        own: Joiner,
        listener: TcpListener,
        seeds: Vec<Seed>,
    ) -> node::control::Parts {
        node::control::Parts {
            is_founder: *own.name == *name(1),
            own,
            root: self.data_dir.to_owned(),
            seeds,
            from: self.inside,
            settings: Settings {
                snapshot_every: self.config.raft.snapshot_entries,
                keep: self.config.raft.kept_entries,
                ..Settings::default()
            },
            voters: self.config.raft.voters,
            is_warm: self.config.transfer.enabled,
            listener,
            // All of them stop at once.
            hands_over: false,
        }
    }

    fn frontend(&self, listener: TcpListener) -> Probe {
        let registry = self.registry.labelled("node", "frontend");
        registry.describe_process("frontend", self.config.process.zone());
        let parts = frontend::Parts {
            listener,
            views: frontend::Views::Followed(self.seeds()),
            registry,
            clock: self.clock,
            shutdown: self.shutdown.clone(),
        };
        frontend::start(self.config, parts)
    }
}

/// Returns what a person who started it wants to know. `sample` is a path that has a value, `data` says where
/// the nodes' logs are.
#[must_use]
pub fn banner(origin: &str, addresses: &Addresses, sample: Option<&str>, data: &str) -> String {
    let Addresses { http, admin, nodes } = addresses;
    let path = sample.unwrap_or("{group}/{key}");
    let plural = if nodes.len() == 1 { "" } else { "s" };
    let seeds = nodes.iter().take(SEEDS_SHOWN).map(SocketAddr::to_string);
    let seeds = seeds.collect::<Vec<_>>().join(",");
    format!(
        "gcache dev: {count} node{plural} and a frontend over {origin}

  HTTP     http://{http}/v1/{path}
  API      http://{http}/openapi.json
  metrics  http://{admin}/metrics
  data     {data}

Try:
  curl -i http://{http}/v1/{path}              # a miss: loaded from the origin
  curl -i http://{http}/v1/{path}              # a hit: see Cache-Status
  curl -i -X DELETE http://{http}/v1/{path}    # forget it
  gcache cluster status --seeds {seeds}    # its nodes agree by Raft

Ctrl-C stops all of it.
",
        count = nodes.len(),
    )
}
