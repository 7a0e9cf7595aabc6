//! The life of a node in the control plane: one membership after another, each with its Raft, until the
//! process stops or the log fails. What a node decides meanwhile is in [`crate::membership`].

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::admission::Admission;
use super::collect::collect;
use super::enter::enter;
use super::leave::leave_when_asked;
use super::outlive::{Outlived, outlive};
use super::raft_link::{RaftLink, follow, listings, reporter, show};
use super::renew::renew;
use super::seeds::look_for_peers;
use super::superseded::{ask_fate, give_up_log};
use super::{Running, Shared, pause, reason_of};
use crate::clock::Clock;
use crate::membership::Reason;
use crate::membership::announcing::{Announcing, Next};
use crate::membership::ending::{After, Ended, after};
use crate::membership::obstacle::Obstacle;
use crate::membership::seen::Leads;
use crate::membership::superseded::Fate;
use crate::metrics::Registry;
use crate::node::leader::Leader;
use crate::node::leader::step_down::step_down;
use crate::raft::directory::Directory;
use crate::raft::driver::{Driver, Settings as DriverSettings};
use crate::raft::latch::Root;
use crate::raft::rocks::RocksDisk;
use crate::raft::thread::{self, Standing};
use crate::raft::transport::book::Address;
use crate::raft::transport::{self, Full, Transport};
use crate::shutdown::Shutdown;
use crate::topology::commands::{Command, Joiner, Resume};
use crate::topology::leader::Settings;

/// How long the Raft thread may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long a member may take to be up before that is called an obstacle: an election and a commit are over by then.
const UP_PATIENCE: Duration = Duration::from_secs(5);

pub(in crate::node) struct Life {
    pub(in crate::node) shared: Arc<Shared>,
    pub(in crate::node) path: PathBuf,
    pub(in crate::node) clock: Clock,
    pub(in crate::node) settings: DriverSettings,
    pub(in crate::node) voters: usize,
    pub(in crate::node) is_warm: bool,
    /// Whether the node hands its leadership over before it stops.
    pub(in crate::node) hands_over: bool,
    pub(in crate::node) registry: Registry,
    pub(in crate::node) shutdown: Shutdown,
}

impl Life {
    /// Runs until shutdown, or until the node's control plane ends. That is reported and not fatal: the
    /// values in the node's memory are still worth serving.
    pub(in crate::node) async fn live(self, listener: TcpListener) {
        let listener = listener.into_std().map_err(reason_of);
        loop {
            let lived = match &listener {
                Ok(listener) => self.try_live(listener).await,
                Err(reason) => Err(reason.clone()),
            };
            let Err(reason) = lived else {
                break;
            };
            tracing::error!(error = %reason, "control plane ended");
            *self.shared.ended.lock() = Some(reason);
            let outlived = match after(self.shared.running()) {
                After::ServesOn(running) => {
                    // Its own directory: others that share the root look at the same moment.
                    let own = Directory::new(&self.path, &self.shared.own.name);
                    let path = own.map_or_else(|_| self.path.clone(), |own| own.path());
                    outlive(&self.shared, &running, &path).await
                }
                After::Stops => {
                    self.shutdown.begin();
                    Outlived::Stops
                }
            };
            if outlived == Outlived::Stops {
                break;
            }
        }
        // A node that has left the ring lives until it is stopped.
        self.shutdown.begun().await;
    }

    async fn try_live(&self, listener: &std::net::TcpListener) -> Result<(), Reason> {
        let root = Root::open(&self.path).map_err(reason_of)?;
        let directory = Directory::new(&self.path, &self.shared.own.name).map_err(reason_of)?;
        let root = self.shared.root.get_or_init(|| root);
        let admission = Admission {
            shared: &self.shared,
            root,
            directory: &directory,
            settings: &self.settings,
        };
        loop {
            let Some(driver) = admission.open().await? else {
                return Ok(());
            };
            // After a failed log the old membership was shown until here.
            if self.shared.running().is_some() {
                self.shared.forget();
                *self.shared.ended.lock() = None;
            }
            // The Raft port stays bound from one membership to the next.
            let own = listener.try_clone().and_then(TcpListener::from_std);
            match self.be_member(driver, own.map_err(reason_of)?).await? {
                Ended::Stopped => return Ok(()),
                Ended::Failed(reason) => return Err(reason),
                Ended::Sealed(fate) => {
                    self.shared.obstacles.note((&fate).into());
                    give_up_log(root, &directory, fate)?;
                }
            }
        }
    }

