//! How a member gives away what it owns before it stops, so that no standby has to take over. Pure.
//!
//! Two decisions run beside each other. [`Leaving`] is the member's: it announces that the member is leaving,
//! and waits until other members own what it owned and all members know. [`Stopping`] is the process's, which
//! gives the member so much time and no more.
//!
//! The member stays a member: when it starts again it gets its share and its vote back. One that leaves for
//! good (`leave_on_term`) also gives its vote away, last of all: it votes until the leader has given the vote
//! to a member that stays, or has made do without it. Else a few members that stop within seconds of each
//! other, in any order, would leave too few voters behind. It is rule D13 of the Raft driver.
//!
//! While the ring is paused nothing moves, so the member cannot give its partitions away: it gives its vote
//! away, if it leaves for good, and the standbys take over.
//!
//! If the member leads, it hands the leadership over once others own what it owned, not before: its own leases
//! show at once what is settled, and a successor would not know that for 3 s. It hands over to a voter that
//! stays; while there is none, it makes one first.

use super::seen::Leads;
use crate::ids::{Epoch, Incarnation, Millis, NodeId};
use crate::topology::commands::{Command, SetStatus};
use crate::topology::leader::may_give_vote;
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// The pause between two attempts to announce that a member is leaving, in milliseconds.
pub const SAY_EVERY_MS: u64 = 200;

/// How long a leaving member waits for a leader, in milliseconds: other nodes may be stopping too.
const LEADERLESS_MAX_MS: u64 = 3_000;

/// The part of its time that a leaving member reserves for the agreement after the sending, in milliseconds:
/// at most this, and at most half of its time. The agreement takes a few commits, which all members must
/// apply.
const AGREE_MAX_MS: u64 = 5_000;

/// The stage of a node's leaving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The node has not been asked to leave.
    #[default]
    Stays,
    /// It gives away what it owns.
    Leaves,
    /// Other members own what it owned.
    HasLeft,
    /// No member can take what it owns, or none may.
    GaveUp,
}

/// What a leaving member sees.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The state that it has applied.
    pub state: &'a State,
    /// The epoch that all members with a lease have applied, as far as it knows.
    pub settled: Epoch,
    /// The leader that it knows.
    pub leads: Leads,
}

/// The next step of a leaving member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Commit [`Leaving::command`], since this member leads; then wait as below.
    CommitHere,
    /// Ask the seeds and the members in the state to have the leader commit [`Leaving::command`]; then wait as
    /// below.
    AskOthers,
    /// Wait until the state changes, for [`SAY_EVERY_MS`] at most.
    Wait,
    /// Hand the leadership to a voter that stays; then wait as above. The next leader takes this member's vote.
    HandOver,
    /// Stop: other members own what it owned, all members know, and it has no vote that another could take.
    HasLeft,
    /// Stop without having left.
    GiveUp(Obstacle),
}

/// Why a member cannot leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No other member is up.
    NobodyElse,
    /// The ring is paused, and the member owns so many partitions.
    Paused(usize),
    /// Nobody has led for a while.
    Leaderless,
}

/// A member that leaves.
#[derive(Clone, Debug)]
pub struct Leaving {
    own: NodeId,
    incarnation: Incarnation,
    /// When a leader was known last.
    led_at: Millis,
    /// The epoch since when others own all. Later epochs are not waited for: there may be a new one every
    /// moment.
    relieved: Option<Epoch>,
}

impl Leaving {
    /// The start `incarnation` of member `own` leaves from now on.
    #[must_use]
    pub fn new(own: NodeId, incarnation: Incarnation, now: Millis) -> Self {
        Self {
            own,
            incarnation,
            led_at: now,
            relieved: None,
        }
    }

