//! Opens the log of a member from a data directory. An existing log is resumed if it belongs to this member
//! and its cluster still exists. With an empty one, the node founds a cluster or joins one.
//!
//! The rules are in [`crate::membership`]: `opening`, `founding` and `joining`; this module carries them out
//! on the disk and the network. Founding needs most of the seeds to share this node's data directory, because
//! the latch in that directory keeps two founders apart. The cluster is founded completely in the node's own
//! directory, and then published with one link(2).

use super::enter::enter;
use super::seeds::{ask_seeds, candidate};
use super::superseded::{ask_before_start, give_up_log};
use super::{Shared, pause, reason_of};
use crate::config::Seed;
use crate::ids::{ClusterId, NodeId};
use crate::membership::joining::Beginning;
use crate::membership::obstacle::{Kind, Obstacle};
use crate::membership::opening::{Found, FoundLog, Opening};
use crate::membership::promises::OwnLog;
use crate::membership::{Reason, founding, joining, opening};
use crate::raft::directory::Directory;
use crate::raft::driver::{Driver, Settings};
use crate::raft::latch::{Published, Root};
use crate::raft::log::Ident;
use crate::raft::rocks::{RocksDisk, RocksError};
use crate::rpc::control::from_wire;
use crate::rpc::control_proto::Entered;
use crate::rpc::pipeline::Target;
use crate::topology::commands::{Command, Joiner};
use crate::topology::state::{Founding, State};

/// The parts that a node needs to open its log.
pub(super) struct Admission<'a> {
    pub(super) shared: &'a Shared,
    pub(super) root: &'a Root,
    pub(super) directory: &'a Directory,
    pub(super) settings: &'a Settings,
}

impl Admission<'_> {
    /// Opens the driver of this node's log, and first creates the log if there is none. None if shutdown
    /// began.
    ///
    /// # Errors
    /// The reason why the directory or its log cannot be used.
    pub(super) async fn open(&self) -> Result<Option<Driver<RocksDisk>>, Reason> {
        let shutdown = &self.shared.shutdown;
        loop {
            self.directory.create().map_err(reason_of)?;
            let Some(found) = self.look().await? else {
                return Ok(None);
            };
            match opening::open(found, &self.shared.own.name, &self.directory.path()) {
                Opening::Begin => {
                    let disk = RocksDisk::open(&self.directory.log(), shutdown).await;
                    let keeps = tokio::select! {
                        begun = self.begin(disk.map_err(reason_of)?) => begun?,
                        () = shutdown.begun() => return Ok(None),
                    };
                    if !keeps {
                        self.directory.discard().map_err(reason_of)?;
                    }
                }
                Opening::SetAside(reason) => {
                    self.directory.set_aside(&reason).map_err(reason_of)?;
                }
                Opening::Refuse(reason) => {
                    let obstacle = Obstacle::new(Kind::Directory, reason.clone());
                    self.shared.obstacles.note(obstacle);
                    return Err(reason);
                }
                Opening::AskFate(driver) => {
                    let own = driver.own_log().map_err(reason_of)?;
                    let fate = tokio::select! {
                        fate = ask_before_start(self.shared, &own, driver.state()) => fate,
                        () = shutdown.begun() => return Ok(None),
                    };
                    let Some(fate) = fate else {
                        self.name_founder(&own);
                        return Ok(Some(driver));
                    };
                    drop(driver);
                    self.shared.obstacles.note((&fate).into());
                    give_up_log(self.root, self.directory, fate)?;
                }
            }
        }
    }

    /// Opens whatever lies in the directory. Publishes the cluster of a log there, since a founder may have
    /// crashed before it could. None if shutdown began.
    async fn look(&self) -> Result<Option<Found<Driver<RocksDisk>>>, Reason> {
        let disk = match RocksDisk::open(&self.directory.log(), &self.shared.shutdown).await {
            Ok(disk) => disk,
            Err(RocksError::Stopped { .. }) => return Ok(None),
            Err(error) => return Ok(Some(error.into())),
        };
        let settings = Settings {
            seed: fastrand::u64(..),
            ..self.settings.clone()
        };
        let driver = match Driver::open(disk, settings) {
            Ok(driver) => driver,
            Err(error) => return Ok(Some(error.into())),
        };
        let Ident { cluster, node, .. } = *driver.ident();
        let member = driver.state().member(node);
        Ok(Some(Found::Log(FoundLog {
            cluster,
            latched: publish(self.root, cluster)?,
            node,
            name: member.map(|member| member.name.clone()),
            log: driver,
        })))
    }

    /// Founds a cluster or joins one on an empty disk. Returns whether the node keeps the log that it made.
    async fn begin(&self, mut disk: RocksDisk) -> Result<bool, Reason> {
        let nonce = self.directory.nonce().map_err(reason_of)?;
        let own = Joiner {
            nonce,
            ..self.shared.own.clone()
        };
        self.shared.discovery.settled().await;
        loop {
            let latched = self.root.cluster().map_err(reason_of)?;
            let seeds = ask_seeds(self.shared).await;
            let others = self.targets();
            let asked: Vec<_> = others.iter().map(ToString::to_string).collect();
            let obstacle = match joining::begin(latched, &seeds, &candidate(self.shared, self.root))
            {
                Beginning::Found => return found(self.root, &mut disk, own),
                Beginning::Wait(why) => Obstacle::before_founding(why, &asked, seeds.len()),
                Beginning::Enter(cluster) => {
                    let (join, targets) = (Command::Join(own.clone()), others);
                    match enter(self.shared, cluster, &join, targets).await {
                        Ok(Some(entered)) => {
                            begin_log(self.root, &mut disk, &entered)?;
                            return Ok(true);
                        }
                        Ok(None) => Obstacle::before_entering(cluster, &asked, seeds.len()),
                        // The obstacle may go away: for example a seed that belongs to another cluster now,
                        // or a member of this name that is not down yet.
                        Err(obstacle) => obstacle,
                    }
                }
            };
            self.shared.obstacles.note(obstacle);
            pause().await;
        }
    }

    /// The seeds, and where the only voter was, which may be in nobody's seeds: a task that has recovered the
    /// cluster is in no service.
    fn targets(&self) -> Vec<Target> {
        let mut targets = self.shared.others();
        let founder = self.root.founder().ok().flatten();
        let founder = founder.and_then(|founder| Target::parse(&founder, self.shared.from));
        targets.extend(founder.filter(|founder| !targets.contains(founder)));
        targets
    }

    /// Notes in the data directory where this node is, if nobody else votes: others must ask it to join.
    fn name_founder(&self, log: &OwnLog) {
        if !log.is_alone {
            return;
        }
        let own = Seed {
            host: self.shared.own.host.to_string(),
            port: self.shared.own.grpc_port,
        };
        // Only a hint: nodes that have it among their seeds need none.
        if let Err(error) = self.root.name_founder(&own.to_string()) {
            tracing::warn!(%error, "cannot note where the only voter is");
        }
    }
}

