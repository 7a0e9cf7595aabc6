//! A node as a member: from a data directory to a place in a cluster, and back out of it.
//!
//! `admission` opens the log of this member, for which it founds or joins a cluster; `life` runs its Raft until that ends;
//! `seeds` is what it asks
//! before that, `enter` how it asks the leader to let it in, and `superseded` what became of its cluster while it was away; `proposals` is what its Raft is asked to
//! commit; `raft_link` lies between the Raft
//! thread and the transport; `renew` keeps its lease running; `leave` gives away what it owns before it stops, and
//! `outlive` serves on without a log. The data plane goes on whatever becomes of all this.

mod admission;
mod enter;
mod leave;
mod life;
mod outlive;
pub(super) mod proposals;
mod raft_link;
mod renew;
mod seeds;
mod superseded;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::Gauge;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::leader::handle::LeaderHandle;
use crate::config::Seed;
use crate::discovery::Discovery;
use crate::ids::{ClusterId, NodeId};
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
pub(super) use self::leave::{Stage, stage};
pub(super) use self::life::Life;
pub(super) use self::renew::Renewer;

/// Why a node takes no part, or not yet.
type Reason = String;

/// What the tasks and the service of one node have in common.
pub(in crate::node) struct Shared {
    pub(in crate::node) own: Joiner,
    /// Where nodes may be found now. Of a silent member, `lists` tells a leader whether it may come back.
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
    /// Whether it is about to stop.
    pub(in crate::node) stage: watch::Sender<Stage>,
    pub(in crate::node) shutdown: Shutdown,
    /// Why this node is in no cluster yet.
    pub(in crate::node) waits: Mutex<Option<String>>,
    /// Why there is no control plane here any more.
    pub(in crate::node) ended: Mutex<Option<String>>,
}

/// A node that has founded or joined a cluster.
pub(in crate::node) struct Running {
    pub(in crate::node) ident: Ident,
    pub(in crate::node) raft: Handle,
    /// What it does while it leads.
    pub(in crate::node) leader: LeaderHandle,
    /// Whom it refused of late, and why: at most [`proposals::REFUSALS_MAX`], the newest last.
    pub(in crate::node) refused: Mutex<VecDeque<(String, String)>>,
}

impl Shared {
    /// The node's membership, if it has one now.
    pub(in crate::node) fn running(&self) -> Option<Arc<Running>> {
        self.running.read().clone()
    }

    /// This node is no member any more, and knows nothing of who owns what.
    pub(in crate::node) fn forget(&self) {
        *self.running.write() = None;
        self.renewer.end();
        self.me.set(NodeId(0));
        self.views.send_replace(Arc::new(nobody()));
    }

    /// The seeds' addresses that are known now, but for this node's.
    pub(in crate::node) fn others(&self) -> Vec<Target> {
        let places = self.discovery.places().into_iter();
        let others = places.filter(|place| !self.is_own(place));
        others.map(|seed| Target::at(seed, self.from)).collect()
    }

    /// Whether a place is where this node is.
    pub(in crate::node) fn is_own(&self, place: &Seed) -> bool {
        place.host.as_str() == &*self.own.host && place.port == self.own.grpc_port
    }

    /// The seeds and the members that `state` knows, but for this node.
    pub(in crate::node) fn everybody(&self, state: &State) -> Vec<Target> {
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
    pub(in crate::node) fn target_of(&self, member: &MemberRecord) -> Target {
        Target::of(&member.member(), self.from)
    }
}

/// The topology of a node that belongs to no cluster yet.
pub(in crate::node) fn nobody() -> View {
    let nobody = State::unknown(ClusterId::default()).view();
    nobody.expect("a topology of nobody is a view")
}

/// Between two rounds of questions, at most; half of it at least.
const ASK_EVERY: Duration = Duration::from_millis(400);

/// Waits between two rounds of questions.
async fn pause() {
    tokio::time::sleep(jittered(ASK_EVERY)).await;
}

/// An error as the reason that is shown.
fn reason_of(error: impl std::fmt::Display) -> Reason {
    error.to_string()
}
