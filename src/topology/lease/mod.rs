//! Leases: how a member knows that it may have been replaced, and how the leader knows that it may
//! replace it. Pure: a [`Lease`] is the member's side, a [`LeaseBook`] the leader's.
//!
//! Why no two members act for one partition. A lease ends [`LEASE_MS`] after its renewal was *sent*, by
//! the member's clock; the leader takes a member for down [`DOWN_MS`] after it last *answered* one, by
//! its own. The answer is later than the sending, and clocks that run within 1 % of a right one measure
//! 2 s as at most 2.03 s and 3 s as at least 2.97 s: the lease is over first. Another leader's grants are
//! no exception: it answers after a quorum has confirmed it, so before this one was elected, and this one
//! waits [`DOWN_MS`] from the first commit of its term.
//!
//! A member with a lease may still have an old state: it was down, is up again and has not applied its
//! own fail-over. So a grant names the epoch of the state that it was given from, and counts once the
//! member has applied that. It follows that an epoch is *settled*, which means that nobody with a lease
//! has an older one, when each member that may hold a lease has reported it, and at the latest
//! [`DOWN_MS`] after the leader knew it: every grant since then asks for it. Whoever acknowledges
//! something that all must know, such as a reset, or acts for a partition that was another's, waits for
//! the epoch to be settled.

mod book;

use std::collections::VecDeque;

use thiserror::Error;

pub use self::book::{Answers, FROZEN_MS, LeaseBook, Round};
use crate::ids::{Epoch, Incarnation, Millis, NodeId};
use crate::topology::moves::MoveReport;

/// How often a member renews: a lease outlives three renewals that are lost in a row.
pub const RENEW_EVERY_MS: u64 = 500;

/// How often a member renews that has something to say, or to hear: it has applied another epoch, or it
/// owns a partition that another may believe to own.
pub const URGENT_EVERY_MS: u64 = 50;

/// How long a lease runs, from the moment that its renewal was sent.
pub const LEASE_MS: u64 = 2_000;

/// How long after its last answered renewal a member is down. More than [`LEASE_MS`] by far more than
/// the 2 % that two clocks may differ, since a lease must be over by then.
pub const DOWN_MS: u64 = 3_000;

/// Grants that wait for their epoch to be applied: an older one has run out.
const PENDING_MAX: usize = (LEASE_MS / URGENT_EVERY_MS) as usize;

/// A member asks for its lease to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Who asks.
    pub member: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// When it was sent, by the clock of that start. It means nothing to others.
    pub sent_at: Millis,
    /// The epoch that the member has applied.
    pub epoch: Epoch,
    /// How it gets on with the moves it has part in.
    pub moves: MoveReport,
}

/// A lease goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What was asked.
    pub renewal: Renewal,
    /// The epoch that the member must have applied for this to count.
    pub epoch: Epoch,
    /// Nobody who holds a lease has applied less than this.
    pub settled: Epoch,
}

/// Why a lease does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeaseRefusal {
    /// There is no such member, or there is none any more.
    #[error("it is no member")]
    NoMember,
    /// It is down: it has to come up again first.
    #[error("it is down")]
    Down,
    /// The log knows another start of it: this one has to resume first, or is over.
    #[error("the log knows it as start {0}")]
    OtherIncarnation(Incarnation),
    /// The leader has proposed to take its partitions, and does not know yet what came of that.
    #[error("it is being failed over")]
    Failing,
    /// It has not applied what was committed [`DOWN_MS`] ago. A lease would not count, and a member that
    /// renewed without ever holding one would never be replaced.
    #[error("it is behind: it has not applied epoch {0}")]
    Behind(Epoch),
}

