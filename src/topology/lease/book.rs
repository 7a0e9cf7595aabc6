//! The leader's side of leases: what it has granted, who is down, and what is settled. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::{DOWN_MS, Grant, LeaseRefusal, Renewal};
use crate::ids::{Epoch, Millis, NodeId};
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// How long nobody is taken for down while most members are silent. By then a leader whose rounds are
/// confirmed all the while knows that it is not itself that is cut off.
pub const FROZEN_MS: u64 = 30_000;

/// Epochs that are remembered for [`DOWN_MS`], each with a moment. Of more, the later ones count as the
/// last of them, which is late and never wrong.
const EPOCHS_MAX: usize = 64;

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
    /// Members whose fail-over was proposed and is not decided, and the epoch that it was planned for: at
    /// a later one it does nothing.
    failing: BTreeMap<NodeId, Epoch>,
    /// Renewals that no round was begun for: one of each member.
    waiting: BTreeMap<NodeId, Renewal>,
    /// The round under way.
    round: Option<(Round, BTreeMap<NodeId, Renewal>)>,
    rounds: u64,
    /// When the latest round was confirmed.
    last_confirmed: Option<Millis>,
    /// Epochs at which rounds were confirmed less than [`DOWN_MS`] ago, and when the first was.
    confirmed: VecDeque<(Millis, Epoch)>,
    /// The epoch of the latest round before those.
    aged: Epoch,
    /// Since when most members are silent.
    frozen_since: Option<Millis>,
    /// Nobody but this leader was ever a member: no other leader has granted anything.
    is_first: bool,
}

/// What the book knows of a member.
#[derive(Clone, Debug)]
struct Kept {
    /// Its last answered renewal, or if there is none, when it was first seen.
    answered: Millis,
    /// Whether a renewal of it was answered.
    is_granted: bool,
    /// The epoch that it reported.
    epoch: Epoch,
    /// The epoch that is settled by its last grant.
    known: Epoch,
    /// The epochs that it was granted leases at, and when it was last.
    grants: VecDeque<(Millis, Epoch)>,
}

impl Kept {
    /// Whether a grant of it may still run.
    fn may_hold(&self, now: Millis) -> bool {
        self.is_granted && now.since(self.answered) < DOWN_MS
    }

    /// What it has applied at least if it holds a lease: what it reported, or the lowest epoch among the
    /// grants that may run, since none counts before its epoch is applied.
    fn applied(&self, now: Millis) -> Epoch {
        let mut running = self
            .grants
            .iter()
            .filter(|(at, _)| now.since(*at) < DOWN_MS);
        let granted = running.next().map_or(Epoch(0), |(_, epoch)| *epoch);
        self.epoch.max(granted)
    }

    /// A renewal of it is granted at `epoch`.
    fn grant(&mut self, now: Millis, epoch: Epoch) {
        self.answered = now;
        self.is_granted = true;
        self.grants.retain(|(at, _)| now.since(*at) < DOWN_MS);
        let is_full = self.grants.len() >= EPOCHS_MAX;
        match self.grants.back_mut() {
            Some((at, last)) if *last == epoch || is_full => *at = now,
            _ => self.grants.push_back((now, epoch)),
        }
    }
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
            if let (Ok(grant), Some(kept)) = (&answer, self.kept.get_mut(&renewal.member)) {
                kept.grant(now, grant.epoch);
                kept.known = kept.known.max(grant.settled);
            }
            answers.push((renewal, answer));
        }
        self.last_confirmed = Some(now);
        let is_new = self
            .confirmed
            .back()
            .is_none_or(|(_, last)| *last < state.epoch());
        if is_new {
            if self.confirmed.len() >= EPOCHS_MAX {
                self.confirmed.pop_back();
            }
            self.confirmed.push_back((now, state.epoch()));
        }
        answers
    }

    fn decide(&self, renewal: &Renewal, state: &State) -> Result<(), LeaseRefusal> {
        let record = state.member(renewal.member).ok_or(LeaseRefusal::NoMember)?;
        if record.incarnation != renewal.incarnation {
            return Err(LeaseRefusal::OtherIncarnation(record.incarnation));
        }
        if self.failing.contains_key(&renewal.member) {
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
            let is_recent = |at| now.since(at) < DOWN_MS;
            if now.since(since) < FROZEN_MS || !self.last_confirmed.is_some_and(is_recent) {
                return None;
            }
        } else {
            self.frozen_since = None;
        }
        let mut down = members
            .into_iter()
            .filter(|(id, kept)| is_silent(kept) && !self.failing.contains_key(id));
        down.next().map(|(id, _)| *id)
    }

    /// The fail-over of `member`, planned for the epoch `expected`, is going to be proposed: the member gets
    /// no grant from now on.
    pub fn failing(&mut self, member: NodeId, expected: Epoch) {
        self.failing.insert(member, expected);
    }

    /// The fail-over of `member` was applied, or it never will be. Not to be called while that is
    /// unknown: a later epoch tells.
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
        let holders = self.kept.values().filter(|kept| kept.may_hold(now));
        let reported = holders.map(|kept| kept.applied(now)).min();
        let reported = reported.unwrap_or(state.epoch()).min(state.epoch());
        reported.max(self.aged)
    }

    /// Whether every member that may hold a lease knows that what it owns is settled, so that it acts for
    /// it. `sinces` are since when each owns what it got last.
    #[must_use]
    pub fn all_act(&self, now: Millis, sinces: &BTreeMap<NodeId, Epoch>) -> bool {
        let acts = |(id, kept): (&NodeId, &Kept)| {
            let since = sinces.get(id).copied().unwrap_or_default();
            !kept.may_hold(now) || kept.known >= since
        };
        self.kept.iter().all(acts)
    }

    /// Members that may hold a lease and have not reported `epoch`.
    pub fn behind(&self, now: Millis, epoch: Epoch) -> impl Iterator<Item = NodeId> {
        let kept = self.kept.iter();
        kept.filter(move |(_, kept)| kept.may_hold(now) && kept.applied(now) < epoch)
            .map(|(id, _)| *id)
    }

    /// Notes who came and who went. Who was removed is kept for as long as it may hold a lease.
    fn look(&mut self, now: Millis, state: &State) {
        // Applied or not, at a later epoch it is decided; who is down is refused for that.
        self.failing
            .retain(|_, expected| state.epoch() <= *expected);
        self.kept.retain(|id, kept| match state.member(*id) {
            Some(record) if record.status != MemberStatus::Down => true,
            Some(_) | None => kept.may_hold(now),
        });
        let present = state
            .members()
            .filter(|record| record.status != MemberStatus::Down);
        for record in present {
            self.kept.entry(record.id).or_insert(Kept {
                answered: now,
                is_granted: false,
                epoch: Epoch(0),
                known: Epoch(0),
                grants: VecDeque::new(),
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