    /// The command that announces it.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::SetStatus(SetStatus {
            id: self.own,
            status: MemberStatus::Leaving,
            incarnation: self.incarnation,
        })
    }

    /// The next step.
    pub fn next(&mut self, now: Millis, seen: &Seen<'_>) -> Next {
        let state = seen.state;
        let has_vote_to_give = may_give_vote(state, self.own);
        let ring = self.ring(seen);
        if seen.leads != Leads::Nobody {
            self.led_at = now;
        }
        // Whoever leaves for good announces that in any case: others that leave count on it.
        let is_of_use = match ring {
            Ring::Obstructed(Obstacle::NobodyElse) => has_vote_to_give,
            Ring::Obstructed(_) => leaves_for_good(state, self.own),
            Ring::Gives | Ring::IsRelieved => true,
        };
        if !is_announced(state, self.own) && is_of_use {
            // Without a leader for long, others are stopping too; but a vote must not be lost by that.
            return match seen.leads {
                Leads::Itself => Next::CommitHere,
                Leads::Nobody if !has_vote_to_give && self.is_leaderless(now) => {
                    Next::GiveUp(Obstacle::Leaderless)
                }
                Leads::Another | Leads::Nobody => Next::AskOthers,
            };
        }
        match ring {
            Ring::Gives if has_vote_to_give || !self.is_leaderless(now) => Next::Wait,
            Ring::Gives => Next::GiveUp(Obstacle::Leaderless),
            _ if has_vote_to_give
                && seen.leads == Leads::Itself
                && stays_another(state, self.own) =>
            {
                Next::HandOver
            }
            _ if has_vote_to_give => Next::Wait,
            Ring::Obstructed(obstacle) => Next::GiveUp(obstacle),
            Ring::IsRelieved => Next::HasLeft,
        }
    }

    /// How far the member is with giving its partitions away.
    fn ring(&mut self, seen: &Seen<'_>) -> Ring {
        let state = seen.state;
        let owned = state.table().owned_by(self.own);
        let is_relieved = is_announced(state, self.own) && owned == 0;
        self.relieved = is_relieved.then(|| self.relieved.unwrap_or(state.epoch()));
        if self.relieved.is_some_and(|epoch| seen.settled >= epoch) {
            return Ring::IsRelieved;
        }
        if !is_another_up(state, self.own) {
            return Ring::Obstructed(Obstacle::NobodyElse);
        }
        if state.is_paused() && owned > 0 && !is_giving(state, self.own) {
            return Ring::Obstructed(Obstacle::Paused(owned));
        }
        Ring::Gives
    }

    /// Whether nobody has led for a while.
    fn is_leaderless(&self, now: Millis) -> bool {
        now.since(self.led_at) > LEADERLESS_MAX_MS
    }
}

/// How far a member is with giving its partitions away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    /// It is under way.
    Gives,
    /// Others own all that it owned, and all members know.
    IsRelieved,
    /// Nothing can move.
    Obstructed(Obstacle),
}

/// Whether the state shows that member `own` is leaving, or that it has nothing to leave.
fn is_announced(state: &State, own: NodeId) -> bool {
    let member = state.member(own);
    member.is_none_or(|member| matches!(member.status, MemberStatus::Leaving | MemberStatus::Down))
}

/// Whether member `own` never comes back once it is stopped.
fn leaves_for_good(state: &State, own: NodeId) -> bool {
    state
        .member(own)
        .is_some_and(|member| member.leaves_on_term)
}

/// Whether another voter than `own` stays.
fn stays_another(state: &State, own: NodeId) -> bool {
    let mut voters = state.quorum().voters.iter();
    voters.any(|voter| *voter != own && state.is_up(*voter))
}

/// Whether a partition moves away from member `own`: moves that have begun go on, even while the ring is
/// paused.
fn is_giving(state: &State, own: NodeId) -> bool {
    let mut table = state.table().iter();
    table.any(|(_, at)| at.owner == Some(own) && at.move_to.is_some())
}

fn is_another_up(state: &State, own: NodeId) -> bool {
    let mut others = state.members().filter(|member| member.id != own);
    others.any(|member| member.status == MemberStatus::Up)
}

/// A process that is to stop, and gives its member some time to leave.
#[derive(Clone, Debug)]
pub struct Stopping {
    began: Millis,
    patience_ms: u64,
    has_reported: bool,
}

/// The next step of a process that is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopNext {
    /// Wait until this moment, or until the stage changes.
    Wait(Millis),
    /// Report that the member stops soon: entries that are not sent by now are loaded anew.
    StopsSoon,
    /// Stop: the member has left.
    HasLeft,
    /// Stop: the member could not leave.
    GaveUp,
    /// Stop: the time is up, and the member owns partitions that no other member took yet.
    TimeIsUp,
}

impl Stopping {
    /// Begins to stop at `now`. None if there is nothing to wait for: a node that is no member has nothing to
    /// leave, and one whose control plane has ended cannot leave.
    #[must_use]
    pub fn begin(now: Millis, patience_ms: u64, is_member: bool, has_ended: bool) -> Option<Self> {
        let leaves = is_member && !has_ended && patience_ms > 0;
        leaves.then_some(Self {
            began: now,
            patience_ms,
            has_reported: false,
        })
    }

    /// The next step. All but a few seconds of the time may go to the sending of entries.
    pub fn next(&mut self, now: Millis, stage: Stage) -> StopNext {
        let reserved = AGREE_MAX_MS.min(self.patience_ms / 2);
        let sends_until = self.began.plus(self.patience_ms - reserved);
        let until = self.began.plus(self.patience_ms);
        match stage {
            Stage::HasLeft => StopNext::HasLeft,
            Stage::GaveUp => StopNext::GaveUp,
            Stage::Stays | Stage::Leaves if !self.has_reported => {
                if now < sends_until {
                    return StopNext::Wait(sends_until);
                }
                self.has_reported = true;
                StopNext::StopsSoon
            }
            Stage::Stays | Stage::Leaves if now < until => StopNext::Wait(until),
            Stage::Stays | Stage::Leaves => StopNext::TimeIsUp,
        }
    }
}

#[cfg(test)]
mod tests;