/// The lease of one start of a member, by its own clock.
#[derive(Clone, Debug)]
pub struct Lease {
    member: NodeId,
    incarnation: Incarnation,
    /// When it last asked; none if it never has.
    asked: Option<Millis>,
    until: Millis,
    applied: Epoch,
    settled: Epoch,
    /// Since when the member owns what it got last, as far as it has applied.
    since: Epoch,
    /// It has applied an epoch, or has something to say of moves, that no renewal has told of.
    has_news: bool,
    moves: MoveReport,
    /// Grants whose epoch was not applied yet: the epoch, and until when.
    pending: VecDeque<(Epoch, Millis)>,
}

impl Lease {
    /// No lease, of a member that has just started.
    #[must_use]
    pub fn new(member: NodeId, incarnation: Incarnation) -> Self {
        Self {
            member,
            incarnation,
            asked: None,
            until: Millis(0),
            applied: Epoch(0),
            settled: Epoch(0),
            since: Epoch(0),
            has_news: false,
            moves: MoveReport::default(),
            pending: VecDeque::with_capacity(PENDING_MAX),
        }
    }

    /// The renewal to send now, if one is due.
    pub fn renew(&mut self, now: Millis) -> Option<Renewal> {
        if now < self.due() {
            return None;
        }
        self.asked = Some(now);
        self.has_news = false;
        Some(Renewal {
            member: self.member,
            incarnation: self.incarnation,
            sent_at: now,
            epoch: self.applied,
            moves: self.moves,
        })
    }

    /// When the next renewal is due.
    #[must_use]
    pub fn due(&self) -> Millis {
        let is_urgent = self.has_news || self.settled < self.since;
        let every = match is_urgent {
            true => URGENT_EVERY_MS,
            false => RENEW_EVERY_MS,
        };
        self.asked.map_or(Millis(0), |asked| asked.plus(every))
    }

    /// There may be another leader now, who knows nothing of this member: the next renewal is urgent.
    pub fn hurry(&mut self) {
        self.has_news = true;
    }

    /// The leader has granted a renewal.
    ///
    /// However late or often it comes, and of whichever leader: it counts from the moment that its
    /// renewal was sent, and takes nothing from an earlier grant. One for another start of this member,
    /// or for a renewal that is still to be sent, is ignored: its time is of another clock.
    pub fn granted(&mut self, grant: &Grant, now: Millis) {
        let Renewal {
            member,
            incarnation,
            sent_at,
            ..
        } = grant.renewal;
        if (member, incarnation) != (self.member, self.incarnation) || sent_at > now {
            return;
        }
        self.settled = self.settled.max(grant.settled);
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending
            .push_back((grant.epoch, sent_at.plus(LEASE_MS)));
        self.count();
    }

    /// Which start of the member it is of.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The member has applied `epoch`, and owns since `since` what it got last.
    pub fn applied(&mut self, epoch: Epoch, since: Epoch) {
        if epoch > self.applied {
            self.applied = epoch;
            self.since = since;
            self.has_news = true;
        }
        self.count();
    }

    /// The member says this of the moves it has part in.
    pub fn reports(&mut self, moves: MoveReport) {
        self.has_news |= self.moves != moves;
        self.moves = moves;
    }

    /// Until when the lease runs, by the clock of this start; 0 if there never was one.
    #[must_use]
    pub fn until(&self) -> Millis {
        self.until
    }

    /// Lets the grants count whose epoch was applied.
    fn count(&mut self) {
        let (applied, until) = (self.applied, &mut self.until);
        self.pending.retain(|(epoch, ends)| {
            let is_counted = *epoch <= applied;
            if is_counted {
                *until = (*until).max(*ends);
            }
            !is_counted
        });
    }

    /// Whether the lease runs. A member without one is isolated.
    #[must_use]
    pub fn is_valid(&self, now: Millis) -> bool {
        now < self.until
    }

    /// Nobody who holds a lease has applied less than this. A partition that is owned since a later epoch
    /// may still be another's in another's eyes.
    #[must_use]
    pub fn settled(&self) -> Epoch {
        self.settled
    }
}

#[cfg(test)]
mod tests;
