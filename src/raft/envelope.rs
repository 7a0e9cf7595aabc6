//! What crosses the network: a Raft message in an envelope that names sender and addressee.

use bytes::Bytes;

use crate::ids::{ClusterId, Incarnation, NodeId};

/// A message of one node to another, as the transport carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// Which start of the sender this is.
    pub incarnation: Incarnation,
    /// The addressee.
    pub to: NodeId,
    /// An index and the hash of the sender's state when it had applied that many entries: a peer that
    /// has another there has diverged.
    pub checkpoint: Option<(u64, u64)>,
    /// An encoded `raft.eraftpb.Message`.
    pub message: Bytes,
}

/// What an envelope says of its sender, and all that a refusal is addressed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The node it says it is.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
}

impl From<&Envelope> for Sender {
    fn from(envelope: &Envelope) -> Self {
        Self {
            cluster: envelope.cluster,
            node: envelope.from,
            incarnation: envelope.incarnation,
        }
    }
}

/// Which queue of the transport a message goes to: none waits behind another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Heartbeats, votes and their answers: small, and late ones are worth nothing.
    Heartbeat,
    /// Entries and their answers.
    Append,
    /// A snapshot. Its outcome must be reported.
    Snapshot,
}
