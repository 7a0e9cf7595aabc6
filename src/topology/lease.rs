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

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use thiserror::Error;

use super::member::MemberStatus;
use super::state::State;
use crate::ids::{Epoch, Incarnation, Millis, NodeId, Tenure};

/// How often a member renews: a lease outlives three renewals that are lost in a row.
pub const RENEW_EVERY_MS: u64 = 500;

/// How often a member renews that has something to say, or to hear: it has applied another epoch, or it
/// owns a partition whose tenure is not settled.
pub const URGENT_EVERY_MS: u64 = 50;

/// How long a lease runs, from the moment that its renewal was sent.
pub const LEASE_MS: u64 = 2_000;

/// How long after its last answered renewal a member is down. More than [`LEASE_MS`] by far more than
/// the 2 % that two clocks may differ, since a lease must be over by then.
pub const DOWN_MS: u64 = 3_000;

/// How long nobody is taken for down while most members are silent. By then a leader whose rounds are
/// confirmed all the while knows that it is not itself that is cut off.
pub const FROZEN_MS: u64 = 30_000;

/// Grants that wait for their epoch to be applied: an older one has run out.
const PENDING_MAX: usize = (LEASE_MS / URGENT_EVERY_MS) as usize;

/// Confirmed rounds that are remembered for [`DOWN_MS`]. Of more, the later ones count as one.
const ROUNDS_MAX: usize = 64;

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
    /// The latest tenure of what the member owns, as far as it has applied.
    tenure: Epoch,
    /// It has applied an epoch that no renewal has told of.
    has_news: bool,
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
            tenure: Epoch(0),
            has_news: false,
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
        })
    }

    /// When the next renewal is due.
    #[must_use]
    pub fn due(&self) -> Millis {
        let is_urgent = self.has_news || self.settled < self.tenure;
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

    /// The member has applied `epoch`, and what it owns there has tenures of up to `tenure`.
    pub fn applied(&mut self, epoch: Epoch, tenure: Tenure) {
        if epoch > self.applied {
            self.applied = epoch;
            self.tenure = Epoch(tenure.0);
            self.has_news = true;
        }
        self.count();
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

    /// Nobody who holds a lease has applied less than this. A partition whose tenure is later may still
    /// be another's in another's eyes.
    #[must_use]
    pub fn settled(&self) -> Epoch {
        self.settled
    }
}

/// A question to the quorum, for all renewals that arrived before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(u64);

/// The renewals that a round decides, each with its answer.
pub type Answers = Vec<(Renewal, Result<Grant, LeaseRefusal>)>;

/// The leases that a leader has granted. One book is for one term: made when a node begins to lead, and
/// gone with its leadership.
#[derive(Clone, Debug, Default)]
pub struct LeaseBook {
    first_commit: Option<Millis>,
    kept: BTreeMap<NodeId, Kept>,
    /// Members whose fail-over was proposed and is not decided.
    failing: BTreeSet<NodeId>,
    /// Renewals that no round was begun for: one of each member.
    waiting: BTreeMap<NodeId, Renewal>,
    /// The round under way.
    round: Option<(Round, BTreeMap<NodeId, Renewal>)>,
    rounds: u64,
    /// Rounds that were confirmed less than [`DOWN_MS`] ago: when, and at which epoch.
    confirmed: VecDeque<(Millis, Epoch)>,
    /// The epoch of the latest round before those.
    aged: Epoch,
    /// Since when most members are silent.
    frozen_since: Option<Millis>,
    /// Nobody but this leader was ever a member: no other leader has granted anything.
    is_first: bool,
}

/// What the book knows of a member.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Its last answered renewal, or if there is none, when it was first seen.
    answered: Millis,
    /// Whether a renewal of it was answered.
    is_granted: bool,
    /// The epoch that it reported.
    epoch: Epoch,
}

