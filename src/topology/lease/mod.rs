//! Leases: by its lease a member knows whether it may have been replaced, and the leader knows whether it may
//! replace the member. Pure: a [`Lease`] is the member's side, a [`LeaseBook`] the leader's.
//!
//! Why no two members act for one partition. A lease ends [`LEASE_MS`] after its renewal was *sent*, by the
//! member's clock. The leader takes a member for down [`DOWN_MS`] after it last *answered* a renewal, by the
//! leader's clock. The answer is later than the sending. Clocks whose rate is within 1 % of the right one
//! measure 2 s as at most 2.03 s and 3 s as at least 2.97 s: so the lease is over first. This also holds for
//! the grants of another leader: it answered after a quorum had confirmed it, so before this leader was
//! elected, and this leader waits [`DOWN_MS`] from the first commit of its term.
//!
//! A member with a lease may still have an old state: it was down, is up again and has not applied its own
//! fail-over. So a grant names the epoch of the state that it was given from, and counts only once the member
//! has applied that epoch. An epoch is *settled* when no member with a lease has an older one. That is so
//! when each member that may hold a lease has reported the epoch, and at the latest [`DOWN_MS`] after the
//! leader knew it, because every grant since then names it. A node waits for the epoch to be settled before
//! it acknowledges something that all members must know, such as a reset, and before it acts for a partition
//! that another member owned.

mod book;

use std::collections::VecDeque;

use thiserror::Error;

pub use self::book::{Answers, FROZEN_MS, LeaseBook, Round};
use crate::ids::{Epoch, Incarnation, Millis, NodeId};
use crate::topology::moves::MoveReport;

/// How often a member renews: a lease outlives three renewals that are lost in a row.
pub const RENEW_EVERY_MS: u64 = 500;

/// How often a member renews while it has something to report or to learn: it has applied another epoch, or
/// it owns a partition that another member may believe to own.
pub const URGENT_EVERY_MS: u64 = 50;

/// How long a lease runs, from the moment that its renewal was sent.
pub const LEASE_MS: u64 = 2_000;

/// How long after its last answered renewal a member is down. It exceeds [`LEASE_MS`] by far more than the 2
/// % that two clocks may differ, because a lease must be over by then.
pub const DOWN_MS: u64 = 3_000;

/// The most grants that wait for their epoch to be applied: older ones have run out.
const PENDING_MAX: usize = (LEASE_MS / URGENT_EVERY_MS) as usize;

/// The request of a member to renew its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The member.
    pub member: NodeId,
    /// The start of the member that asks.
    pub incarnation: Incarnation,
    /// When it was sent, by the clock of that start. It has no meaning for other processes.
    pub sent_at: Millis,
    /// The epoch that the member has applied.
    pub epoch: Epoch,
    /// Its report on the moves that it takes part in.
    pub moves: MoveReport,
}

/// The grant of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The renewal that is granted.
    pub renewal: Renewal,
    /// The grant counts once the member has applied this epoch.
    pub epoch: Epoch,
    /// Every member that holds a lease has applied at least this epoch.
    pub settled: Epoch,
}

/// The reason why a lease is not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeaseRefusal {
    /// There is no such member, or no more.
    #[error("it is no member")]
    NoMember,
    /// The member is down: it has to come up again first.
    #[error("it is down")]
    Down,
    /// The log has another start of the member: this start has to resume first, or is over.
    #[error("the log knows it as start {0}")]
    OtherIncarnation(Incarnation),
    /// The leader has proposed to fail the member over, and does not know the outcome yet.
    #[error("it is being failed over")]
    Failing,
    /// The member has not applied what was committed [`DOWN_MS`] ago. A lease would not count, and a member
    /// that renewed without ever holding a lease would never be replaced.
    #[error("it is behind: it has not applied epoch {0}")]
    Behind(Epoch),
}

/// The lease of one start of a member, by its own clock.
#[derive(Clone, Debug)]
pub struct Lease {
    member: NodeId,
    incarnation: Incarnation,
    /// When the member last sent a renewal; none if it never has.
    asked: Option<Millis>,
    until: Millis,
    applied: Epoch,
    settled: Epoch,
    /// Since when the member owns the partition that it got last, in the epoch that it has applied.
    since: Epoch,
    /// The member has applied an epoch or has a report on moves that no renewal has carried yet.
    has_news: bool,
    moves: MoveReport,
    /// Grants whose epoch is not applied yet: the epoch, and the end of the lease.
    pending: VecDeque<(Epoch, Millis)>,
}

impl Lease {
    /// The lease of a member that has just started: it does not run yet.
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

    /// Makes the next renewal urgent: there may be another leader now, which knows nothing of this member.
    pub fn hurry(&mut self) {
        self.has_news = true;
    }

    /// Notes that a leader has granted a renewal.
    ///
    /// A grant may come late, repeatedly, and from any leader: it counts from the moment when its renewal was
    /// sent, and never shortens an earlier grant. A grant for another start of this member, or for a renewal
    /// that is still to be sent, is ignored: its time is that of another clock.
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

    /// The start of the member that the lease is for.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Notes that the member has applied `epoch`, and since when it owns the partition that it got last.
    pub fn applied(&mut self, epoch: Epoch, since: Epoch) {
        if epoch > self.applied {
            self.applied = epoch;
            self.since = since;
            self.has_news = true;
        }
        self.count();
    }

    /// Sets the member's report on the moves that it takes part in.
    pub fn reports(&mut self, moves: MoveReport) {
        self.has_news |= self.moves != moves;
        self.moves = moves;
    }

    /// The end of the lease, by the clock of this start; 0 if there never was a lease.
    #[must_use]
    pub fn until(&self) -> Millis {
        self.until
    }

    /// Counts the grants whose epoch is applied.
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

    /// The epoch that every member with a lease has applied, as far as this member knows. For a partition
    /// that is owned since a later epoch, another member may still believe to be the owner.
    #[must_use]
    pub fn settled(&self) -> Epoch {
        self.settled
    }
}

#[cfg(test)]
mod tests;
