//! What sending and receiving have in common: the book of addresses, and the peers that it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

use super::book::{Book, Listing};
use super::local::Local;
use super::metrics::Lost;
use super::peer::Peer;
use super::report::Report;
use super::senders::Senders;
use super::snapshot::Owed;
use crate::ids::{ClusterId, NodeId};
use crate::raft::envelope::Lane;
use crate::shutdown::Shutdown;

/// What the two directions have in common.
pub(super) struct Shared {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) local: Arc<Local>,
    pub(super) senders: Arc<Senders>,
    /// Held while `peers` is brought in line with it.
    pub(super) book: Mutex<Book>,
    pub(super) peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    pub(super) shutdown: Shutdown,
    /// Peers' tasks are spawned from the driver's thread too.
    pub(super) runtime: Handle,
}

impl Shared {
    /// Takes note of an address that a node announced, unless it is known to be older.
    pub(super) fn learn(&self, listing: Listing) {
        let mut book = self.book.lock();
        let (peer, address) = (listing.node, listing.address.to_string());
        if peer != self.node && book.learn(listing) {
            tracing::info!(%peer, address, "raft peer announced its address");
            self.follow(&book);
        }
    }

    /// Brings the peers in line with the book.
    pub(super) fn follow(&self, book: &Book) {
        let _context = self.runtime.enter();
        let mut addresses = book.addresses();
        addresses.remove(&self.node);
        let mut peers = self.peers.write();
        // The task that ends the peers has passed, or is about to wait for the book.
        if self.shutdown.has_begun() {
            return;
        }
        peers.retain(|node, _| addresses.contains_key(node));
        for (node, address) in addresses {
            if let Some(peer) = peers.get(&node) {
                peer.move_to(&address);
                continue;
            }
            let local = Arc::clone(&self.local);
            let peer = Peer::start(node, address, local, self.shutdown.branch());
            peers.insert(node, Arc::new(peer));
        }
    }

    /// Reports the loss of a message to a node whose address is unknown.
    pub(super) fn lose(&self, lane: Lane, to: NodeId) {
        if lane == Lane::Snapshot {
            Owed::new(Arc::clone(&self.local), to).lost(Lost::NoAddress);
        } else {
            self.local.metrics.lane(lane).lost(Lost::NoAddress, 1);
            (self.local.report)(Report::Unreachable(to));
        }
    }
}