impl LeaseBook {
    /// The first entry of the term is committed, and this is the state. Before that nobody is down, and
    /// what was granted before by another leader is over [`DOWN_MS`] after it. Later calls do nothing.
    pub fn first_committed(&mut self, now: Millis, state: &State) {
        if self.first_commit.is_none() {
            self.first_commit = Some(now);
            // Who founds a cluster need not wait for leases that nobody can have granted.
            self.is_first = state.members().len() == 1 && state.tombstones().is_empty();
            self.look(now, state);
        }
    }

    /// A renewal has arrived. It is decided by the next round.
    ///
    /// # Errors
    /// There is no such member, so the renewal is not kept.
    pub fn arrived(&mut self, renewal: Renewal, state: &State) -> Result<(), LeaseRefusal> {
        if state.member(renewal.member).is_none() {
            return Err(LeaseRefusal::NoMember);
        }
        let latest = self.waiting.entry(renewal.member).or_insert(renewal);
        // A renewal that was overtaken says nothing new.
        if (latest.incarnation, latest.sent_at) < (renewal.incarnation, renewal.sent_at) {
            *latest = renewal;
        }
        Ok(())
    }

    /// Begins a round for all renewals that wait, if there are any and no round is under way. The caller
    /// asks for a linearizable read now, and not before.
    pub fn begin(&mut self) -> Option<Round> {
        if self.round.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.rounds += 1;
        let round = Round(self.rounds);
        self.round = Some((round, std::mem::take(&mut self.waiting)));
        Some(round)
    }

    /// The read of `round` failed: these renewals are not decided, and their members ask again.
    pub fn failed(&mut self, round: Round) -> Vec<Renewal> {
        let failed = self.round.take_if(|(under_way, _)| *under_way == round);
        failed.map_or_else(Vec::new, |(_, renewals)| renewals.into_values().collect())
    }

    /// The read of `round` was confirmed, and `state` is what may be read: this node led after all
    /// renewals of the round had arrived. Nothing, if another round is under way.
    pub fn confirmed(&mut self, round: Round, now: Millis, state: &State) -> Answers {
        let Some((_, renewals)) = self.round.take_if(|(under_way, _)| *under_way == round) else {
            return Vec::new();
        };
        self.look(now, state);
        self.age(now);
        for renewal in renewals.values() {
            if let Some(kept) = self.kept.get_mut(&renewal.member) {
                kept.epoch = kept.epoch.max(renewal.epoch);
            }
        }
        let settled = self.settled(now, state);
        let mut answers = Vec::with_capacity(renewals.len());
        for renewal in renewals.into_values() {
            let answer = self.decide(&renewal, state).map(|()| Grant {
                renewal,
                epoch: state.epoch(),
                settled,
            });
            if let (Ok(_), Some(kept)) = (&answer, self.kept.get_mut(&renewal.member)) {
                kept.answered = now;
                kept.is_granted = true;
            }
            answers.push((renewal, answer));
        }
        if self.confirmed.len() >= ROUNDS_MAX {
            self.confirmed.pop_back();
        }
        self.confirmed.push_back((now, state.epoch()));
        answers
    }

    fn decide(&self, renewal: &Renewal, state: &State) -> Result<(), LeaseRefusal> {
        let record = state.member(renewal.member).ok_or(LeaseRefusal::NoMember)?;
        if record.incarnation != renewal.incarnation {
            return Err(LeaseRefusal::OtherIncarnation(record.incarnation));
        }
        if self.failing.contains(&renewal.member) {
            return Err(LeaseRefusal::Failing);
        }
        // One that is joining has all the time it needs: it owns nothing.
        let is_behind = renewal.epoch < self.aged && record.status != MemberStatus::Joining;
        match record.status {
            MemberStatus::Down => Err(LeaseRefusal::Down),
            _ if is_behind => Err(LeaseRefusal::Behind(self.aged)),
            MemberStatus::Up | MemberStatus::Joining | MemberStatus::Leaving => Ok(()),
        }
    }

