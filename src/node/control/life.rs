//! The life of a node in the control plane: its directory, its cluster, its Raft, and its end.
//!
//! A directory with a log resumes; an empty one founds a cluster or joins one. Founding needs most of
//! the seeds to share this node's data directory, since the latch in it is what keeps two founders
//! apart; then the cluster is founded completely in the own directory, and published with one link(2).

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prost::bytes::Bytes;
use tokio::net::TcpListener;

use super::carrier::{Carrier, follow, listings, reporter, show};
use super::fate::Fate;
use super::hand_over::hand_over;
use super::office::Office;
use super::renew::renew;
use super::{Running, Shared};
use crate::clock::Clock;
use crate::ids::{ClusterId, NodeId};
use crate::metrics::Registry;
use crate::raft::directory::Directory;
use crate::raft::driver::{Driver, Settings};
use crate::raft::latch::{Published, Root};
use crate::raft::log::OpenError;
use crate::raft::rocks::{RocksDisk, RocksError};
use crate::raft::thread::{self, Standing};
use crate::raft::transport::book::Address;
use crate::raft::transport::{self, Full, Transport};
use crate::rpc::control::{enter, from_wire, to_wire};
use crate::rpc::control_proto::enter_reply::Outcome as Reply;
use crate::rpc::control_proto::{EnterRequest, Entered};
use crate::rpc::pipeline::Target;
use crate::shutdown::Shutdown;
use crate::topology::commands::{Command, Joiner, Resume};
use crate::topology::state::{Founding, State};

/// How long another node may take to answer a question.
const ASK_PATIENCE: Duration = Duration::from_secs(4);

/// Between two rounds of questions, at most; half of it at least.
const ASK_EVERY: Duration = Duration::from_millis(400);

/// How often a member that knows no leader asks whether its cluster was recovered without it.
const FATE_EVERY: Duration = Duration::from_secs(10);

/// How long the Raft thread may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Life {
    pub(super) shared: Arc<Shared>,
    pub(super) path: PathBuf,
    pub(super) clock: Clock,
    pub(super) settings: Settings,
    pub(super) voters: usize,
    pub(super) is_warm: bool,
    /// Whether it hands over what it leads before it stops.
    pub(super) hands_over: bool,
    pub(super) registry: Registry,
    pub(super) shutdown: Shutdown,
}

/// How a membership ended.
enum Ended {
    /// The process is about to stop.
    Stopped,
    /// The others went on without this member: its log is worth nothing any more.
    Sealed(Fate),
    /// Its Raft ended.
    Failed(Told),
}

/// Why a node takes no part any more.
pub(super) type Told = String;

impl Life {
    /// Lives until shutdown, or until the control plane ends here, which is told and not fatal: what the
    /// node holds in memory is still worth serving.
    pub(super) async fn live(self, listener: TcpListener) {
        if let Err(told) = self.try_live(listener).await {
            tracing::error!(error = %told, "control plane ended");
            *self.shared.ended.lock() = Some(told);
            match self.shared.running() {
                Some(running) => self.outlive(&running).await,
                // It is nobody's member and cannot become one: whoever runs it has to know.
                None => self.shutdown.begin(),
            }
        }
    }

    async fn try_live(&self, listener: TcpListener) -> Result<(), Told> {
        let root = Root::open(&self.path).map_err(told)?;
        let directory = Directory::new(&self.path, &self.shared.own.name).map_err(told)?;
        let root = self.shared.root.get_or_init(|| root);
        let listener = listener.into_std().map_err(told)?;
        loop {
            let Some(driver) = self.open(root, &directory).await? else {
                return Ok(());
            };
            // The port stays taken from one membership to the next.
            let own = listener.try_clone().and_then(TcpListener::from_std);
            match self.be_member(driver, own.map_err(told)?).await? {
                Ended::Stopped => return Ok(()),
                Ended::Failed(told) => return Err(told),
                Ended::Sealed(fate) => {
                    fate.follow(root)?;
                    directory.set_aside(&fate.to_string()).map_err(told)?;
                }
            }
        }
    }

