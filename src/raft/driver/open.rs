//! How a driver begins: a log is founded or joined, and opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::RawNode;

use super::election::Election;
use super::mistake::Mistake;
use super::requests::Requests;
use super::{Driver, Settings};
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::raft::disk::Disk;
use crate::raft::event::Role;
use crate::raft::log::{Ident, Log, OpenError};
use crate::raft::snapshot::{self, BadSnapshot};
use crate::topology::state::State;

/// The index of the snapshot that founds a cluster. Not 0: a joiner that replays a log from its very
/// beginning would never hear which node is the first voter.
const FOUNDING_INDEX: u64 = 1;
/// The term of that snapshot.
const FOUNDING_TERM: u64 = 1;

impl<D: Disk> Driver<D> {
    /// Makes `disk` the directory of the first node of a cluster whose first state is `state`.
    ///
    /// # Errors
    /// The disk failed.
    pub fn found(
        disk: &mut D,
        cluster: ClusterId,
        node: NodeId,
        state: &State,
    ) -> Result<(), OpenError> {
        let ident = Ident {
            cluster,
            node,
            incarnation: Incarnation(0),
        };
        let snapshot = snapshot::of(state, FOUNDING_INDEX, FOUNDING_TERM);
        Log::found(disk, &ident, &snapshot)
    }

    /// Makes `disk` the directory of a node that was given the id `node` and knows nothing yet.
    ///
    /// # Errors
    /// The disk failed.
    pub fn join(disk: &mut D, cluster: ClusterId, node: NodeId) -> Result<(), OpenError> {
        let ident = Ident {
            cluster,
            node,
            incarnation: Incarnation(0),
        };
        Log::join(disk, &ident)
    }

    /// Starts the node whose directory `disk` is, as its next incarnation.
    ///
    /// # Errors
    /// The disk cannot be read, is empty, or holds what no node of ours has written: then the node
    /// must not start, since it may have forgotten what it promised. [`OpenError::Newer`] if a later version
    /// wrote it: then nothing is changed.
    pub fn open(disk: D, settings: Settings) -> Result<Self, OpenError> {
        let mut log = Log::read(disk)?;
        // Before this start is counted: a log of a later version stays as it is.
        state_of(&log)?;
        log.count_start()?;
        if settings.makes(Mistake::DiskErrorIgnored) {
            log.ignore_failures();
        }
        Self::of(log, settings)
    }

    /// The driver of `log`, whose start was counted or which will never be run.
    pub(super) fn of(log: Log<D>, settings: Settings) -> Result<Self, OpenError> {
        let ident = log.ident().clone();
        let meta = log.snapshot_meta();
        let (applied, applied_term) = (meta.index, meta.term);
        let state = state_of(&log)?;
        let config = settings.raft_config(ident.node, applied);
        let logger = settings.logger();
        let raw = RawNode::new(&config, log, &logger)
            .map_err(|error| OpenError::Corrupt(error.to_string()))?;
        let mut driver = Self {
            election: Election::new(settings.seed),
            requests: Requests::new(ident.node, ident.incarnation, settings.pending_max),
            raw,
            settings,
            ident,
            state: Arc::new(state),
            applied,
            applied_term,
            snapshot_index: applied,
            role: Role::default(),
            ticks: 0,
            heard: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            compactions: Vec::new(),
            lost: None,
            ended: None,
        };
        driver.election.pin(&mut driver.raw.raft);
        driver.offer_snapshot();
        Ok(driver)
    }
}

/// The state that the log begins from.
fn state_of<D: Disk>(log: &Log<D>) -> Result<State, OpenError> {
    let meta = log.snapshot_meta();
    if meta.index == 0 {
        return Ok(State::unknown(log.ident().cluster));
    }
    snapshot::read(meta, log.snapshot_data()).map_err(|error| match error {
        BadSnapshot::Malformed(_) => OpenError::Corrupt(error.to_string()),
        BadSnapshot::Newer { found, known } => OpenError::Newer { found, known },
    })
}
