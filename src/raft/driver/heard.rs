//! What a driver remembers of each peer: when it heard of it last, and what it has heard it promise.

use raft::eraftpb::{EntryType, Message, MessageType};
use raft::{GetEntriesContext, Storage as _};

use super::Driver;
use crate::ids::{Incarnation, NodeId};
use crate::membership::promises::{OwnLog, Promise, Promised};
use crate::raft::disk::Disk;
use crate::raft::log::OpenError;

/// A peer that was heard of.
#[derive(Clone, Copy, Default)]
pub(super) struct Heard {
    /// When, in ticks.
    pub(super) tick: u64,
    pub(super) promised: Promised,
}

impl Heard {
    /// Notes a message.
    pub(super) fn note(&mut self, tick: u64, incarnation: Incarnation, message: &Message) {
        self.tick = tick;
        let promise = match message.get_msg_type() {
            // Of a term that its sender may never enter: nothing is written for them.
            MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse => {
                return self.promised.note(incarnation, 0, Promise::Nothing);
            }
            MessageType::MsgAppendResponse if !message.reject => {
                Promise::Acknowledges(message.index)
            }
            MessageType::MsgRequestVoteResponse if !message.reject => Promise::Votes,
            // For itself.
            MessageType::MsgRequestVote => Promise::Votes,
            _ => Promise::Nothing,
        };
        self.promised.note(incarnation, message.term, promise);
    }
}

impl<D: Disk> Driver<D> {
    /// What this node has heard each peer promise since it has started.
    #[must_use]
    pub fn heard_promises(&self) -> Vec<(NodeId, Promised)> {
        let heard = self.heard.iter();
        heard.map(|(node, heard)| (*node, heard.promised)).collect()
    }

    /// The log as it was opened, before the first turn.
    ///
    /// # Errors
    /// The log contradicts itself.
    pub fn own_log(&self) -> Result<OwnLog, OpenError> {
        let log = self.raw.store();
        let hard = log.hard_state();
        let (first, last) = (self.applied + 1, log.end().index);
        let entries = match first > last {
            true => Vec::new(),
            false => log
                .entries(first, last + 1, None, GetEntriesContext::empty(false))
                .map_err(|error| OpenError::Corrupt(error.to_string()))?,
        };
        let changes =
            |entry: &raft::eraftpb::Entry| entry.get_entry_type() != EntryType::EntryNormal;
        let is_alone = self.state.quorum().is_alone(self.ident.node);
        Ok(OwnLog {
            cluster: self.ident.cluster,
            node: self.ident.node,
            incarnation: self.ident.incarnation,
            term: hard.term,
            has_voted: hard.vote != 0,
            last,
            is_alone: is_alone && !entries.iter().any(changes),
        })
    }
}
