//! The autopilot: decides the next step that a leader takes for its members. Pure: the same facts give the
//! same step.
//!
//! It takes one step at a time, and the next only after the state shows the effect of the last. `vote`
//! chooses the voters, `removal` removes a member. tests/data/autopilot lists facts with the steps that
//! follow from them; a new case is a new file there. The idea is that of HashiCorp's raft-autopilot.

use super::facts::{Facts, change};
use super::removal;
use super::vote::vote;
use crate::topology::commands::{Command, SetStatus};
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::model::quorum::{QuorumChange, QuorumRole};
use crate::topology::moves::WAVE_MAX;

/// Ticks of silence after which a member that discovery no longer lists is removed: 120 s.
const REMOVED_AFTER: u64 = 1_200;

/// How long after a fail-over the autopilot does not share partitions out: a process that is started anew is back by
/// then. With the time until a member is down this is less than 10 s from its death.
const SHARE_OUT_AFTER_MS: u64 = 5_500;

/// One step of a leader.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A command for the log.
    Propose(Command),
    /// A change of the quorum.
    ChangeQuorum(QuorumChange),
}

/// Decides the next step, if there is one to take.
///
/// A new member is first a learner. Once it has caught up, it enters the ring. As soon as there are enough
/// members in the ring, they become voters: from one voter to three in one change, because two voters
/// tolerate fewer failures than one. A member that is gone for good is removed from the quorum and then from
/// the members. While the ring is paused, only partitions that no member answers for are assigned. No change
/// of the quorum is made after which the voters that are heard could not decide at once, and while most
/// members are silent nothing changes.
pub fn decide(facts: &Facts<'_>) -> Next {
    // The driver ends a joint configuration by itself.
    if facts.state.quorum().is_joint() || facts.is_frozen() {
        return Next::Wait;
    }
    // All members that can enter the ring do so before any of them is chosen to vote.
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

/// What the leader should do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Take this step.
    Step(Step),
    /// Nothing: the partitions are shared out as they should be.
    SharedOut,
    /// Wait: nothing can be done yet.
    Wait,
}

/// Makes a member outside the quorum a learner.
fn listen(facts: &Facts<'_>) -> Option<QuorumChange> {
    let quorum = facts.state.quorum();
    let may_hear =
        |member: &&MemberRecord| member.status != MemberStatus::Down || facts.is_back(member);
    let mut members = facts.state.members().filter(may_hear);
    let outside = members.find(|member| !quorum.contains(member.id))?;
    Some(change([(outside.id, QuorumRole::Learner)]))
}

/// Brings a member that has caught up into the ring: one that joins, or one that was down and renews again.
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
    /// The command that gives each member its share.
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
    /// partitions that moved among the others in between would move twice.
    fn waits_to_share_out(&self) -> bool {
        let is_recent = |at| self.noted.now.since(at) < SHARE_OUT_AFTER_MS;
        self.noted.failed_over.is_some_and(is_recent)
    }

    /// The next step towards a cluster without a member that is gone for good: another member has its name,
    /// it has left, or discovery no longer lists it.
    fn leave(&self) -> Option<Step> {
        let is_gone = |member: &&MemberRecord| {
            // A member that leaves on term never comes back under its name, even if discovery lists its
            // address.
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
