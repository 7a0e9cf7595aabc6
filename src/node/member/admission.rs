//! Opens the log of a member from a data directory. An existing log is resumed if it belongs to this member
//! and its cluster still exists. With an empty one, the node founds a cluster or joins one.
//!
//! Founding needs most of the seeds to share this node's data directory, because the latch in that directory
//! keeps two founders apart. The cluster is founded completely in the node's own directory, and then
//! published with one link(2).

use super::enter::enter;
use super::seeds::{ask_seeds, may_found};
use super::superseded::fate;
use super::{Reason, Shared, pause, reason_of};
use crate::ids::{ClusterId, NodeId};
use crate::raft::directory::Directory;
use crate::raft::driver::{Driver, Settings};
use crate::raft::latch::{Published, Root};
use crate::raft::log::OpenError;
use crate::raft::rocks::{RocksDisk, RocksError};
use crate::rpc::control::from_wire;
use crate::rpc::control_proto::Entered;
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
        loop {
            self.directory.create().map_err(reason_of)?;
            let disk = match RocksDisk::open(&self.directory.log(), &self.shared.shutdown).await {
                Ok(disk) => disk,
                Err(RocksError::Stopped { .. }) => return Ok(None),
                Err(error @ RocksError::Corrupt { .. }) => {
                    self.directory
                        .set_aside(&error.to_string())
                        .map_err(reason_of)?;
                    continue;
                }
                Err(error) => return Err(reason_of(error)),
            };
            let settings = Settings {
                seed: fastrand::u64(..),
                ..self.settings.clone()
            };
            match Driver::open(disk, settings) {
                Ok(driver) if self.is_ours(&driver)? => {
                    self.assert_own(&driver)?;
                    let fate = tokio::select! {
                        fate = fate(self.shared, driver.ident().clone()) => fate,
                        () = self.shared.shutdown.begun() => return Ok(None),
                    };
                    let Some(fate) = fate else {
                        return Ok(Some(driver));
                    };
                    drop(driver);
                    fate.follow(self.root)?;
                    self.directory
                        .set_aside(&fate.to_string())
                        .map_err(reason_of)?;
                }
                Ok(driver) => {
                    let found = driver.ident().cluster;
                    drop(driver);
                    let reason = format!("the log is of cluster {found}, the directory of another");
                    self.directory.set_aside(&reason).map_err(reason_of)?;
                }
                Err(OpenError::Empty) => {
                    let disk = RocksDisk::open(&self.directory.log(), &self.shared.shutdown).await;
                    let is_ours = tokio::select! {
                        begun = self.begin(disk.map_err(reason_of)?) => begun?,
                        () = self.shared.shutdown.begun() => return Ok(None),
                    };
                    if !is_ours {
                        self.directory.discard().map_err(reason_of)?;
                    }
                }
                Err(error @ OpenError::Corrupt(_)) => {
                    self.directory
                        .set_aside(&error.to_string())
                        .map_err(reason_of)?;
                }
                Err(error) => return Err(reason_of(error)),
            }
        }
    }

    /// Refuses a log that belongs to another member: of two nodes whose directories were swapped, each would
    /// act as the other, and peers would look for it at the other's address.
    fn assert_own(&self, driver: &Driver<RocksDisk>) -> Result<(), Reason> {
        let id = driver.ident().node;
        let own = &self.shared.own.name;
        match driver.state().member(id) {
            Some(member) if member.name != *own => Err(format!(
                "{} is the directory of member {id}, \"{}\", and not of \"{own}\": put back what was moved",
                self.directory.path().display(),
                member.name,
            )),
            _ => Ok(()),
        }
    }

    /// Whether a log is of the cluster that the data directory belongs to. Publishes the cluster first, if a
    /// founder crashed before it could.
    fn is_ours(&self, driver: &Driver<RocksDisk>) -> Result<bool, Reason> {
        let published = self
            .root
            .publish(driver.ident().cluster)
            .map_err(reason_of)?;
        Ok(published == Published::Won)
    }

    /// Founds a cluster or joins one on an empty disk. False if this node founded one and another founder was
    /// faster: then no other node knows of this log, and it may be discarded.
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
            let known = latched.or_else(|| seeds.iter().find_map(|seed| seed.cluster));
            if known.is_none() {
                match may_found(self.shared, self.root, &seeds) {
                    Ok(()) => return found(self.root, &mut disk, own),
                    Err(why) => self.wait_for(&why),
                }
            }
            if known.is_some() {
                let targets = self.shared.others();
                match enter(self.shared, known, &Command::Join(own.clone()), targets).await {
                    Ok(Some(entered)) => {
                        join(self.root, &mut disk, &entered)?;
                        return Ok(true);
                    }
                    Ok(None) => {}
                    // The obstacle may go away: for example a seed that belongs to another cluster now, or a
                    // member of this name that is not down yet.
                    Err(why) => self.wait_for(&why),
                }
            }
            pause().await;
        }
    }

    /// Notes the reason why this node is in no cluster yet, for the log (each reason once) and
    /// `/readyz?verbose`.
    fn wait_for(&self, why: &str) {
        let mut waits = self.shared.waits.lock();
        if waits.as_deref() != Some(why) {
            tracing::warn!(why, "not admitted to the cluster");
            *waits = Some(why.to_owned());
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
    let published = root.publish(cluster).map_err(reason_of)?;
    match published {
        Published::Won => tracing::info!(%cluster, "cluster founded"),
        Published::Lost(other) => tracing::info!(cluster = %other, "cluster founded by another"),
    }
    Ok(published == Published::Won)
}

fn join(root: &Root, disk: &mut RocksDisk, entered: &Entered) -> Result<(), Reason> {
    let cluster = from_wire(&entered.cluster).map(ClusterId);
    let cluster = cluster.ok_or("the leader names no cluster")?;
    if let Published::Lost(other) = root.publish(cluster).map_err(reason_of)? {
        return Err(format!(
            "the data directory belongs to cluster {other}, the seeds to {cluster}"
        ));
    }
    Driver::join(disk, cluster, NodeId(entered.node)).map_err(reason_of)
}
