//! The Raft port: how envelopes get from one node to another, and what becomes of those that do not.
//!
//! The driver hands over envelopes with [`Transport::send`], from its own thread, and is never made
//! to wait. What it hears is little: incoming envelopes through its [`Inbox`], and through its
//! [`Reporter`] each [`Report`] that Raft needs to know how a peer progresses. Envelopes are opaque
//! here; whether a sender is to be believed is the driver's decision, which it makes known to the
//! sender with [`Transport::refuse`].
//!
//! **Lanes.** None waits behind another, not even in TCP: each has its own connection to each peer.
//!
//! | lane | what for | how it travels | when it cannot keep up |
//! |---|---|---|---|
//! | heartbeat | heartbeats, votes, their answers | one long-lived stream | `HEARTBEAT_QUEUE`, then lost |
//! | append | entries, their answers | one long-lived stream | `APPEND_QUEUE`, then lost |
//! | snapshot | a joiner, or a peer far behind | a connection each, in chunks | one waits, then lost |
//!
//! **Losses.** Any message may be lost: Raft sends again. Every loss that is noticed is reported, as
//! [`Report::Unreachable`] (at once, then at most every `REPORT_EVERY`); every snapshot has exactly
//! one [`Report::SnapshotSent`], also if it is dropped here or its peer goes away. When no connection
//! can be made, what waits is thrown away: it would only be old.
//!
//! **Connections** are made when there is something to send, within `OPEN_TIMEOUT`, and again after
//! `RECONNECT_MIN` to `RECONNECT_MAX`. Pings notice a silent peer within three seconds.
//!
//! **Bounds.** Messages: [`max_bytes`] by lane, checked on both sides. Queues: above. Time: above, and
//! `SNAPSHOT_DEADLINE`. Incoming: connections, streams on each, snapshots at once and unread bytes,
//! all in `server`. What Raft does not take at once is dropped and counted.

pub mod book;
mod connect;
mod lane;
mod local;
mod metrics;
mod peer;
mod queue;
mod server;
mod snapshot;
mod wire;

#[cfg(test)]
mod tests;

#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]
mod proto {
    //! Generated from `proto/raft.proto`.
    tonic::include_proto!("gcache.raft.v1");
}

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use self::book::{Address, Book, Listing};
use self::local::Local;
use self::metrics::{Lost, Metrics};
use self::peer::Peer;
use self::queue::Bounds;
use self::server::Senders;
use self::snapshot::Owed;
pub use self::wire::Refusal;
use super::envelope::{Envelope, Lane, Sender};
use crate::ids::{ClusterId, NodeId};
use crate::metrics::Registry;
use crate::shutdown::Shutdown;

/// A heartbeat or vote with all that belongs to it.
const MAX_HEARTBEAT_BYTES: usize = 64 << 10;
/// An append with its entries: as many as Raft puts in one, or a single large one.
const MAX_APPEND_BYTES: usize = 4 << 20;
/// A snapshot. The state is a few tens of KiB.
const MAX_SNAPSHOT_BYTES: usize = 16 << 20;
/// The part of a snapshot that travels in one message.
const SNAPSHOT_CHUNK_BYTES: usize = 64 << 10;
/// The largest message on the wire: an append in its envelope.
const MAX_WIRE_BYTES: usize = MAX_APPEND_BYTES + 1024;
/// The largest answer.
const MAX_NACK_BYTES: usize = 1024;

/// What waits on the heartbeat lane of one peer: a few seconds' worth.
const HEARTBEAT_QUEUE: Bounds = Bounds {
    messages: 64,
    bytes: 256 << 10,
};
/// What waits on the append lane of one peer: as many as Raft has in flight.
const APPEND_QUEUE: Bounds = Bounds {
    messages: 256,
    bytes: 8 << 20,
};

/// How long a connection may take until its stream is open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// The first pause before connecting again.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
/// The longest: an election takes one to two seconds, and needs a connection first.
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a snapshot may take, with the connection and the acknowledgement.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);
/// Between two reports of the same kind about one peer; a heartbeat's interval.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// The largest message of a lane.
#[must_use]
pub fn max_bytes(lane: Lane) -> usize {
    match lane {
        Lane::Heartbeat => MAX_HEARTBEAT_BYTES,
        Lane::Append => MAX_APPEND_BYTES,
        Lane::Snapshot => MAX_SNAPSHOT_BYTES,
    }
}

/// What the driver hears about what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Messages to this node were lost, one or many.
    Unreachable(NodeId),
    /// The outcome of a snapshot: exactly one for each that was sent.
    SnapshotSent {
        /// The addressee.
        to: NodeId,
        /// Its Raft was handed the snapshot. If not, it may have been all the same.
        is_delivered: bool,
    },
    /// The addressee takes nothing from this node. Repeated while it is sent anything.
    Refused {
        /// The addressee.
        by: NodeId,
        /// Why.
        refusal: Refusal,
    },
}

