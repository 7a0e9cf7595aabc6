//! The leader's side of leases: what it has granted, which members are down, and which epoch is settled.
//! Pure.

use std::collections::{BTreeMap, VecDeque};

use super::{DOWN_MS, Grant, LeaseRefusal, Renewal};
use crate::ids::{Epoch, Millis, NodeId};
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// How long no member is taken for down while most members are silent. After that time, a leader whose rounds
/// were confirmed all along knows that it is not itself cut off.
pub const FROZEN_MS: u64 = 30_000;

/// The most epochs that are remembered for [`DOWN_MS`], each with its time. If there are more, the later ones
/// count from the time of the last of them: that is late but never wrong.
const EPOCHS_MAX: usize = 64;

/// A question to the quorum whether this node leads, for all renewals that arrived before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(u64);

/// The renewals that a round decides, each with its answer.
pub type Answers = Vec<(Renewal, Result<Grant, LeaseRefusal>)>;

/// The leases that a leader has granted. A book is for one term: it is made when a node begins to lead, and
/// dropped with the leadership.
#[derive(Clone, Debug, Default)]
pub struct LeaseBook {
    first_commit: Option<Millis>,
    kept: BTreeMap<NodeId, Kept>,
    /// Members whose fail-over was proposed and is not decided.
    failing: BTreeMap<NodeId, Failing>,
    /// Renewals that wait for the next round: at most one of each member.
    waiting: BTreeMap<NodeId, Renewal>,
    /// The round under way.
    round: Option<(Round, BTreeMap<NodeId, Renewal>)>,
    rounds: u64,
    /// When the latest round was confirmed.
    last_confirmed: Option<Millis>,
    /// Epochs in which rounds were confirmed less than [`DOWN_MS`] ago, each with the time of the first
    /// round.
    confirmed: VecDeque<(Millis, Epoch)>,
    /// The epoch of the latest round before these.
    aged: Epoch,
    /// Since when most members are silent.
    frozen_since: Option<Millis>,
    /// No other node was ever a member, so no other leader has granted a lease.
    is_first: bool,
}

/// The book's entry for a member.
#[derive(Clone, Debug)]
struct Kept {
    /// When its last renewal was answered, or, if none was, when it was first seen.
    answered: Millis,
    /// Whether a renewal of it was answered.
    is_granted: bool,
    /// The epoch that it reported.
    epoch: Epoch,
    /// The epoch that is settled by its last grant.
    known: Epoch,
    /// The epochs of the leases that it was granted, each with the time of the last grant.
    grants: VecDeque<(Millis, Epoch)>,
}

/// A fail-over that was proposed and is not decided.
#[derive(Clone, Copy, Debug)]
struct Failing {
    /// The epoch that it was planned for: in a later one it has no effect.
    expected: Epoch,
    /// A proposal for this epoch ended without an outcome: it may still be applied.
    is_unknown: bool,
}

impl Kept {
    /// Whether a grant of it may still run.
    fn may_hold(&self, now: Millis) -> bool {
        self.is_granted && now.since(self.answered) < DOWN_MS
    }

    /// The epoch that the member has applied at least, if it holds a lease: the one it reported, or the
    /// lowest epoch among the grants that may run, since none counts before its epoch is applied.
    fn applied(&self, now: Millis) -> Epoch {
        let mut running = self
            .grants
            .iter()
            .filter(|(at, _)| now.since(*at) < DOWN_MS);
        let granted = running.next().map_or(Epoch(0), |(_, epoch)| *epoch);
        self.epoch.max(granted)
    }

    /// Notes that a renewal of the member is granted at `epoch`.
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
    /// Notes that the first entry of the term is committed, with this state. Before that no member is down.
    /// Grants of earlier leaders are over [`DOWN_MS`] after it. Later calls do nothing.
    pub fn first_committed(&mut self, now: Millis, state: &State) {
        if self.first_commit.is_none() {
            self.first_commit = Some(now);
            // The founder of a cluster need not wait for the end of leases, because no other leader can have
            // granted any.
            self.is_first = state.members().len() == 1 && state.tombstones().is_empty();
            self.look(now, state);
        }
    }

