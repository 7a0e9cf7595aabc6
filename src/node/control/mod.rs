//! A node's part in the control plane, as other nodes see it: how it is started, and what it answers.
//!
//! `service` answers other nodes and operators; `followers` sends the topology to the nodes that follow it;
//! `grant`, `operate` and `remove` serve members and operators while this node leads. The work of a member is
//! in `member`, that of a leader in `leader`.

mod followers;
mod grant;
mod operate;
mod remove;
mod service;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::inspect::Inspector;
use super::member::{Life, Obstacles, Renewer, Shared, empty_view};
use crate::clock::Clock;
use crate::config::Seed;
use crate::discovery::Discovery;
use crate::membership::leaving::Stage;
use crate::metrics::Registry;
use crate::node::me::Me;
use crate::raft::driver::Settings;
use crate::shutdown::Shutdown;
use crate::topology::commands::Joiner;

pub(super) use self::service::Service;

/// The parts of a node's control plane.
pub struct Parts {
    /// This node's description of itself. Its incarnation and nonce come from its directory.
    pub own: Joiner,
    /// The data directory, which several nodes may share.
    pub root: PathBuf,
    /// Hints where nodes may be found. If this node may found a cluster, its own address is among them, or
    /// among the addresses of a name.
    pub seeds: Vec<Seed>,
    /// Whether this node may found a cluster even though the seeds do not share its data directory.
    pub is_founder: bool,
    /// The local address that connections leave from.
    pub from: IpAddr,
    /// When to take snapshots of the log.
    pub settings: Settings,
    /// How many voters the cluster should have.
    pub voters: usize,
    /// Whether partitions are handed over warm.
    pub is_warm: bool,
    /// The Raft port, bound by the caller.
    pub listener: TcpListener,
    /// Whether other nodes go on when this one stops: then it hands its leadership over.
    pub hands_over: bool,
}

/// Starts the node's part in the control plane. The service answers at once; at first it answers that the
/// node belongs to no cluster yet.
pub(super) fn start(
    parts: Parts,
    clock: Clock,
    registry: &Registry,
    shutdown: &Shutdown,
    inspector: Inspector,
) -> Service {
    let Parts {
        own,
        root,
        seeds,
        is_founder,
        from,
        settings,
        voters,
        is_warm,
        listener,
        hands_over,
    } = parts;
    let shared = Arc::new(Shared {
        own,
        discovery: Discovery::start(seeds, from, registry, shutdown),
        is_founder,
        from,
        me: Me::default(),
        views: watch::Sender::new(Arc::new(empty_view())),
        root: OnceLock::new(),
        running: RwLock::new(None),
        renewer: Arc::new(Renewer::new(clock, registry)),
        paused: super::metrics::paused(registry),
        collected: super::metrics::collected(registry),
        stage: watch::Sender::new(Stage::Stays),
        shutdown: shutdown.clone(),
        has_been_up: watch::Sender::new(false),
        obstacles: Obstacles::register(registry),
        ended: Mutex::new(None),
    });
    let life = Life {
        shared: Arc::clone(&shared),
        path: root,
        clock,
        settings,
        voters,
        is_warm,
        hands_over,
        registry: registry.clone(),
        shutdown: shutdown.clone(),
    };
    shutdown.spawn_critical("membership", life.live(listener));
    Service::new(shared, inspector)
}