    /// A member that is down by now and whose fail-over the caller is to propose: after
    /// [`failing`](Self::failing), so that no grant slips between.
    ///
    /// Nobody, while most of the members are silent: then it may be this node that is cut off. But not
    /// for longer than [`FROZEN_MS`].
    pub fn down(&mut self, now: Millis, state: &State) -> Option<NodeId> {
        let first_commit = self.first_commit?;
        self.look(now, state);
        if now.since(first_commit) < DOWN_MS {
            return None;
        }
        let takes_part = |id: &NodeId| {
            let record = state.member(*id);
            record.is_some_and(|record| record.status != MemberStatus::Down)
        };
        let members: Vec<_> = self.kept.iter().filter(|(id, _)| takes_part(id)).collect();
        let is_silent = |kept: &Kept| now.since(kept.answered) >= DOWN_MS;
        let silent = members.iter().filter(|(_, kept)| is_silent(kept)).count();
        if silent * 2 > members.len() {
            let since = *self.frozen_since.get_or_insert(now);
            let is_confirmed = |(at, _): &(Millis, Epoch)| now.since(*at) < DOWN_MS;
            if now.since(since) < FROZEN_MS || !self.confirmed.back().is_some_and(is_confirmed) {
                return None;
            }
        } else {
            self.frozen_since = None;
        }
        let mut down = members
            .into_iter()
            .filter(|(id, kept)| is_silent(kept) && !self.failing.contains(id));
        down.next().map(|(id, _)| *id)
    }

    /// The fail-over of `member` is going to be proposed: it gets no grant from now on.
    pub fn failing(&mut self, member: NodeId) {
        self.failing.insert(member);
    }

    /// The fail-over of `member` was applied, or it never will be. Not to be called while that is
    /// unknown.
    pub fn resolved(&mut self, member: NodeId) {
        self.failing.remove(&member);
    }

    /// The epoch that is settled: nobody who holds a lease has applied less, nor ever will.
    #[must_use]
    pub fn settled(&self, now: Millis, state: &State) -> Epoch {
        let is_early = |first_commit| now.since(first_commit) < DOWN_MS && !self.is_first;
        if self.first_commit.is_none_or(is_early) {
            // Grants of the leader before may still run.
            return Epoch(0);
        }
        let holders = self
            .kept
            .values()
            .filter(|kept| kept.is_granted && now.since(kept.answered) < DOWN_MS);
        let reported = holders.map(|kept| kept.epoch).min();
        let reported = reported.unwrap_or(state.epoch()).min(state.epoch());
        reported.max(self.aged)
    }

    /// Members that may hold a lease and have not reported `epoch`.
    pub fn behind(&self, now: Millis, epoch: Epoch) -> impl Iterator<Item = NodeId> {
        let may_hold = move |kept: &Kept| kept.is_granted && now.since(kept.answered) < DOWN_MS;
        let kept = self.kept.iter();
        kept.filter(move |(_, kept)| may_hold(kept) && kept.epoch < epoch)
            .map(|(id, _)| *id)
    }

    /// Notes who came and who went. Who was removed is kept for as long as it may hold a lease.
    fn look(&mut self, now: Millis, state: &State) {
        // Who is down as the state says is refused for that.
        let is_up = |id: &NodeId| {
            let record = state.member(*id);
            record.is_some_and(|record| record.status != MemberStatus::Down)
        };
        self.failing.retain(is_up);
        self.kept.retain(|id, kept| match state.member(*id) {
            Some(record) => record.status != MemberStatus::Down,
            None => kept.is_granted && now.since(kept.answered) < DOWN_MS,
        });
        let present = state
            .members()
            .filter(|record| record.status != MemberStatus::Down);
        for record in present {
            self.kept.entry(record.id).or_insert(Kept {
                answered: now,
                is_granted: false,
                epoch: Epoch(0),
            });
        }
    }

    /// Lets rounds age: what was granted before them has run out.
    fn age(&mut self, now: Millis) {
        while let Some((at, epoch)) = self.confirmed.front()
            && now.since(*at) >= DOWN_MS
        {
            self.aged = self.aged.max(*epoch);
            self.confirmed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
