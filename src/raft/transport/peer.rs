//! A peer that messages can be sent to: its queues, and the tasks that empty them.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use super::book::Address;
use super::bounds::{APPEND_QUEUE, HEARTBEAT_QUEUE, REPORT_EVERY, max_bytes};
use super::lane::Keeper;
use super::local::Local;
use super::metrics::Lost;
use super::queue::{Bounds, Queue};
use super::report::Report;
use super::snapshot::{self, Owed};
use crate::ids::NodeId;
use crate::raft::envelope::{Envelope, Lane};
use crate::shutdown::Shutdown;

/// The sending side of one peer. Dropping it ends its tasks and loses what waits.
pub(super) struct Peer {
    node: NodeId,
    local: Arc<Local>,
    heartbeats: Arc<Queue>,
    appends: Arc<Queue>,
    snapshots: mpsc::Sender<(Owed, Envelope)>,
    address: watch::Sender<Address>,
    loss: Arc<Notify>,
    shutdown: Shutdown,
}

impl Peer {
    /// Starts the peer's tasks; `shutdown` is its own. Needs a runtime's context.
    pub(super) fn start(
        node: NodeId,
        address: Address,
        local: Arc<Local>,
        shutdown: Shutdown,
    ) -> Self {
        let queue = |bounds: Bounds| Arc::new(Queue::new(bounds));
        // One under way and one that waits.
        let (snapshots, waiting) = mpsc::channel(1);
        let peer = Self {
            node,
            local: Arc::clone(&local),
            heartbeats: queue(HEARTBEAT_QUEUE),
            appends: queue(APPEND_QUEUE),
            snapshots,
            address: watch::Sender::new(address),
            loss: Arc::default(),
            shutdown,
        };
        for (lane, queue) in [
            (Lane::Heartbeat, &peer.heartbeats),
            (Lane::Append, &peer.appends),
        ] {
            let keeper = Keeper {
                lane,
                peer: node,
                local: Arc::clone(&local),
                queue: Arc::clone(queue),
                address: peer.address.subscribe(),
                loss: Arc::clone(&peer.loss),
            };
            let keeping = keeper.run(peer.shutdown.clone());
            peer.shutdown
                .spawn_critical("keeper of a Raft lane", keeping);
        }
        let (address, shutdown) = (peer.address.subscribe(), peer.shutdown.clone());
        let sending = snapshot::run(Arc::clone(&local), waiting, address, shutdown);
        peer.shutdown
            .spawn_critical("sender of Raft's snapshots", sending);
        let (loss, shutdown) = (Arc::clone(&peer.loss), peer.shutdown.clone());
        let reporting = report_losses(node, local, loss, shutdown);
        peer.shutdown
            .spawn_critical("reporter of Raft's losses", reporting);
        peer
    }

    /// Connects anew if the peer is elsewhere by now.
    pub(super) fn move_to(&self, address: &Address) {
        self.address.send_if_modified(|old| {
            let is_new = old != address;
            if is_new {
                tracing::info!(peer = %self.node, %address, "raft peer has a new address");
                old.clone_from(address);
            }
            is_new
        });
    }

    /// Queues an envelope, or reports that it is lost. Never blocks.
    pub(super) fn send(&self, lane: Lane, envelope: Envelope) {
        let is_too_large = envelope.message.len() > max_bytes(lane);
        if lane == Lane::Snapshot {
            let owed = Owed::new(Arc::clone(&self.local), self.node);
            if is_too_large {
                return owed.lost(Lost::TooLarge);
            }
            match self.snapshots.try_send((owed, envelope)) {
                Err(TrySendError::Full((owed, _))) => owed.lost(Lost::QueueFull),
                // Its tasks have ended, and dropping what is owed reports it.
                Ok(()) | Err(TrySendError::Closed(_)) => {}
            }
            return;
        }
        let queue = match lane {
            Lane::Heartbeat => &self.heartbeats,
            Lane::Append | Lane::Snapshot => &self.appends,
        };
        let reason = if is_too_large {
            let bytes = envelope.message.len();
            tracing::error!(peer = %self.node, bytes, "raft message too large to be sent");
            Lost::TooLarge
        } else if queue.push(envelope) {
            return;
        } else {
            Lost::QueueFull
        };
        self.local.metrics.lane(lane).lost(reason, 1);
        self.loss.notify_one();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// Reports losses: the first at once, and any number of later ones as one more after a while.
async fn report_losses(node: NodeId, local: Arc<Local>, loss: Arc<Notify>, shutdown: Shutdown) {
    let reports = async {
        loop {
            loss.notified().await;
            (local.report)(Report::Unreachable(node));
            sleep(REPORT_EVERY).await;
        }
    };
    tokio::select! {
        () = reports => {}
        () = shutdown.begun() => {}
    }
}
