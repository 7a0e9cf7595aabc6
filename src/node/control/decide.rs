//! The autopilot: what a leader does next about the members. Pure: the same facts give the same step.
//!
//! One step at a time, and the next only after its effect is seen in the state. Who votes is in `vote`, how
//! a member goes in `removal`. What follows from what is written down in tests/data/autopilot, where anyone
//! can add a case. The idea is that of HashiCorp's raft-autopilot.

use std::collections::{BTreeMap, BTreeSet};

use super::removal;
use super::vote::vote;
use crate::ids::{Epoch, Millis, NodeId};
use crate::raft::driver::Progress;
use crate::topology::commands::{Command, SetStatus};
use crate::topology::lease::Renewal;
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::model::quorum::{Quorum, QuorumChange, QuorumRole};
use crate::topology::moves::WAVE_MAX;
use crate::topology::state::State;

/// Entries that a member may lack and still count as caught up.
const LAG_MAX: u64 = 250;

/// Ticks since a member was last heard of, for it to count as there: a second.
const SILENT_MAX: u64 = 10;

/// Ticks of silence after which a member is removed that discovery does not know any more: 120 s.
const REMOVED_AFTER: u64 = 1_200;

/// How long a renewal shows that its member is there.
const HEARD_MS: u64 = 1_000;

/// How long after a fail-over the partitions stay as they are.
const SHARE_OUT_AFTER_MS: u64 = 10_000;

/// What a leader knows.
pub(super) struct Facts<'a> {
    pub(super) me: NodeId,
    pub(super) state: &'a State,
    pub(super) last_index: u64,
    pub(super) progress: &'a [Progress],
    /// Ticks for which this node has led: who has not been heard of may have been silent for as long.
    pub(super) led_ticks: u64,
    pub(super) noted: Noted<'a>,
}

/// What a leader has noted while it leads.
#[derive(Clone, Copy)]
pub(super) struct Noted<'a> {
    /// How many voters there are to be: an odd number, since one more would tolerate no more failures.
    pub(super) voters: usize,
    /// Whether partitions are handed over warm, in moves, and not at once and empty.
    pub(super) is_warm: bool,
    /// Since when members are caught up without a break.
    pub(super) caught_up: &'a Since,
    /// Members that discovery says are nowhere any more.
    pub(super) unlisted: &'a BTreeSet<NodeId>,
    /// The last renewal of each member that was decided, and when.
    pub(super) heard: &'a Heard,
    /// No member that holds a lease has applied less.
    pub(super) settled: Epoch,
    pub(super) now: Millis,
    /// When a member was last failed over, or moves were given up, in this term.
    pub(super) failed_over: Option<Millis>,
    /// The partitions were found to be shared out well at this very epoch.
    pub(super) is_shared_out: bool,
}

/// Renewals, and when each was decided.
pub(super) type Heard = BTreeMap<NodeId, (Renewal, Millis)>;

/// Moments by member.
pub(super) type Since = BTreeMap<NodeId, Millis>;

/// The renewals of nobody.
static NOBODY_HEARD: Heard = Heard::new();

/// The moments of nobody.
static NOBODY_SINCE: Since = Since::new();

/// Nobody.
static NOBODY: BTreeSet<NodeId> = BTreeSet::new();

impl Default for Noted<'_> {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            voters: 3,
            is_warm: true,
            caught_up: &NOBODY_SINCE,
            unlisted: &NOBODY,
            heard: &NOBODY_HEARD,
            settled: Epoch(0),
            now: Millis(0),
            failed_over: None,
            is_shared_out: false,
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Propose(Command),
    ChangeQuorum(QuorumChange),
}

/// The next step, if there is one to take.
///
/// A new member first listens; once it has caught up it is in the ring; and as soon as there are enough
/// of those, they vote: from one voter to three in one change, since two tolerate less than one. Who is gone
/// for good goes from the quorum and from the list. While the ring is paused only what nobody answers for is
/// shared out. No voters are chosen that could not decide at once, and while
/// most members are silent all stays as it is.
pub(super) fn decide(facts: &Facts<'_>) -> Next {
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
pub(super) enum Next {
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

pub(super) fn change(changes: impl IntoIterator<Item = (NodeId, QuorumRole)>) -> QuorumChange {
    QuorumChange {
        changes: changes.into_iter().collect(),
    }
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

    /// Whether a member that is down renews again, and knows what it missed.
    fn is_back(&self, member: &MemberRecord) -> bool {
        let heard = self.noted.heard.get(&member.id);
        let is_back = |(renewal, at): &(Renewal, Millis)| {
            renewal.incarnation == member.incarnation
                && renewal.epoch >= self.noted.settled
                && self.noted.now.since(*at) < HEARD_MS
        };
        member.replaced_by.is_none() && heard.is_some_and(is_back)
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

    /// Whether most members are silent: then it may be this node that is cut off.
    fn is_frozen(&self) -> bool {
        let members = self.state.members();
        let is_counted = |status| matches!(status, MemberStatus::Up | MemberStatus::Leaving);
        let counted = members.filter(|member| is_counted(member.status));
        let (mut all, mut silent) = (0, 0);
        for member in counted {
            all += 1;
            silent += usize::from(!self.is_there(member.id));
        }
        silent * 2 > all
    }

    /// Whether those who are heard can decide by themselves, now and after `change`.
    fn can_decide_after(&self, change: &QuorumChange) -> bool {
        let quorum = self.state.quorum();
        let after = Quorum {
            voters: quorum.voters_after(change),
            ..Quorum::default()
        };
        let is_there = |id| self.is_there(id);
        quorum.is_quorum(is_there) && after.is_quorum(is_there)
    }

    /// Ticks since a member was last heard of.
    pub(super) fn silence(&self, id: NodeId) -> u64 {
        if id == self.me {
            return 0;
        }
        let peer = self.progress.iter().find(|peer| peer.node == id);
        // Who is in no quorum is no peer, and has been silent for as long as that.
        peer.and_then(|peer| peer.silent_ticks)
            .unwrap_or(self.led_ticks)
    }

    /// Whether a member was heard of a moment ago.
    pub(super) fn is_there(&self, id: NodeId) -> bool {
        self.silence(id) <= SILENT_MAX
    }

    pub(super) fn has_caught_up(&self, id: NodeId) -> bool {
        if id == self.me {
            return true;
        }
        // Who has just started again is probed, and stays so until there is an entry that it lacks.
        let has_all = |peer: &Progress| peer.matched >= self.last_index;
        let is_near =
            |peer: &Progress| peer.is_replicating && peer.matched + LAG_MAX >= self.last_index;
        let mut peers = self.progress.iter().filter(|peer| peer.node == id);
        peers.any(|peer| {
            let is_heard = peer.silent_ticks.is_some_and(|ticks| ticks <= SILENT_MAX);
            is_heard && (has_all(peer) || is_near(peer))
        })
    }
}

#[cfg(test)]
mod tests;
