//! What the driver gives a transport: where incoming envelopes go, and what becomes of those it sends.

use std::sync::Arc;

use super::wire::Refusal;
use crate::ids::NodeId;
use crate::raft::envelope::Envelope;

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