    /// Runs one membership until it ends. When this returns, the log is closed and its lock is free.
    async fn be_member(
        &self,
        driver: Driver<RocksDisk>,
        listener: TcpListener,
    ) -> Result<Ended, Reason> {
        let shared = &self.shared;
        // If other nodes go on, the network ends after the Raft thread, which sends messages until its end.
        let network = match self.hands_over {
            true => self.shutdown.apart(),
            false => self.shutdown.child(),
        };
        let tasks = self.shutdown.child();
        let (running, leader, transport) = self.run(driver, listener, &network)?;
        let (ident, raft) = (&running.ident, &running.raft);
        tracing::info!(node = %ident.node, cluster = %ident.cluster, "member of a cluster");
        shared.me.set(ident.node);
        *shared.running.write() = Some(Arc::clone(&running));
        let addresses = follow(raft.clone(), transport.clone(), tasks.clone());
        tasks.spawn_critical("follower of addresses", addresses);
        let shown = show(
            raft.clone(),
            ident.clone(),
            Arc::clone(shared),
            tasks.clone(),
        );
        tasks.spawn_critical("follower of the state", shown);
        tasks.spawn_critical("leader", leader.run(tasks.clone()));
        let collecting = collect(Arc::clone(shared), Arc::clone(&running), tasks.clone());
        tasks.spawn_critical("collector of directories", collecting);
        let mut end = raft.end();
        let ended = tokio::select! {
            () = self.shutdown.begun() => Ended::Stopped,
            true = renew(Arc::clone(shared), Arc::clone(&running)) => {
                Ended::Sealed(Fate::Removed(ident.node))
            }
            end = async { end.wait_for(Option::is_some).await.map(|end| end.clone()) } => {
                let end = end.ok().flatten();
                Ended::Failed(end.map_or("the raft thread is gone".into(), |end| end.to_string()))
            }
            fate = self.announce(&running, &transport) => fate.into(),
            () = Box::pin(leave_when_asked(&self.shared, &running)) => Ended::Stopped,
        };
        match ended {
            Ended::Failed(_) => {}
            Ended::Stopped if self.hands_over => step_down(ident.node, raft).await,
            Ended::Stopped => {}
            Ended::Sealed(_) => shared.forget(),
        }
        raft.stop(STOP_PATIENCE).await;
        tasks.finish(STOP_PATIENCE).await;
        network.finish(STOP_PATIENCE).await;
        Ok(ended)
    }

    /// Starts the Raft thread and its transport.
    fn run(
        &self,
        driver: Driver<RocksDisk>,
        listener: TcpListener,
        network: &Shutdown,
    ) -> Result<(Arc<Running>, Leader, Transport), Reason> {
        let ident = driver.ident().clone();
        let link = Arc::new(OnceLock::new());
        let post = RaftLink::new(Arc::clone(&link));
        let raft = thread::start(driver, &self.registry, post).map_err(reason_of)?;
        let own = &self.shared.own;
        let inbox = raft.inbox();
        let parts = transport::Parts {
            cluster: ident.cluster,
            node: ident.node,
            from: listener.local_addr().map_err(reason_of)?.ip(),
            listener,
            address: Some(Address {
                host: own.host.to_string(),
                port: own.raft_port,
            }),
            inbox: Arc::new(move |envelope| match inbox.offer(envelope) {
                true => Ok(()),
                false => Err(Full),
            }),
            report: reporter(raft.inbox()),
            shutdown: network.clone(),
        };
        let transport = Transport::start(parts, &self.registry);
        transport.set_addresses(listings(&raft.state().borrow()));
        let _first = link.set(transport.clone());
        let discovery = self.shared.discovery.clone();
        let settings = Settings::new(self.voters, self.is_warm);
        let (leader, handle) =
            Leader::new(ident.node, raft.clone(), self.clock, settings, discovery);
        let running = Arc::new(Running {
            ident,
            raft,
            leader: handle,
            refused: Mutex::default(),
        });
        Ok((running, leader, transport))
    }

    /// Announces that this node has started again and its addresses. Ends only if this node learns that the
    /// other members went on without it.
    async fn announce(&self, running: &Running, transport: &Transport) -> Fate {
        let ident = &running.ident;
        let own = Joiner {
            incarnation: ident.incarnation,
            ..self.shared.own.clone()
        };
        // The nonce of `own` is not used: the member keeps its directory's.
        let resume = Command::Resume(Resume {
            id: ident.node,
            node: own,
        });
        let mut announcing = Announcing::new(ident.node, ident.incarnation);
        let began = Instant::now();
        loop {
            let state = running.raft.state().borrow().clone();
            let refused = match announcing.next(&state, running.leads()) {
                Next::LookForPeers => {
                    look_for_peers(&self.shared, running, transport).await;
                    None
                }
                Next::AskFate => {
                    if let Some(fate) = ask_fate(&self.shared, ident).await {
                        return fate;
                    }
                    None
                }
                Next::CommitHere => running.admit(&resume, ident.node).await.err(),
                Next::AskOthers => {
                    let targets = self.shared.seeds_and_members(&state);
                    let asked = enter(&self.shared, ident.cluster, &resume, targets).await;
                    asked.err()
                }
                Next::Pause => {
                    pause_or_other_leader(running).await;
                    None
                }
                Next::Wait(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    None
                }
            };
            if let Some(obstacle) = refused {
                announcing.refused();
                self.shared.obstacles.note(obstacle);
            } else if began.elapsed() >= UP_PATIENCE {
                self.note_silent_log(running);
            }
        }
    }

    /// Notes that nothing comes of this node's start, unless something has.
    fn note_silent_log(&self, running: &Running) {
        let (shared, own) = (&self.shared, &self.shared.own);
        if !*shared.has_been_up.borrow() && shared.obstacles.latest().is_none() {
            let place = format!("{}:{}", own.host, own.raft_port);
            let knows_leader = running.leads() != Leads::Nobody;
            shared
                .obstacles
                .note(Obstacle::of_silent_log(&place, knows_leader));
        }
    }
}

/// Waits for a random pause, or until another member leads.
async fn pause_or_other_leader(running: &Running) {
    let mut standing = running.raft.standing();
    let leader = standing.borrow_and_update().role.leader;
    let is_other = |standing: &Standing| standing.role.leader != leader;
    tokio::select! {
        () = pause() => {}
        _ = standing.wait_for(is_other) => {}
    }
}