/// Takes reports. Called from any thread, the one that sends included: must not block, and must not
/// call the transport.
pub type Reporter = Arc<dyn Fn(Report) + Send + Sync>;

/// Raft takes nothing more at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Takes incoming envelopes, in each stream's order. Must not block: what finds no room is dropped.
pub type Inbox = Arc<dyn Fn(Envelope) -> Result<(), Full> + Send + Sync>;

/// What a transport is made of.
pub struct Parts {
    /// The Raft port, bound by the caller.
    pub listener: TcpListener,
    /// The cluster this node belongs to.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// The local address that connections leave from.
    pub from: IpAddr,
    /// Where peers reach this node. It sends it to them, so that they find it before the state has it.
    pub address: Option<Address>,
    /// Where incoming envelopes go.
    pub inbox: Inbox,
    /// Where reports go.
    pub report: Reporter,
    /// When to stop. Every task belongs to it.
    pub shutdown: Shutdown,
}

/// Sends to peers and receives from them. Clones are the same transport.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
}

/// What the two directions have in common.
struct Shared {
    cluster: ClusterId,
    node: NodeId,
    local: Arc<Local>,
    senders: Arc<Senders>,
    /// Held while `peers` is brought in line with it.
    book: Mutex<Book>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    shutdown: Shutdown,
    /// Peers' tasks are spawned from the driver's thread too.
    runtime: Handle,
}

impl Transport {
    /// Serves the listener and is ready to send. Must be called in a runtime's context.
    #[must_use]
    pub fn start(parts: Parts, registry: &Registry) -> Self {
        let local = Local {
            report: parts.report,
            metrics: Metrics::register(registry),
            from: parts.from,
            address: parts.address,
        };
        let shutdown = parts.shutdown;
        let shared = Arc::new(Shared {
            cluster: parts.cluster,
            node: parts.node,
            local: Arc::new(local),
            senders: Arc::default(),
            book: Mutex::default(),
            peers: RwLock::default(),
            shutdown: shutdown.clone(),
            runtime: Handle::current(),
        });
        shutdown.spawn(server::serve(
            parts.listener,
            parts.inbox,
            Arc::clone(&shared),
            shutdown.clone(),
        ));
        let ending = Arc::clone(&shared);
        shutdown.spawn(async move {
            ending.shutdown.begun().await;
            let _book = ending.book.lock();
            ending.peers.write().clear();
        });
        Self { shared }
    }

    /// Sends an envelope to its addressee, or reports that it is lost. Never blocks; any thread.
    ///
    /// Envelopes of one lane to one peer arrive in order as long as their connection holds; the last
    /// of a broken one may come after the first of the next.
    pub fn send(&self, lane: Lane, envelope: Envelope) {
        let peer = self.shared.peers.read().get(&envelope.to).cloned();
        let Some(peer) = peer else {
            self.shared.lose(lane, envelope.to);
            return;
        };
        peer.send(lane, envelope);
    }

    /// Takes over where the state says all nodes are. Nodes that it lacks are sent nothing more;
    /// those with another address are connected to anew. Any thread.
    pub fn set_addresses(&self, listings: impl IntoIterator<Item = Listing>) {
        let mut book = self.shared.book.lock();
        book.replace(listings);
        self.shared.follow(&book);
    }

    /// Hears of an address that the state may not have yet, from discovery for instance. It is used
    /// if it comes from a later start of its node than the state's, and until the state has caught
    /// up. Any thread.
    pub fn learn_address(&self, listing: Listing) {
        self.shared.learn(listing);
    }

    /// Reports to a sender why nothing is taken from it, if it has a stream open; false if it has none.
    /// Any thread.
    pub fn refuse(&self, sender: Sender, refusal: Refusal) -> bool {
        let is_sent = self.shared.senders.refuse(sender, refusal);
        if is_sent {
            self.shared.local.metrics.sent_refusal(refusal);
        }
        is_sent
    }
}

impl Shared {
    fn learn(&self, listing: Listing) {
        let mut book = self.book.lock();
        let (peer, address) = (listing.node, listing.address.to_string());
        if peer != self.node && book.learn(listing) {
            tracing::info!(%peer, address, "raft peer announced its address");
            self.follow(&book);
        }
    }

    /// Brings the peers in line with the book.
    fn follow(&self, book: &Book) {
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
    fn lose(&self, lane: Lane, to: NodeId) {
        if lane == Lane::Snapshot {
            Owed::new(Arc::clone(&self.local), to).lost(Lost::NoAddress);
        } else {
            self.local.metrics.lane(lane).lost(Lost::NoAddress, 1);
            (self.local.report)(Report::Unreachable(to));
        }
    }
}
