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
mod bounds;
mod connect;
mod lane;
mod local;
mod metrics;
mod peer;
#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]
mod proto;
mod queue;
mod report;
mod senders;
mod server;
mod shared;
mod snapshot;
mod wire;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use self::book::{Address, Listing};
pub use self::bounds::max_bytes;
use self::local::Local;
use self::metrics::Metrics;
pub use self::report::{Full, Inbox, Report, Reporter};
use self::shared::Shared;
pub use self::wire::Refusal;
use super::envelope::{Envelope, Lane, Sender};
use crate::ids::{ClusterId, NodeId};
use crate::metrics::Registry;
use crate::shutdown::Shutdown;

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
        let serving = server::serve(
            parts.listener,
            parts.inbox,
            Arc::clone(&shared),
            shutdown.clone(),
        );
        shutdown.spawn_critical("Raft port", serving);
        let ending = Arc::clone(&shared);
        shutdown.spawn_critical("end of Raft's transport", async move {
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
