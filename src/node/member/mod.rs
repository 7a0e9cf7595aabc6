//! A node as a member: from a data directory into a cluster, and out of it again.
//!
//! What a node decides about its membership is pure, in [`crate::membership`]; this module sees, waits, sends
//! and logs. `life` runs one membership after another, each with its Raft. `admission` opens the member's log,
//! for which it founds or joins a cluster; `seeds` asks the seeds before that; `enter` asks the leader to let
//! the node in; `superseded` asks what became of the cluster while the node was away. `proposals` commits what
//! members ask of this node while it leads. `raft_link` connects the Raft thread with the transport. `renew`
//! keeps the lease running. `obstacles` has what keeps the node from being up. `collect` deletes what removed
//! members have left. `leave` gives away what the node owns before it stops, and `outlive` serves on
//! without a log. The data plane goes on, whatever happens here.

mod admission;
mod collect;
mod enter;
mod leave;
mod life;
mod obstacles;
mod outlive;
pub(super) mod proposals;
mod raft_link;
mod renew;
mod seeds;
pub(super) mod superseded;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::leader::handle::LeaderHandle;
use crate::config::Seed;
use crate::discovery::Discovery;
use crate::ids::{ClusterId, NodeId};
use crate::membership::Reason;
use crate::membership::leaving::Stage;
use crate::membership::seen::Leads;
use crate::net::jittered;
use crate::node::me::Me;
use crate::raft::latch::Root;
use crate::raft::log::Ident;
use crate::raft::thread::Handle;
use crate::rpc::pipeline::Target;
use crate::shutdown::Shutdown;
use crate::topology::commands::Joiner;
use crate::topology::model::member::MemberRecord;
use crate::topology::state::State;
use crate::topology::view::View;

pub(super) use self::leave::Leaver;
pub(super) use self::life::Life;
pub(super) use self::obstacles::Obstacles;
pub(super) use self::renew::Renewer;

/// The state that the control plane's tasks and its service share.
pub(in crate::node) struct Shared {
    pub(in crate::node) own: Joiner,
    /// Finds the addresses of nodes. A leader uses `lists` to judge whether a silent member may come back.
    pub(in crate::node) discovery: Discovery,
    pub(in crate::node) is_founder: bool,
    pub(in crate::node) from: IpAddr,
    /// This node's id, once it has one.
    pub(in crate::node) me: Me,
    /// The topology as this node has applied it.
    pub(in crate::node) views: watch::Sender<Arc<View>>,
    pub(in crate::node) root: OnceLock<Root>,
    /// Its membership, while it has one.
    pub(in crate::node) running: RwLock<Option<Arc<Running>>>,
    /// Its lease.
    pub(in crate::node) renewer: Arc<Renewer>,
    /// Whether an operator has paused the ring, as a metric.
    pub(in crate::node) paused: Gauge,
    /// Directories of removed members that this node has deleted.
    pub(in crate::node) collected: Counter,
    /// How far the node is with leaving.
    pub(in crate::node) stage: watch::Sender<Stage>,
    pub(in crate::node) shutdown: Shutdown,
    /// Whether this node was up in its cluster at some time since it became a member.
    pub(in crate::node) has_been_up: watch::Sender<bool>,
    /// What keeps this node from being up.
    pub(in crate::node) obstacles: Obstacles,
    /// The reason why this node's control plane has ended.
    pub(in crate::node) ended: Mutex<Option<Reason>>,
}

/// A node that has founded or joined a cluster.
pub(in crate::node) struct Running {
    pub(in crate::node) ident: Ident,
    pub(in crate::node) raft: Handle,
    /// Reaches the leader of this node, which works while the node leads.
    pub(in crate::node) leader: LeaderHandle,
    /// The names of nodes that it refused lately, with the reasons: at most `proposals::REFUSALS_MAX`, the
    /// newest last.
    pub(in crate::node) refused: Mutex<VecDeque<(String, String)>>,
}

impl Running {
    /// The leader as this member knows it.
    fn leads(&self) -> Leads {
        self.raft.standing().borrow().role.into()
    }
}

impl Shared {
    /// The node's membership, if it has one now.
    pub(in crate::node) fn running(&self) -> Option<Arc<Running>> {
        self.running.read().clone()
    }

    /// Makes this node no member any more: without an id, a lease or a topology.
    pub(in crate::node) fn forget(&self) {
        *self.running.write() = None;
        self.renewer.end();
        self.has_been_up.send_replace(false);
        self.me.set(NodeId(0));
        self.views.send_replace(Arc::new(empty_view()));
    }

    /// The known addresses of the seeds, without this node's.
    pub(in crate::node) fn others(&self) -> Vec<Target> {
        let places = self.discovery.places().into_iter();
        let others = places.filter(|place| !self.is_own(place));
        others.map(|seed| Target::at(seed, self.from)).collect()
    }

    /// Whether `place` is this node's address.
    pub(in crate::node) fn is_own(&self, place: &Seed) -> bool {
        place.host.as_str() == &*self.own.host && place.port == self.own.grpc_port
    }

    /// The addresses of the seeds and of the members in `state`, without this node's.
    pub(in crate::node) fn seeds_and_members(&self, state: &State) -> Vec<Target> {
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

    /// The gRPC address of a member, as the state has it.
    pub(in crate::node) fn target_of(&self, member: &MemberRecord) -> Target {
        Target::of(&member.member(), self.from)
    }
}

/// The view of a node that belongs to no cluster yet: no members.
pub(in crate::node) fn empty_view() -> View {
    let empty = State::unknown(ClusterId::default()).view();
    empty.expect("a topology without members is a view")
}

/// The longest pause between two rounds of questions; the shortest is half of it.
const ASK_EVERY: Duration = Duration::from_millis(400);

/// Waits for a random pause between two rounds of questions.
async fn pause() {
    tokio::time::sleep(jittered(ASK_EVERY)).await;
}

/// An error as a reason to show.
fn reason_of(error: impl std::fmt::Display) -> Reason {
    error.to_string()
}
