//! A node's part in the control plane: from a data directory to a member, and what a leader does.
//!
//! `life` finds out who this node is, founds or joins a cluster, and runs its Raft; `seeds` is whom it asks, and
//! `fate` what it learns that was away meanwhile; `renew` keeps its lease running; `office` is what a
//! leader does about leases and members, `decide` how it decides, and `remove` what it does when an operator
//! wants a member gone; `service` answers other nodes. The data plane goes on whatever becomes of all this.

mod carrier;
mod decide;
mod fate;
mod followers;
mod grant;
mod hand_over;
mod leave;
mod life;
mod office;
mod outlive;
mod removal;
mod remove;
mod renew;
mod seeds;
mod service;
mod vote;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use metrics::Gauge;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Me;
use super::inspect::Inspector;
use crate::clock::Clock;
use crate::config::Seed;
use crate::discovery::Discovery;
use crate::ids::{ClusterId, NodeId};
use crate::metrics::Registry;
use crate::raft::driver::Settings;
use crate::raft::latch::Root;
use crate::raft::log::Ident;
use crate::raft::thread::Handle;
use crate::rpc::pipeline::Target;
use crate::shutdown::Shutdown;
use crate::topology::commands::Joiner;
use crate::topology::model::member::MemberRecord;
use crate::topology::state::State;
use crate::topology::view::View;

use self::followers::Followers;
pub use self::leave::Leaver;
use self::leave::Stage;
pub(super) use self::renew::Renewer;
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

/// What the tasks and the service of one node have in common.
struct Shared {
    own: Joiner,
    /// Where nodes may be found now. Of a silent member, `lists` tells a leader whether it may come back.
    discovery: Discovery,
    is_founder: bool,
    from: IpAddr,
    /// This node's id, once it has one.
    me: Me,
    /// The topology as this node has applied it.
    views: watch::Sender<Arc<View>>,
    root: OnceLock<Root>,
    /// Its membership, while it has one.
    running: RwLock<Option<Arc<Running>>>,
    /// Its lease.
    renewer: Arc<Renewer>,
    /// Who follows the topology through this node.
    followers: Arc<Followers>,
    /// Whether an operator has paused the ring, as a metric.
    paused: Gauge,
    /// Whether it is about to stop.
    stage: watch::Sender<Stage>,
    shutdown: Shutdown,
    /// Why this node is in no cluster yet.
    waits: Mutex<Option<String>>,
    /// Why there is no control plane here any more.
    ended: Mutex<Option<String>>,
}

/// A node that has founded or joined a cluster.
struct Running {
    ident: Ident,
    raft: Handle,
    /// What it does while it leads.
    office: office::Asker,
    /// Whom it refused of late, and why: at most [`service::REFUSALS_MAX`], the newest last.
    refused: Mutex<VecDeque<(String, String)>>,
}

impl Shared {
    /// The node's membership, if it has one now.
    fn running(&self) -> Option<Arc<Running>> {
        self.running.read().clone()
    }

    /// This node is no member any more, and knows nothing of who owns what.
    fn forget(&self) {
        *self.running.write() = None;
        self.renewer.end();
        self.me.set(NodeId(0));
        self.views.send_replace(Arc::new(nobody()));
    }

    /// The seeds' addresses that are known now, but for this node's.
    fn others(&self) -> Vec<Target> {
        let places = self.discovery.places().into_iter();
        let others = places.filter(|place| !self.is_own(place));
        let target = |place: Seed| Target {
            host: place.host,
            port: place.port,
            from: self.from,
        };
        others.map(target).collect()
    }

    /// Whether a place is where this node is.
    fn is_own(&self, place: &Seed) -> bool {
        place.host.as_str() == &*self.own.host && place.port == self.own.grpc_port
    }

    /// The seeds and the members that `state` knows, but for this node.
    fn everybody(&self, state: &State) -> Vec<Target> {
        let mut targets = self.others();
        let members = state
            .members()
            .filter(|member| member.name != self.own.name);
        for target in members.map(|member| self.target_of(member)) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    /// Where a member answers, as its row has it.
    fn target_of(&self, member: &MemberRecord) -> Target {
        Target {
            host: member.host.to_string(),
            port: member.grpc_port,
            from: self.from,
        }
    }
}

/// The topology of a node that belongs to no cluster yet.
fn nobody() -> View {
    let nobody = State::unknown(ClusterId::default()).view();
    nobody.expect("a topology of nobody is a view")
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
        followers: Arc::default(),
        paused: super::metrics::paused(registry),
        stage: leave::stage(),
        shutdown: shutdown.clone(),
        waits: Mutex::new(None),
        ended: Mutex::new(None),
    });
    let life = life::Life {
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
