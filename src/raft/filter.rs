//! The inbound filter: nothing reaches Raft that could harm it.
//!
//! `raft` panics on some messages and obeys others that no node of ours sends. A message passes only
//! if it is for this node, of this cluster, from a peer that is not removed and not an older start of
//! itself, and of a kind that one node has reason to send to another.

use prost_for_raft::Message as _;
use raft::eraftpb::{EntryType, Message, MessageType};

use super::envelope::Envelope;
use super::snapshot;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::topology::state::State;

/// The largest message that is read, a snapshot included.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MessageRefusal {
    /// It belongs to another cluster.
    #[error("the message is of another cluster")]
    Cluster,
    /// It is for another node: an address is now somebody else's.
    #[error("the message is for another node")]
    Addressee,
    /// Its sender was removed from the cluster.
    #[error("the sender was removed from the cluster")]
    Tombstoned,
    /// Its sender has started again since, or a copy of its directory has.
    #[error("the sender has started again since")]
    Incarnation,
    /// It is larger than [`MAX_MESSAGE_BYTES`].
    #[error("the message is too large")]
    Size,
    /// It cannot be decoded, contradicts its envelope or itself.
    #[error("the message is malformed")]
    Malformed,
    /// No node sends this to another.
    #[error("the message is of a kind that nodes do not send")]
    Kind,
}

impl MessageRefusal {
    /// Every reason with its name in metrics.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Cluster, "cluster"),
        (Self::Addressee, "addressee"),
        (Self::Tombstoned, "tombstoned"),
        (Self::Incarnation, "incarnation"),
        (Self::Size, "size"),
        (Self::Malformed, "malformed"),
        (Self::Kind, "kind"),
    ];
}

/// What the filter knows of this node.
pub(super) struct Facts<'a> {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) state: &'a State,
    /// The newest start of the sender that was heard of, if any was.
    pub(super) heard: Option<Incarnation>,
}

/// The message in `envelope`, if it may be stepped.
pub(super) fn admit(envelope: &Envelope, facts: &Facts<'_>) -> Result<Message, MessageRefusal> {
    if envelope.cluster != facts.cluster {
        return Err(MessageRefusal::Cluster);
    }
    if envelope.to != facts.node || envelope.from == facts.node {
        return Err(MessageRefusal::Addressee);
    }
    if facts.state.is_tombstone(envelope.from) {
        return Err(MessageRefusal::Tombstoned);
    }
    let committed = facts
        .state
        .member(envelope.from)
        .map(|member| member.incarnation);
    if facts
        .heard
        .max(committed)
        .is_some_and(|newest| envelope.incarnation < newest)
    {
        return Err(MessageRefusal::Incarnation);
    }
    if envelope.message.len() > MAX_MESSAGE_BYTES {
        return Err(MessageRefusal::Size);
    }
    let message = Message::decode(&envelope.message[..]).map_err(|_| MessageRefusal::Malformed)?;
    if message.from != envelope.from.0 || message.to != envelope.to.0 || message.term == 0 {
        return Err(MessageRefusal::Malformed);
    }
    check_kind(&message)?;
    Ok(message)
}

fn check_kind(message: &Message) -> Result<(), MessageRefusal> {
    // `raft` panics on a number that is none of the kinds.
    let kind = MessageType::from_i32(message.msg_type).ok_or(MessageRefusal::Kind)?;
    match kind {
        MessageType::MsgAppend => check_entries(message),
        MessageType::MsgSnapshot => {
            let snapshot = message.get_snapshot();
            if snapshot.get_metadata().term > message.term {
                return Err(MessageRefusal::Malformed);
            }
            let read = snapshot::read(snapshot.get_metadata(), snapshot.get_data());
            read.map(|_| ()).map_err(|_| MessageRefusal::Malformed)
        }
        // Nobody of ours asks for a snapshot of some index.
        MessageType::MsgAppendResponse if message.request_snapshot != 0 => {
            Err(MessageRefusal::Malformed)
        }
        MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTimeoutNow
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => Ok(()),
        // Local ones; and what only a leader does for itself here: forwarded proposals, reads and
        // transfers would take an index of their own and could come twice.
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp => Err(MessageRefusal::Kind),
    }
}

/// Entries follow each other and the index that they are said to follow.
fn check_entries(message: &Message) -> Result<(), MessageRefusal> {
    let mut before = (message.index, message.log_term);
    for entry in message.get_entries() {
        let follows = before.0.checked_add(1) == Some(entry.index);
        let is_known = EntryType::from_i32(entry.entry_type).is_some();
        if !is_known || !follows || entry.term < before.1 || entry.term > message.term {
            return Err(MessageRefusal::Malformed);
        }
        before = (entry.index, entry.term);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
