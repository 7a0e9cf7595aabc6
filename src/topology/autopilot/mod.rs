//! The autopilot: what a leader does next about the members. Pure: the same facts give the same step.
//!
//! One step at a time, and the next only after its effect is seen in the state. Who votes is in `vote`, how
//! a member goes in `removal`. What follows from what is written down in tests/data/autopilot, where anyone
//! can add a case. The idea is that of HashiCorp's raft-autopilot.

pub mod facts;
pub mod removal;
mod vote;

use self::facts::{Facts, change};
use self::vote::vote;
use crate::topology::commands::{Command, SetStatus};
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::model::quorum::{QuorumChange, QuorumRole};
use crate::topology::moves::WAVE_MAX;

/// Ticks of silence after which a member is removed that discovery does not know any more: 120 s.
const REMOVED_AFTER: u64 = 1_200;

/// How long after a fail-over the partitions stay as they are.
const SHARE_OUT_AFTER_MS: u64 = 10_000;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A command for the log.
    Propose(Command),
    /// Another quorum.
    ChangeQuorum(QuorumChange),
}

/// The next step, if there is one to take.
///
/// A new member first listens; once it has caught up it is in the ring; and as soon as there are enough
/// of those, they vote: from one voter to three in one change, since two tolerate less than one. Who is gone
/// for good goes from the quorum and from the list. While the ring is paused only what nobody answers for is
/// shared out. No voters are chosen that could not decide at once, and while
/// most members are silent all stays as it is.
pub fn decide(facts: &Facts<'_>) -> Next {
    // The driver leaves a joint configuration.
    if facts.state.quorum().is_joint() || facts.is_frozen() {
        return Next::Wait;
    }
    // All that can are in the ring before any of them is chosen to vote.
    let listen = || listen(facts).map(Step::ChangeQuorum);
    let enter_ring = || enter_ring(facts).map(Step::Propose);
    let vote = || vote(facts).map(Step::ChangeQuorum);
    let leave = || facts.leave();
    match listen().or_else(enter_ring).or_else(vote).or_else(leave) {
        Some(Step::ChangeQuorum(change)) if !facts.can_decide_after(&change) => Next::Wait,
        Some(step) => Next::Step(step),
        None if facts.waits_to_share_out() || facts.state.table().is_moving() => Next::Wait,
        None => {
            let command = facts.share_out();
            command.map_or(Next::SharedOut, |command| {
                Next::Step(Step::Propose(command))
            })
        }
    }
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// This.
    Step(Step),
    /// Nothing, and the partitions are shared out as they are to be.
    SharedOut,
    /// Nothing yet.
    Wait,
}

/// Who is a member and hears nothing yet.
fn listen(facts: &Facts<'_>) -> Option<QuorumChange> {
    let quorum = facts.state.quorum();
    let may_hear =
        |member: &&MemberRecord| member.status != MemberStatus::Down || facts.is_back(member);
    let mut members = facts.state.members().filter(may_hear);
    let deaf = members.find(|member| !quorum.contains(member.id))?;
    Some(change([(deaf.id, QuorumRole::Learner)]))
}

/// Who has caught up and owns nothing yet: a member that joins, or one that was down and is heard again.
fn enter_ring(facts: &Facts<'_>) -> Option<Command> {
    let may_enter = |member: &&MemberRecord| match member.status {
        MemberStatus::Joining => facts.has_caught_up(member.id),
        MemberStatus::Down => facts.is_back(member) && facts.has_caught_up(member.id),
        MemberStatus::Up | MemberStatus::Leaving => false,
    };
    let joining = facts.state.members().find(may_enter)?;
    Some(Command::SetStatus(SetStatus {
        id: joining.id,
        status: MemberStatus::Up,
        incarnation: joining.incarnation,
    }))
}

impl Facts<'_> {
    /// What gives everybody his share.
    fn share_out(&self) -> Option<Command> {
        if self.noted.is_shared_out {
            return None;
        }
        if self.state.is_paused() {
            return self.state.plan_rescue();
        }
        let moves = self.noted.is_warm.then(|| self.state.plan_moves(WAVE_MAX));
        moves.flatten().or_else(|| self.state.plan_assign())
    }

    /// Whether shares stay uneven for now: a member that was failed over may be back in a moment, and
    /// what is moved among the others meanwhile would be moved twice.
    pub(super) fn waits_to_share_out(&self) -> bool {
        let is_recent = |at| self.noted.now.since(at) < SHARE_OUT_AFTER_MS;
        self.noted.failed_over.is_some_and(is_recent)
    }

    /// The next step towards a cluster without a member that is gone for good: its name is another's, it
    /// has left, or discovery does not know it any more.
    fn leave(&self) -> Option<Step> {
        let is_gone = |member: &&MemberRecord| {
            // Names that are not used again never come back, whatever discovery says.
            let is_nowhere = self.noted.unlisted.contains(&member.id) || member.leaves_on_term;
            let is_forgotten = is_nowhere && self.silence(member.id) >= REMOVED_AFTER;
            let has_left = member.leaves_on_term && member.has_left;
            let is_gone = member.replaced_by.is_some() || has_left || is_forgotten;
            member.status == MemberStatus::Down && !self.is_back(member) && is_gone
        };
        let gone = self.state.members().filter(is_gone);
        let mut steps = gone.filter_map(|member| match removal::next(self, member.id) {
            removal::Step::Propose(command, _) | removal::Step::Remove(command) => {
                Some(Step::Propose(command))
            }
            removal::Step::ChangeQuorum(change, _) => Some(Step::ChangeQuorum(change)),
            removal::Step::Gone | removal::Step::Refuse(_) | removal::Step::Wait(_) => None,
        });
        steps.next()
    }
}

#[cfg(test)]
mod tests;
