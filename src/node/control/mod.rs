//! A node's part in the control plane, as others see it: what it is started with, and what it answers.
//!
//! `service` answers other nodes and operators; `followers` is the topology as those follow it that go by it;
//! `grant`, `operate` and `remove` are what members and operators ask of it if it leads. What a member does is in `member`, what a leader
//! does in `leader`.

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
use super::member::{Life, Renewer, Shared, nobody, stage};
use crate::clock::Clock;
use crate::config::Seed;
use crate::discovery::Discovery;
use crate::metrics::Registry;
use crate::node::me::Me;
use crate::raft::driver::Settings;
use crate::shutdown::Shutdown;
use crate::topology::commands::Joiner;

pub(super) use self::service::Service;

/// What a node's part in the control plane is made of.
pub struct Parts {
    /// What this node says of itself; its incarnation and nonce come from its directory.
    pub own: Joiner,
    /// The data directory, which nodes may share.
    pub root: PathBuf,
    /// Where nodes may be found: hints. This node's own address is among them if it may found, or among
    /// the addresses of a name.
    pub seeds: Vec<Seed>,
    /// Whether this node may found a cluster though the seeds do not share its data directory.
    pub is_founder: bool,
    /// The local address that connections leave from.
    pub from: IpAddr,
    /// When to take snapshots of the log.
    pub settings: Settings,
    /// How many members are to vote.
    pub voters: usize,
    /// Whether partitions are handed over warm.
    pub is_warm: bool,
    /// The Raft port, bound by the caller.
    pub listener: TcpListener,
    /// Whether others go on when this node stops: then it hands over what it leads.
    pub hands_over: bool,
}

/// Starts the node's part in the control plane. The service answers at once, at first that nothing is
/// known yet.
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
        views: watch::Sender::new(Arc::new(nobody())),
        root: OnceLock::new(),
        running: RwLock::new(None),
        renewer: Arc::new(Renewer::new(clock, registry)),
        paused: super::metrics::paused(registry),
        stage: stage(),
        shutdown: shutdown.clone(),
        waits: Mutex::new(None),
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
    shutdown.spawn(life.live(listener));
    Service::new(shared, inspector)
}
