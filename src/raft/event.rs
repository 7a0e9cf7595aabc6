//! What goes into the driver and what comes out of it.

use std::sync::Arc;

use bytes::Bytes;

use super::envelope::{Envelope, Lane, Sender};
use super::filter::MessageRefusal;
use crate::ids::NodeId;
use crate::membership::promises::Promised;
use crate::membership::seen::Leads;
use crate::topology::Refusal;
use crate::topology::commands::Change;
use crate::topology::leader;
use crate::topology::model::quorum::{Progress, QuorumChange};
use crate::topology::state::State;

/// A question of the driver's caller, which chooses the number and never reuses it in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happens to a driver.
#[derive(Clone, Debug)]
pub enum Event {
    /// A tick of the clock has passed.
    Tick,
    /// A message arrived. The driver checks all of it: it may be anything.
    Receive(Envelope),
    /// Commit this encoded command.
    Propose(RequestId, Bytes),
    /// Change the voters or the learners.
    ChangeQuorum(RequestId, QuorumChange),
    /// Say when the applied state is at least as new as everything acknowledged before this question.
    Read(RequestId),
    /// Hand the leadership to this voter.
    Transfer(RequestId, NodeId),
    /// Take a snapshot now and drop the entries before it.
    Compact(RequestId),
    /// A message to this node was lost, or may have been.
    Unreachable(NodeId),
    /// The snapshot for this node arrived, or it did not.
    SnapshotSent(NodeId, bool),
}

/// What a driver wants done, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send this, or report that it could not be: [`Event::Unreachable`] for any lane, and
    /// [`Event::SnapshotSent`] for each snapshot, whatever became of it.
    Send(Lane, Envelope),
    /// The answer to a request. Each gets one; one without it is unknown.
    Resolved(RequestId, Outcome),
    /// The state changed.
    Applied(Arc<State>),
    /// Another node leads, or in another term.
    Role(Role),
    /// A message was refused, and why.
    Refused(Sender, MessageRefusal),
    /// This peer's state at this index is another than ours. One of the two is wrong.
    Diverged(NodeId, u64),
}

/// What a node knows of the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The term.
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// Whether this node leads.
    pub is_leader: bool,
}

impl From<Role> for Leads {
    fn from(role: Role) -> Self {
        match role.leader {
            _ if role.is_leader => Self::Itself,
            Some(_) => Self::Another,
            None => Self::Nobody,
        }
    }
}

/// What others see of the driver.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Which node leads, and in which term.
    pub role: Role,
    /// The last index that was applied.
    pub applied: u64,
    /// The last index that is known to be committed.
    pub commit: u64,
    /// How far each peer is, if this node leads.
    pub progress: Vec<Progress>,
    /// What this node has heard each peer promise since it has started.
    pub promised: Vec<(NodeId, Promised)>,
}

impl Standing {
    /// What the leader of this node goes by.
    #[must_use]
    pub fn leading(&self) -> leader::Standing {
        leader::Standing {
            leads: self.role.is_leader.then_some(self.role.term),
            commit: self.commit,
            applied: self.applied,
            progress: self.progress.clone(),
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The command or the change of the quorum was committed at this index and applied, and the state
    /// says what it did: a refusal changed nothing.
    Applied {
        /// The index of its entry.
        index: u64,
        /// What it did.
        result: Result<Change, Refusal>,
    },
    /// The state applied by now, at this index, holds everything that was acknowledged before the
    /// question was asked.
    Readable(u64),
    /// Done: the transfer began, the snapshot was taken.
    Done,
    /// Nothing was proposed since this node does not lead, or what was proposed was replaced and can
    /// never be committed. The leader, if one is known.
    NotLeader(Option<NodeId>),
    /// Nothing was proposed, and why.
    Refused(&'static str),
    /// It may have been committed, or may yet be, or never.
    Unknown,
}

impl Outcome {
    /// The outcome of a question whether this node leads, as a leader sees it: applied if it is readable.
    #[must_use]
    pub fn of_question(self) -> leader::event::Outcome {
        match self {
            Self::Readable(_) => leader::event::Outcome::Applied,
            other => other.into(),
        }
    }
}

impl From<Outcome> for leader::event::Outcome {
    /// The outcome of a step, as a leader sees it.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied { result: Ok(_), .. } => Self::Applied,
            Outcome::Applied {
                result: Err(refusal),
                ..
            } => Self::Void(refusal),
            Outcome::Refused(why) => Self::Refused(why),
            Outcome::NotLeader(leader) => Self::NotLeader(leader),
            Outcome::Unknown | Outcome::Done | Outcome::Readable(_) => Self::Unknown,
        }
    }
}