    /// Takes a renewal in. The next round decides it.
    ///
    /// # Errors
    /// There is no such member, so the renewal is not kept.
    pub fn arrived(&mut self, renewal: Renewal, state: &State) -> Result<(), LeaseRefusal> {
        if state.member(renewal.member).is_none() {
            return Err(LeaseRefusal::NoMember);
        }
        let latest = self.waiting.entry(renewal.member).or_insert(renewal);
        // An overtaken renewal has nothing new.
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

    /// Ends a round whose read failed. Returns its renewals: they are not decided, and their members ask
    /// again.
    pub fn failed(&mut self, round: Round) -> Vec<Renewal> {
        let failed = self.round.take_if(|(under_way, _)| *under_way == round);
        failed.map_or_else(Vec::new, |(_, renewals)| renewals.into_values().collect())
    }

    /// Ends a round whose read was confirmed, with the state that may be read: this node led after all
    /// renewals of the round had arrived. Returns the answers; none, if another round is under way.
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
        // A joining member may take all the time that it needs: it owns nothing.
        let is_behind = renewal.epoch < self.aged && record.status != MemberStatus::Joining;
        match record.status {
            MemberStatus::Down => Err(LeaseRefusal::Down),
            _ if is_behind => Err(LeaseRefusal::Behind(self.aged)),
            MemberStatus::Up | MemberStatus::Joining | MemberStatus::Leaving => Ok(()),
        }
    }

    /// Finds a member that is down by now. The caller proposes its fail-over, but calls
    /// [`failing`](Self::failing) first, so that no grant slips in between.
    ///
    /// Finds none while most members are silent, because then this node itself may be cut off; but not for
    /// longer than [`FROZEN_MS`]. Finds a member again whose fail-over ended without an outcome: it is
    /// proposed anew, because the first proposal may be lost, and at most one of them has an effect. So the
    /// caller must not call this while a fail-over is under way.
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
        // The silence of a member that was leaving proves nothing.
        let is_leaving = |id: NodeId| {
            let record = state.member(id);
            record.is_some_and(|record| record.status == MemberStatus::Leaving)
        };
        let heard = members.iter().filter(|(_, kept)| !is_silent(kept)).count();
        let silent = |(id, kept): &&(&NodeId, &Kept)| is_silent(kept) && !is_leaving(**id);
        if members.iter().filter(silent).count() > heard {
            let since = *self.frozen_since.get_or_insert(now);
            let is_recent = |at| now.since(at) < DOWN_MS;
            if now.since(since) < FROZEN_MS || !self.last_confirmed.is_some_and(is_recent) {
                return None;
            }
        } else {
            self.frozen_since = None;
        }
        let mut down = members.into_iter().filter(|(_, kept)| is_silent(kept));
        down.next().map(|(id, _)| *id)
    }

    /// Notes that the fail-over of `member`, planned for the epoch `expected`, is about to be proposed: the
    /// member gets no grant from now on.
    pub fn failing(&mut self, member: NodeId, expected: Epoch) {
        let before = self.failing.get(&member);
        let is_unknown = before.is_some_and(|it| it.is_unknown && it.expected == expected);
        let failing = Failing {
            expected,
            is_unknown,
        };
        self.failing.insert(member, failing);
    }

    /// Notes that the last proposal of the fail-over of `member` was applied, or never will be. If an earlier
    /// one for the same epoch ended without an outcome, that one may still be applied, so the member gets no
    /// grant before a later epoch.
    pub fn resolved(&mut self, member: NodeId) {
        self.failing
            .retain(|id, failing| *id != member || failing.is_unknown);
    }

    /// Notes that nobody knows whether the fail-over of `member` will be applied: a later epoch decides it.
    pub fn unresolved(&mut self, member: NodeId) {
        if let Some(failing) = self.failing.get_mut(&member) {
            failing.is_unknown = true;
        }
    }

    /// The epoch that is settled: every member that holds a lease, now or later, has applied it.
    #[must_use]
    pub fn settled(&self, now: Millis, state: &State) -> Epoch {
        let is_early = |first_commit| now.since(first_commit) < DOWN_MS && !self.is_first;
        if self.first_commit.is_none_or(is_early) {
            // Grants of the previous leader may still run.
            return Epoch(0);
        }
        let holders = self.kept.values().filter(|kept| kept.may_hold(now));
        let reported = holders.map(|kept| kept.applied(now)).min();
        let reported = reported.unwrap_or(state.epoch()).min(state.epoch());
        reported.max(self.aged)
    }

    /// Whether every member that may hold a lease knows that its tenures are settled, so that it acts for
    /// what it owns. `sinces` has since when each member owns the partition that it got last.
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

    /// Notes members that came and went. A removed member is kept as long as it may hold a lease.
    fn look(&mut self, now: Millis, state: &State) {
        // In a later epoch the fail-over is decided, whether it was applied or not. If it was, the member is
        // refused because it is down.
        self.failing
            .retain(|_, failing| state.epoch() <= failing.expected);
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

    /// Moves rounds that are [`DOWN_MS`] old to `aged`: grants from before them have run out.
    fn age(&mut self, now: Millis) {
        while let Some((at, epoch)) = self.confirmed.front()
            && now.since(*at) >= DOWN_MS
        {
            self.aged = self.aged.max(*epoch);
            self.confirmed.pop_front();
        }
    }
}
