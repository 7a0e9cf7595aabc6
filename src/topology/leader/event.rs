//! What happens to a leader, and what it wants done. Pure.
//!
//! The shell around a [`Leader`](super::Leader) turns requests, ticks and outcomes into events and carries the
//! effects out. A question or a step names the term that it belongs to: its outcome means nothing in another.

use std::collections::BTreeSet;

use super::decide::Step;
use crate::ids::{Epoch, Millis, NodeId};
use crate::topology::commands::refusal::Refusal;
use crate::topology::lease::{Grant, LeaseRefusal, Renewal, Round};
use crate::topology::model::quorum::Progress;
use crate::topology::state::State;

/// A caller that waits for an answer. The shell chooses the number and never reuses it in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller(pub u64);

/// What a leader sees of its own Raft.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The term that this node leads; none while it does not lead.
    pub leads: Option<u64>,
    /// The last index that is known to be committed.
    pub commit: u64,
    /// The last index that was applied.
    pub applied: u64,
    /// How far the log of each peer is.
    pub progress: Vec<Progress>,
}

/// The surroundings of a turn: what the leader reads, and never changes.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The time, by the clock of this process.
    pub now: Millis,
    /// The state as this node has applied it.
    pub state: &'a State,
    /// What this node's Raft reports.
    pub standing: &'a Standing,
}

/// What happens to a leader.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something of [`Around`] may have changed, such as the leadership.
    Changed,
    /// It is time to look for a step to take. The members that are down and that discovery lists no more.
    Look(BTreeSet<NodeId>),
    /// A member asks to renew its lease.
    Renew(Caller, Renewal),
    /// An operator asks to remove a member for ever.
    Remove(Caller, NodeId),
    /// An operator waits for the end of its removal no more.
    Left(Caller),
    /// A question has an answer: [`Outcome::Applied`] if a quorum has confirmed, after it was asked, that this
    /// node leads.
    Answered {
        /// The question.
        question: Question,
        /// The answer.
        outcome: Outcome,
    },
    /// A step has ended.
    Ended {
        /// The term of the step.
        term: u64,
        /// Its outcome.
        outcome: Outcome,
    },
}

/// A question to the quorum: whether this node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The term in which it is asked.
    pub term: u64,
    /// For what it is asked.
    pub about: About,
}

/// What a question is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Renewals of leases.
    Renewals(Round),
    /// The removal that this caller asked for: a leader must not refuse because of an old state.
    Removal(Caller),
}

/// The outcome of a step or a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The step was committed and applied, or the question was answered with yes.
    Applied,
    /// It was committed and changed nothing: the state has changed since it was decided.
    Void(Refusal),
    /// Raft did not take it, for this reason.
    Refused(&'static str),
    /// This node does not lead any more, and the step will never be committed. The leader, if it is known.
    NotLeader(Option<NodeId>),
    /// It may have been committed, or may yet be.
    Unknown,
}

/// What a leader wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer a renewal.
    Answer(Caller, Answer),
    /// Ask the quorum, and report by [`Event::Answered`].
    Ask(Question),
    /// Take a step in this term, and report by [`Event::Ended`]. There is one at a time in a term.
    Take(u64, Step),
    /// Publish what is settled now.
    Publish(Settled),
    /// Answer the operator that asked to remove a member.
    Removal(Caller, Removal),
    /// Report something to operators.
    Report(Report),
}

/// The answer to a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lease is granted.
    Granted(Grant),
    /// It is not, for this reason.
    Refused(LeaseRefusal),
    /// The member was removed, and its id is never used again.
    Removed,
    /// This node does not lead: no more, or not yet. Or a later renewal of the member was decided instead.
    NotLeader,
}

/// What is settled, while this node leads; none while it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Every member that holds a lease has applied this epoch.
    pub epoch: Option<Epoch>,
    /// The members that hold a lease and have not applied the latest epoch.
    pub behind: Vec<NodeId>,
    /// Whether every member that holds a lease knows that it may act for what it owns.
    pub all_act: bool,
}

impl Settled {
    /// Whether an operator that waits for `epoch` waits no more: it is settled and every member acts for what
    /// it owns.
    #[must_use]
    pub fn covers(&self, epoch: Epoch) -> bool {
        self.epoch.is_some_and(|is| is >= epoch) && self.all_act
    }
}

/// The end of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The member is removed.
    Removed {
        /// It was removed before anything was done.
        was_gone: bool,
        /// The steps that were taken, in words.
        done: Vec<String>,
        /// The epoch of the state afterwards.
        epoch: Epoch,
    },
    /// It is not possible now: the reason, and what would help.
    Refused(String),
    /// This node does not lead; nothing was done here. The leader, if it is known.
    Elsewhere(Option<NodeId>),
    /// It has not ended: the steps that were taken and the reason why not the rest. Asking again goes on.
    Unfinished(String),
}

/// What a leader reports to operators, in its node's log.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A member is down, and its partitions went to others.
    Down(NodeId),
    /// Moves are given up: the members do not reach each other, or, if false, the new owners leave.
    MovesGivenUp {
        /// Whether the members do not reach each other.
        is_unreachable: bool,
    },
    /// A step has ended so.
    Ended(Step, Outcome),
}