/// Founds a cluster on `disk` and publishes it. False if another founder was faster.
fn found(root: &Root, disk: &mut RocksDisk, own: Joiner) -> Result<bool, Reason> {
    let cluster = ClusterId(uuid::Uuid::new_v4().as_u128());
    let founding = Founding {
        cluster,
        supersedes: Vec::new(),
        settings: own.settings.clone(),
        first: own,
    };
    founding.check().map_err(reason_of)?;
    let state = State::found(founding);
    let founder = state.members().next().map_or(NodeId(1), |member| member.id);
    Driver::found(disk, cluster, founder, &state).map_err(reason_of)?;
    let latched = publish(root, cluster)?;
    let keeps = founding::keeps(cluster, latched);
    match keeps {
        true => tracing::info!(%cluster, "cluster founded"),
        false => tracing::info!(cluster = %latched, "cluster founded by another"),
    }
    Ok(keeps)
}

/// Begins the log of a node that was let into a cluster.
fn begin_log(root: &Root, disk: &mut RocksDisk, entered: &Entered) -> Result<(), Reason> {
    let cluster = from_wire(&entered.cluster).map(ClusterId);
    let cluster = cluster.ok_or("the leader names no cluster")?;
    joining::may_begin_in(cluster, publish(root, cluster)?)?;
    Driver::join(disk, cluster, NodeId(entered.node)).map_err(reason_of)
}

/// Makes the data directory belong to `cluster`, unless it belongs to one. Returns the cluster that it
/// belongs to then.
fn publish(root: &Root, cluster: ClusterId) -> Result<ClusterId, Reason> {
    let published = root.publish(cluster).map_err(reason_of)?;
    Ok(match published {
        Published::Won => cluster,
        Published::Lost(other) => other,
    })
}
