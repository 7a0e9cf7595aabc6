//! The driver: one node's Raft, as a function from events to effects.
//!
//! [`Driver::turn`] takes what happened and gives what is to be done; it asks for no time, starts no
//! thread and opens no socket, so the simulator runs the very code that a node runs. It writes to its
//! disk itself, since what may be sent depends on what was written: `ready` has that order.
//!
//! Called by `raft::thread` on a thread of its own, and by `tests/sim`. README.md beside this file is
//! the overview, with the rules D1 to D21 and the test of each.

mod apply;
mod election;
mod heard;
pub mod mistake;
mod open;
pub mod orphan;
mod quorum;
mod ready;
mod requests;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};

use self::election::Election;
use self::heard::Heard;
use self::mistake::Mistake;
use self::requests::Requests;
use super::disk::{Disk, DiskError};
use super::envelope::{Envelope, Lane, Sender};
use super::event::{Effect, Event, Outcome, RequestId, Role, Standing};
use super::filter::{self, Facts, MessageRefusal};
use super::log::{Ident, Log};
use crate::ids::{Incarnation, NodeId};
use crate::topology::model::quorum::Progress;
use crate::topology::state::State;

pub use self::settings::{
    CHECKPOINT_EVERY, ELECTION_TICKS, HEARTBEAT_TICKS, MAX_INFLIGHT_MESSAGES, Settings,
};

/// Why a driver ended. It never turns again, and nothing more may be sent in its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The disk failed: what it holds is unknown.
    #[error("the disk failed: {0}")]
    Disk(#[from] DiskError),
    /// An entry that this executable cannot read was committed. Skipping it would make this node's
    /// state another than the others'.
    #[error("entry {index} cannot be applied: {error}")]
    Entry {
        /// Its index.
        index: u64,
        /// What is wrong with it.
        error: String,
    },
    /// Raft itself failed.
    #[error("raft failed: {0}")]
    Raft(String),
}

/// The Raft of one node. See the module.
pub struct Driver<D: Disk> {
    raw: RawNode<Log<D>>,
    settings: Settings,
    ident: Ident,
    state: Arc<State>,
    applied: u64,
    applied_term: u64,
    snapshot_index: u64,
    election: Election,
    requests: Requests,
    role: Role,
    ticks: u64,
    /// When each peer was last heard of, and what it has promised.
    heard: BTreeMap<NodeId, Heard>,
    /// The last hashes of the state, by index.
    checkpoints: BTreeMap<u64, u64>,
    /// The requests for a snapshot in this turn.
    compactions: Vec<RequestId>,
    /// What a message said that ends it.
    lost: Option<Fatal>,
    /// Why it ended.
    ended: Option<Fatal>,
}

/// Where the effects of a turn go, in their order.
type Sink<'a> = &'a mut dyn FnMut(Effect);