    /// Is a member until that ends; then the log is closed and its lock free.
    async fn be_member(
        &self,
        driver: Driver<RocksDisk>,
        listener: TcpListener,
    ) -> Result<Ended, Told> {
        let shared = &self.shared;
        // The network ends after the Raft thread, which has something to say to the end if anybody stays.
        let network = match self.hands_over {
            true => Shutdown::new(),
            false => self.shutdown.child(),
        };
        let tasks = self.shutdown.child();
        let (running, office, transport) = self.run(driver, listener, &network)?;
        let (ident, raft) = (&running.ident, &running.raft);
        tracing::info!(node = %ident.node, cluster = %ident.cluster, "member of a cluster");
        shared.me.set(ident.node);
        *shared.running.write() = Some(Arc::clone(&running));
        tasks.spawn(follow(raft.clone(), transport.clone(), tasks.clone()));
        tasks.spawn(show(raft.clone(), Arc::clone(shared), tasks.clone()));
        tasks.spawn(office.run(tasks.clone()));
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
            fate = self.announced(&running, &transport) => Ended::Sealed(fate),
            () = Box::pin(self.leave_when_asked(&running)) => Ended::Stopped,
        };
        match ended {
            Ended::Failed(_) => {}
            Ended::Stopped if self.hands_over => hand_over(ident.node, raft).await,
            Ended::Stopped => {}
            Ended::Sealed(_) => shared.forget(),
        }
        raft.stop(STOP_PATIENCE).await;
        tasks.finish(STOP_PATIENCE).await;
        network.finish(STOP_PATIENCE).await;
        Ok(ended)
    }

    /// The driver of this node's log, which is made first if there is none. None if shutdown began.
    async fn open(
        &self,
        root: &Root,
        directory: &Directory,
    ) -> Result<Option<Driver<RocksDisk>>, Told> {
        loop {
            directory.create().map_err(told)?;
            let disk = match RocksDisk::open(&directory.log(), &self.shutdown).await {
                Ok(disk) => disk,
                Err(RocksError::Stopped { .. }) => return Ok(None),
                Err(error @ RocksError::Corrupt { .. }) => {
                    directory.set_aside(&error.to_string()).map_err(told)?;
                    continue;
                }
                Err(error) => return Err(told(error)),
            };
            let settings = Settings {
                seed: fastrand::u64(..),
                ..self.settings.clone()
            };
            match Driver::open(disk, settings) {
                Ok(driver) if self.is_ours(root, &driver)? => {
                    self.assert_own(directory, &driver)?;
                    let fate = tokio::select! {
                        fate = self.fate(driver.ident().clone()) => fate,
                        () = self.shutdown.begun() => return Ok(None),
                    };
                    let Some(fate) = fate else {
                        return Ok(Some(driver));
                    };
                    drop(driver);
                    fate.follow(root)?;
                    directory.set_aside(&fate.to_string()).map_err(told)?;
                }
                Ok(driver) => {
                    let found = driver.ident().cluster;
                    drop(driver);
                    let reason = format!("the log is of cluster {found}, the directory of another");
                    directory.set_aside(&reason).map_err(told)?;
                }
                Err(OpenError::Empty) => {
                    let disk = RocksDisk::open(&directory.log(), &self.shutdown).await;
                    let is_ours = tokio::select! {
                        begun = self.begin(root, directory, disk.map_err(told)?) => begun?,
                        () = self.shutdown.begun() => return Ok(None),
                    };
                    if !is_ours {
                        directory.discard().map_err(told)?;
                    }
                }
                Err(error @ OpenError::Corrupt(_)) => {
                    directory.set_aside(&error.to_string()).map_err(told)?;
                }
                Err(error) => return Err(told(error)),
            }
        }
    }

    /// Refuses a log that is another member's: two nodes whose directories were swapped would lead and
    /// be sought at each other's addresses.
    fn assert_own(&self, directory: &Directory, driver: &Driver<RocksDisk>) -> Result<(), Told> {
        let id = driver.ident().node;
        let own = &self.shared.own.name;
        match driver.state().member(id) {
            Some(member) if member.name != *own => Err(format!(
                "{} is the directory of member {id}, \"{}\", and not of \"{own}\": put back what was moved",
                directory.path().display(),
                member.name,
            )),
            _ => Ok(()),
        }
    }

    /// Whether a log is of the cluster that the data directory belongs to. A founder that crashed before
    /// it could publish its cluster does so now.
    fn is_ours(&self, root: &Root, driver: &Driver<RocksDisk>) -> Result<bool, Told> {
        let published = root.publish(driver.ident().cluster).map_err(told)?;
        Ok(published == Published::Won)
    }

    /// Founds a cluster or joins one on an empty disk. False if it founded one and another was faster:
    /// nobody has heard of that log.
    async fn begin(
        &self,
        root: &Root,
        directory: &Directory,
        mut disk: RocksDisk,
    ) -> Result<bool, Told> {
        let nonce = directory.nonce().map_err(told)?;
        let own = Joiner {
            nonce,
            ..self.shared.own.clone()
        };
        self.shared.discovery.settled().await;
        loop {
            let latched = root.cluster().map_err(told)?;
            let seeds = self.ask_seeds().await;
            let known = latched.or_else(|| seeds.iter().find_map(|seed| seed.cluster));
            if known.is_none() {
                match self.may_found(root, &seeds) {
                    Ok(()) => return found(root, &mut disk, own),
                    Err(why) => self.wait_for(&why),
                }
            }
            if known.is_some() {
                let targets = self.shared.others();
                match self
                    .enter(known, &Command::Join(own.clone()), targets)
                    .await
                {
                    Ok(Some(entered)) => {
                        join(root, &mut disk, &entered)?;
                        return Ok(true);
                    }
                    Ok(None) => {}
                    // Whatever stands in the way may go away: a seed that is another cluster's by now,
                    // a member of this name that is not down yet.
                    Err(why) => self.wait_for(&why),
                }
            }
            pause().await;
        }
    }

    /// Tells why this node is in no cluster yet: in the log once for each reason, and to who looks.
    fn wait_for(&self, why: &str) {
        let mut waits = self.shared.waits.lock();
        if waits.as_deref() != Some(why) {
            tracing::warn!(why, "not admitted to the cluster");
            *waits = Some(why.to_owned());
        }
    }

    /// Asks whoever leads to commit `command`; asks all `targets` until somebody knows who. None if
    /// nobody did: then it may be asked again.
    ///
    /// # Errors
    /// Somebody refused, and nobody did it.
    pub(super) async fn enter(
        &self,
        cluster: Option<ClusterId>,
        command: &Command,
        mut targets: Vec<Target>,
    ) -> Result<Option<Entered>, Told> {
        let mut refused = None;
        let request = EnterRequest {
            cluster: cluster.map_or(Bytes::new(), |cluster| to_wire(cluster.0)),
            command: command.encode(),
        };
        fastrand::shuffle(&mut targets);
        // Each may send us on to the leader once.
        let mut left = 2 * targets.len();
        while let Some(target) = targets.pop()
            && left > 0
        {
            left -= 1;
            let reply = match enter(&target, request.clone(), ASK_PATIENCE).await {
                Ok(reply) => reply,
                Err(error) => {
                    tracing::debug!(%error, "node not asked");
                    continue;
                }
            };
            match reply.outcome {
                Some(Reply::Entered(entered)) => return Ok(Some(entered)),
                Some(Reply::Refused(why)) => refused = Some(format!("refused by {target}: {why}")),
                Some(Reply::Redirect(redirect)) => {
                    targets.extend(Target::parse(&redirect.leader, self.shared.from))
                }
                Some(Reply::Unknown(why)) => tracing::debug!(%target, why, "outcome unknown"),
                None => tracing::debug!(%target, "answer not understood"),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Starts the Raft thread and its transport.
    fn run(
        &self,
        driver: Driver<RocksDisk>,
        listener: TcpListener,
        network: &Shutdown,
    ) -> Result<(Arc<Running>, Office, Transport), Told> {
        let ident = driver.ident().clone();
        let carrier = Arc::new(OnceLock::new());
        let post = Carrier::new(Arc::clone(&carrier));
        let raft = thread::start(driver, &self.registry, post).map_err(told)?;
        let own = &self.shared.own;
        let inbox = raft.inbox();
        let parts = transport::Parts {
            cluster: ident.cluster,
            node: ident.node,
            from: listener.local_addr().map_err(told)?.ip(),
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
        let _first = carrier.set(transport.clone());
        let discovery = self.shared.discovery.clone();
        let means = (self.voters, self.is_warm, discovery);
        let (office, asker) = Office::new(ident.node, raft.clone(), self.clock, means);
        let running = Arc::new(Running {
            ident,
            raft,
            office: asker,
            refused: Mutex::default(),
        });
        Ok((running, office, transport))
    }

    /// Announces this start; ends only if this node learns that the others went on without it.
    async fn announced(&self, running: &Running, transport: &Transport) -> Fate {
        if let Some(fate) = self.announce(running, transport).await {
            return fate;
        }
        // An operator may recover the cluster while this node waits for a quorum that is gone.
        loop {
            tokio::time::sleep(FATE_EVERY).await;
            let is_led = running.raft.standing().borrow().role.leader.is_some();
            if !is_led && let Some(fate) = self.fate(running.ident.clone()).await {
                return fate;
            }
        }
    }

    /// Says that this node has started again and where it is, until the state says so. Ends early if
    /// there is nobody any more who could say so.
    async fn announce(&self, running: &Running, transport: &Transport) -> Option<Fate> {
        let ident = &running.ident;
        let own = Joiner {
            incarnation: ident.incarnation,
            ..self.shared.own.clone()
        };
        let mut last = String::new();
        loop {
            if running.raft.standing().borrow().role.leader.is_none() {
                self.look_for_peers(running, transport).await;
                if let Some(fate) = self.fate(ident.clone()).await {
                    return Some(fate);
                }
            }
            let state = running.raft.state().borrow().clone();
            // Who has joined a moment ago is not in its own state before its first snapshot, and may be
            // elsewhere by now than it said then.
            let known = state.member(ident.node);
            if known.is_some_and(|known| known.incarnation >= ident.incarnation) {
                return None;
            }
            // The nonce is its directory's, whatever this says.
            let resume = Command::Resume(Resume {
                id: ident.node,
                node: own.clone(),
            });
            let is_leader = running.raft.standing().borrow().role.is_leader;
            let told = if is_leader {
                match running.admit(&resume, ident.node).await {
                    Reply::Refused(why) => Err(why),
                    _ => Ok(None),
                }
            } else {
                let targets = self.shared.everybody(&state);
                self.enter(Some(ident.cluster), &resume, targets).await
            };
            if let Err(why) = told {
                if last != why {
                    tracing::warn!(why, "start not announced");
                    last = why;
                }
                if let Some(fate) = self.fate(ident.clone()).await {
                    return Some(fate);
                }
            }
            let mut standing = running.raft.standing();
            let leader = standing.borrow_and_update().role.leader;
            let is_other = |standing: &Standing| standing.role.leader != leader;
            tokio::select! {
                () = pause() => {}
                _ = standing.wait_for(is_other) => {}
            }
        }
    }
}

/// Founds a cluster on `disk`, and publishes it; false if another was faster.
fn found(root: &Root, disk: &mut RocksDisk, own: Joiner) -> Result<bool, Told> {
    let cluster = ClusterId(uuid::Uuid::new_v4().as_u128());
    let founding = Founding {
        cluster,
        supersedes: Vec::new(),
        settings: own.settings.clone(),
        first: own,
    };
    founding.check().map_err(told)?;
    let state = State::found(founding);
    let founder = state.members().next().map_or(NodeId(1), |member| member.id);
    Driver::found(disk, cluster, founder, &state).map_err(told)?;
    let published = root.publish(cluster).map_err(told)?;
    match published {
        Published::Won => tracing::info!(%cluster, "cluster founded"),
        Published::Lost(other) => tracing::info!(cluster = %other, "cluster founded by another"),
    }
    Ok(published == Published::Won)
}

fn join(root: &Root, disk: &mut RocksDisk, entered: &Entered) -> Result<(), Told> {
    let cluster = from_wire(&entered.cluster).map(ClusterId);
    let cluster = cluster.ok_or("the leader names no cluster")?;
    if let Published::Lost(other) = root.publish(cluster).map_err(told)? {
        return Err(format!(
            "the data directory belongs to cluster {other}, the seeds to {cluster}"
        ));
    }
    Driver::join(disk, cluster, NodeId(entered.node)).map_err(told)
}

async fn pause() {
    let half = ASK_EVERY / 2;
    tokio::time::sleep(half + half.mul_f64(fastrand::f64())).await;
}

fn told(error: impl std::fmt::Display) -> Told {
    error.to_string()
}