impl<D: Disk> Driver<D> {
    /// Handles `events`, and then everything that follows from them.
    ///
    /// Effects come out while the turn runs: a message that must not leave before a write comes out
    /// after it. When this returns, every event is handled and all that is to be sent was given.
    ///
    /// # Errors
    /// The driver is at its end. Effects that came out before are valid; requests without an answer
    /// are unknown.
    pub fn turn(
        &mut self,
        events: &mut dyn Iterator<Item = Event>,
        effects: Sink<'_>,
    ) -> Result<(), Fatal> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        let turned = self.try_turn(events, effects);
        self.ended = turned.as_ref().err().cloned();
        turned
    }

    fn try_turn(
        &mut self,
        events: &mut dyn Iterator<Item = Event>,
        effects: Sink<'_>,
    ) -> Result<(), Fatal> {
        for event in events {
            self.handle(event, effects);
            if let Some(lost) = self.lost.take() {
                return Err(lost);
            }
            self.election.pin(&mut self.raw.raft);
        }
        self.ask_quorum(effects);
        self.settle(effects)?;
        self.leave_joint();
        self.settle(effects)?;
        self.compact_if_due(effects)
    }

    fn handle(&mut self, event: Event, effects: Sink<'_>) {
        match event {
            Event::Tick => self.tick(effects),
            Event::Receive(envelope) => self.receive(&envelope, effects),
            Event::Propose(request, command) => self.propose(request, command, effects),
            Event::ChangeQuorum(request, change) => self.change_quorum(request, &change, effects),
            Event::Read(request) => self.read(request, effects),
            Event::Transfer(request, to) => self.transfer(request, to, effects),
            Event::Compact(request) => self.compactions.push(request),
            Event::Unreachable(peer) => self.raw.report_unreachable(peer.0),
            Event::SnapshotSent(peer, is_sent) => self.snapshot_sent(peer, is_sent),
        }
    }

    fn tick(&mut self, effects: Sink<'_>) {
        self.ticks += 1;
        self.raw.tick();
        self.election.ticked(&self.raw.raft);
        if self.is_alone() && !self.leads() {
            // Waiting is for a node that might hear of a leader; committed changes of the quorum come first.
            let _too_early = self.raw.campaign();
        }
        // Silence is news too, and makes no Ready on a node that does not vote. A new term is reported
        // after it is written.
        if self.term() == self.role.term && !self.leads() {
            self.report_role(effects);
        }
        for request in self.requests.expired_reads(self.ticks) {
            let outcome = Outcome::Refused("no quorum answered in time");
            effects(Effect::Resolved(request, outcome));
        }
    }

    fn receive(&mut self, envelope: &Envelope, effects: Sink<'_>) {
        let from = envelope.from;
        let facts = Facts {
            cluster: self.ident.cluster,
            node: self.ident.node,
            state: &self.state,
            heard: self
                .heard
                .get(&from)
                .map(|heard| heard.promised.incarnation),
        };
        let message = match filter::admit(envelope, &facts) {
            Ok(message) => message,
            Err(refusal) => match self.heard_anyway(envelope, refusal) {
                Some(message) => message,
                None => return effects(Effect::Refused(Sender::from(envelope), refusal)),
            },
        };
        if self.state.member(from).is_some() {
            let heard = self.heard.entry(from).or_default();
            heard.note(self.ticks, envelope.incarnation, &message);
        }
        if self.has_lost_its_log(&message) {
            let reason = format!(
                "{from} says that this node has acknowledged entry {}, and its log ends at {}",
                message.commit,
                self.last_index()
            );
            self.lost = Some(Fatal::Raft(reason));
            return;
        }
        if let Some((index, hash)) = envelope.checkpoint
            && !self.makes(Mistake::StatesNotCompared)
            && self.checkpoints.get(&index).is_some_and(|own| *own != hash)
        {
            effects(Effect::Diverged(from, index));
        }
        // An error here says that the message came too late to mean anything.
        let _late = self.raw.step(message);
    }

    /// Whether the leader counts on entries that are not there. It commits on this node what this node
    /// has acknowledged: so its log was lost, and it must not vote.
    fn has_lost_its_log(&self, message: &Message) -> bool {
        message.get_msg_type() == MessageType::MsgHeartbeat
            && message.term >= self.term()
            && message.commit > self.last_index()
    }

    fn transfer(&mut self, request: RequestId, to: NodeId, effects: Sink<'_>) {
        let outcome = if self.leads() {
            if to == self.ident.node {
                Outcome::Done
            } else if !self.state.quorum().voters.contains(&to) {
                Outcome::Refused("leadership goes to a voter only")
            } else {
                self.raw.transfer_leader(to.0);
                Outcome::Done
            }
        } else {
            Outcome::NotLeader(self.leader())
        };
        effects(Effect::Resolved(request, outcome));
    }

    fn snapshot_sent(&mut self, peer: NodeId, is_sent: bool) {
        if self.makes(Mistake::LostSnapshotReport) {
            return;
        }
        let status = if is_sent {
            SnapshotStatus::Finish
        } else {
            SnapshotStatus::Failure
        };
        self.raw.report_snapshot(peer.0, status);
    }

    /// Puts messages in envelopes. Each belongs to the lane that its loss would hurt least.
    fn send(&mut self, messages: Vec<Message>, effects: Sink<'_>) {
        let checkpoint = self.checkpoints.last_key_value();
        let checkpoint = checkpoint.map(|(index, hash)| (*index, *hash));
        for message in messages {
            let lane = match message.get_msg_type() {
                MessageType::MsgSnapshot => Lane::Snapshot,
                MessageType::MsgAppend | MessageType::MsgAppendResponse => Lane::Append,
                _ => Lane::Heartbeat,
            };
            let to = NodeId(message.to);
            let envelope = Envelope {
                cluster: self.ident.cluster,
                from: self.ident.node,
                incarnation: self.ident.incarnation,
                to,
                checkpoint,
                message: prost_for_raft::Message::encode_to_vec(&message).into(),
            };
            effects(Effect::Send(lane, envelope));
        }
    }

    /// Reports which node leads, and in which term, if that has changed.
    fn report_role(&mut self, effects: Sink<'_>) {
        let role = Role {
            term: self.raw.raft.term,
            leader: self.leader(),
            is_leader: self.leads(),
        };
        if role == self.role {
            return;
        }
        if self.role.is_leader && (!role.is_leader || role.term != self.role.term) {
            for request in self.requests.lose_reads() {
                let outcome = Outcome::NotLeader(role.leader);
                effects(Effect::Resolved(request, outcome));
            }
        }
        self.role = role;
        effects(Effect::Role(role));
    }

    fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Whether nobody else votes, as far as this node has applied: then nobody else can lead.
    fn is_alone(&self) -> bool {
        let quorum = self.state.quorum();
        !quorum.is_joint() && quorum.voters.iter().eq([&self.ident.node])
    }

    /// The leader, as far as this node has heard lately. `raft` remembers a leader for ever on a node
    /// that does not vote, since that one never campaigns.
    fn leader(&self) -> Option<NodeId> {
        let raft = &self.raw.raft;
        let is_silent = !self.leads() && raft.election_elapsed >= 2 * ELECTION_TICKS;
        let leader = raft.leader_id;
        (leader != raft::INVALID_ID && !is_silent).then_some(NodeId(leader))
    }

    /// The message in an envelope that was refused, if it is a mistake of this driver to hear it.
    fn heard_anyway(&self, envelope: &Envelope, refusal: MessageRefusal) -> Option<Message> {
        let mistake = match refusal {
            MessageRefusal::Cluster => Mistake::OtherClusterHeard,
            MessageRefusal::Addressee => Mistake::OtherAddresseeHeard,
            MessageRefusal::Tombstoned => Mistake::RemovedHeard,
            MessageRefusal::Incarnation => Mistake::OldStartHeard,
            MessageRefusal::Size | MessageRefusal::Malformed | MessageRefusal::Kind => {
                Mistake::MalformedHeard
            }
        };
        let message = self.makes(mistake).then_some(&envelope.message[..])?;
        prost_for_raft::Message::decode(message).ok()
    }

    /// Whether this driver is to make this mistake, to see whether the simulator finds it.
    fn makes(&self, mistake: Mistake) -> bool {
        self.settings.makes(mistake)
    }

    /// Returns what was applied so far.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The index of the last entry that was applied.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The index of the last entry that is known to be committed.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    /// The index of the first entry that is still there.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.raw.raft.raft_log.first_index()
    }

    /// The index of the last entry.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// The term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// The role of this node, as of the last turn.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Which node this is, and which start of it.
    #[must_use]
    pub fn ident(&self) -> &Ident {
        &self.ident
    }

    /// Which start of the node this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.ident.incarnation
    }

    /// Returns how many writes and how many of them synced the disk has done.
    #[must_use]
    pub fn writes(&self) -> (u64, u64) {
        (self.raw.store().writes(), self.raw.store().syncs())
    }

    /// Entries from `from` on that are committed and still there: index, term and encoding.
    #[must_use]
    pub fn entries(&self, from: u64) -> Vec<(u64, u64, Bytes)> {
        let low = from.max(self.first_index());
        let high = self.commit() + 1;
        if low >= high {
            return Vec::new();
        }
        let context = raft::GetEntriesContext::empty(false);
        let found = self.raw.raft.raft_log.slice(low, high, None, context);
        let entries = found.unwrap_or_default().into_iter();
        entries
            .map(|entry| {
                let encoded = prost_for_raft::Message::encode_to_vec(&entry);
                (entry.index, entry.term, encoded.into())
            })
            .collect()
    }

    /// What others see of this driver.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            role: self.role,
            applied: self.applied,
            commit: self.commit(),
            progress: self.progress(),
            promised: self.heard_promises(),
        }
    }

    /// Returns how far each peer is, as a leader sees it; nothing from others.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        if !self.leads() {
            return Vec::new();
        }
        let mut peers: Vec<_> = self
            .raw
            .raft
            .prs()
            .iter()
            .map(|(id, progress)| Progress {
                node: NodeId(*id),
                matched: progress.matched,
                is_replicating: progress.state == raft::ProgressState::Replicate,
                silent_ticks: self
                    .heard
                    .get(&NodeId(*id))
                    .map(|heard| self.ticks - heard.tick),
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.node);
        peers
    }
}

#[cfg(test)]
mod tests;
