//! The shell around the product's leader: which member leads, whether a quorum hears it, and what becomes of
//! its questions and steps. The log is taken for granted: a step is committed at once or refused.

use std::collections::{BTreeMap, BTreeSet};

use gcache::ids::{Epoch, Incarnation, NodeId};
use gcache::topology::commands::{Command, GroupRef, MoveRun, PrepareMoves, Resume};
use gcache::topology::leader::decide::Step;
use gcache::topology::leader::event::{Answer, Outcome, Question};
use gcache::topology::leader::mistake::Mistake;
use gcache::topology::leader::{
    Around, Caller, Effect, Event, Leader, Settings, Standing, TICK_MS,
};
use gcache::topology::lease::{Grant, Renewal};
use gcache::topology::model::member::MemberStatus;
use gcache::topology::model::quorum::Progress;

use super::carry::Carried;
use super::slips::Slip;
use super::world::{GROUP, Happening, KEYS, World, node};
use crate::cluster;
use crate::queue::{MILLISECOND, Micros};

/// How often a member looks after its lease, and a leader after everything.
const LOOK_EVERY: Micros = 50 * MILLISECOND;

/// How long a leader may be without a quorum before the others have another.
const ELECTION: Micros = 1_200 * MILLISECOND;

/// How often moves begin that no plan asks for.
const MOVES_EVERY: Micros = 60 * MILLISECOND;

/// The member that leads, and its leader.
pub(super) struct Office {
    pub(super) on: u64,
    term: u64,
    leader: Leader,
    /// When each member was heard last.
    heard: BTreeMap<u64, Micros>,
    /// When it last had a quorum.
    had_quorum: Micros,
    /// Resets under way: the epoch that has to be settled, and the versions from then on.
    resets: Vec<(Epoch, [u64; KEYS])>,
    last_move: Micros,
    /// The number of the next caller. No answer needs it: a grant names its member.
    callers: u64,
}

impl Office {
    /// The office of member `on` in `term`, where `voters` vote.
    pub(super) fn new(on: u64, term: u64, voters: usize, slip: Option<Slip>) -> Self {
        let settings = Settings {
            mistake: slip.and_then(Slip::of_leader),
            ..Settings::new(voters, true)
        };
        Self {
            on,
            term,
            leader: Leader::new(NodeId(on), settings),
            heard: BTreeMap::new(),
            had_quorum: 0,
            resets: Vec::new(),
            last_move: 0,
            callers: 0,
        }
    }
}

impl Slip {
    /// The mistake that the product's leader makes, if it is one of the leader.
    fn of_leader(self) -> Option<Mistake> {
        match self {
            Self::DownAfterOneSecond => Some(Mistake::DownAfterOneSecond),
            Self::ActivatedUnsettled => Some(Mistake::ActivatedUnsettled),
            _ => None,
        }
    }
}

impl World {
    /// A member renews its lease and says that it has started, if that is due.
    pub(super) fn renew(&mut self, id: u64, start: u64) {
        let now = self.now();
        let member = self.members.get_mut(&id).expect("it looks");
        if member.start != start {
            return;
        }
        let again = Happening::Lease { member: id, start };
        if member.paused_until > now {
            let after = member.paused_until - now;
            return self.queue.push(after, again);
        }
        self.queue.push(LOOK_EVERY, again);
        let (clock, report) = (member.clock(now), member.report);
        member.lease.reports(report);
        let renewal = member.lease.renew(clock);
        let (state, _) = &self.log[member.index];
        let known = state.member(node(id)).map(|known| known.incarnation);
        let is_news = known < Some(Incarnation(start));
        let renewal = renewal.map(Carried::Renewal);
        let started = is_news.then_some(Carried::Started(id, start));
        for said in renewal.into_iter().chain(started) {
            if self.carries(id, self.office.on) || id == self.office.on {
                let after = self.delay();
                self.queue.push(after, Happening::Carried(said));
            }
        }
    }

    pub(super) fn renewal_arrived(&mut self, renewal: Renewal) {
        if !self.is_paused(self.office.on) {
            self.office.callers += 1;
            let caller = Caller(self.office.callers);
            self.lead(Event::Renew(caller, renewal));
        }
    }

    /// A member that has started again is known to be from now on.
    pub(super) fn started(&mut self, id: u64, start: u64) {
        if !self.has_quorum(self.office.on) {
            return;
        }
        let mut joiner = cluster::joiner(id);
        joiner.incarnation = Incarnation(start);
        let _done = self.commit(&Command::Resume(Resume {
            id: node(id),
            node: joiner,
        }));
    }

    /// A turn of the leader, and what it wants done.
    fn lead(&mut self, event: Event) {
        let (now, on) = (self.now(), self.office.on);
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let state = self.latest().clone();
            let standing = self.standing();
            let around = Around {
                now: self.members[&on].clock(now),
                state: &state,
                standing: &standing,
            };
            for effect in self.office.leader.turn(&around, event) {
                events.extend(self.do_for_leader(effect));
            }
        }
    }

    /// What the leader sees of its Raft: all that was committed is applied.
    fn standing(&self) -> Standing {
        let last = self.log.len() as u64;
        let others = self.members.iter().filter(|(id, _)| **id != self.office.on);
        let progress = others.map(|(id, member)| {
            let heard = self.office.heard.get(id);
            let silence = |heard: &Micros| (self.now() - heard) / MILLISECOND / TICK_MS;
            Progress {
                node: node(*id),
                matched: member.index as u64 + 1,
                is_replicating: true,
                silent_ticks: heard.map(silence),
            }
        });
        Standing {
            leads: Some(self.office.term),
            commit: last,
            applied: last,
            progress: progress.collect(),
        }
    }

    /// Does what the leader wants done. Returns what it hears of that at once.
    fn do_for_leader(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Ask(question) => {
                let after = self.delay();
                self.queue.push(after, Happening::Round(question));
                None
            }
            Effect::Take(term, step) => {
                let outcome = match step {
                    Step::Propose(command) => self.take(&command),
                    Step::ChangeQuorum(_) => Outcome::Refused("the voters stay the same here"),
                };
                Some(Event::Ended { term, outcome })
            }
            Effect::Answer(_, Answer::Granted(grant)) => {
                self.send_grant(grant);
                None
            }
            Effect::Publish(settled) => {
                self.acknowledge_resets(&|epoch| settled.covers(epoch));
                None
            }
            // A member that is refused asks again.
            Effect::Answer(..) | Effect::Removal(..) | Effect::Report(_) => None,
        }
    }

    /// Commits a step of the leader.
    fn take(&mut self, command: &Command) -> Outcome {
        self.count(command);
        match self.commit(command) {
            Ok(()) => Outcome::Applied,
            Err(refusal) => Outcome::Void(refusal),
        }
    }

    fn send_grant(&mut self, grant: Grant) {
        let (leader, to) = (self.office.on, grant.renewal.member.0);
        if to != leader && !self.carries(leader, to) {
            return;
        }
        let late = match self.dice.chance(40) {
            true => self.dice.within(0..2_000) * MILLISECOND,
            false => 0,
        };
        let after = self.delay() + late;
        let grant = Happening::Carried(Carried::Grant(grant));
        self.queue.push(after, grant);
    }

    /// Whether a quorum is heard by this voter and hears it.
    fn has_quorum(&self, leader: u64) -> bool {
        let quorum = self.latest().quorum();
        let is_with = |id| {
            let hears = self.carries(leader, id) && self.carries(id, leader);
            id == leader || hears
        };
        let may_lead = quorum.is_voter(node(leader)) && !self.is_paused(leader);
        may_lead && quorum.is_quorum(|id| is_with(id.0))
    }

    pub(super) fn round_ended(&mut self, question: Question) {
        if question.term == self.office.term {
            let outcome = match self.has_quorum(self.office.on) {
                true => Outcome::Applied,
                false => Outcome::Unknown,
            };
            self.lead(Event::Answered { question, outcome });
        }
    }

    pub(super) fn granted(&mut self, grant: Grant) {
        let now = self.now();
        let id = grant.renewal.member.0;
        let member = self.members.get_mut(&id).expect("it has asked");
        if member.paused_until > now {
            let after = member.paused_until - now;
            return self
                .queue
                .push(after, Happening::Carried(Carried::Grant(grant)));
        }
        let clock = member.clock(now);
        member.lease.granted(&grant, clock);
    }

    /// The leader looks after everything; without a quorum the others have another one after a while.
    pub(super) fn preside(&mut self) {
        let now = self.now();
        self.queue.push(LOOK_EVERY, Happening::Office);
        let leader = self.office.on;
        if !self.has_quorum(leader) {
            if now - self.office.had_quorum > ELECTION {
                self.elect();
            }
            return;
        }
        self.office.had_quorum = now;
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in ids {
            if self.carries(id, leader) && !self.is_paused(id) {
                self.office.heard.insert(id, now);
            }
        }
        self.lead(Event::Look(BTreeSet::new()));
        if let Some(command) = self.next().filter(|_| self.has_begun()) {
            self.count(&command);
            let _done = self.commit(&command);
        }
    }

    fn elect(&mut self) {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        let able: Vec<u64> = ids.into_iter().filter(|id| self.has_quorum(*id)).collect();
        if let Some(next) = self.dice.pick(&able) {
            self.seen.elected += 1;
            let voters = self.latest().quorum().voters.len();
            self.office = Office {
                had_quorum: self.now(),
                ..Office::new(next, self.office.term + 1, voters, self.slip)
            };
            self.tell(|| format!("{next} leads"));
        }
    }

    fn acknowledge_resets(&mut self, is_known: &dyn Fn(Epoch) -> bool) {
        let now = self.now();
        let done = self.office.resets.clone();
        self.office.resets.retain(|(epoch, _)| !is_known(*epoch));
        for (_, versions) in done.into_iter().filter(|(epoch, _)| is_known(*epoch)) {
            self.seen.resets += 1;
            for (key, version) in versions.into_iter().enumerate() {
                self.oracle.acknowledged(key, version, now);
            }
        }
    }

    /// What operators want, and moves that no plan asks for.
    fn next(&mut self) -> Option<Command> {
        let (now, state) = (self.now(), self.latest().clone());
        if self.dice.chance(40) {
            return Some(self.reset());
        }
        if state.has_copies() && self.dice.chance(10) {
            return Some(Self::other_copies(&state));
        }
        let is_time = now - self.office.last_move > MOVES_EVERY;
        if is_time && !state.table().is_moving() && self.dice.chance(600) {
            self.office.last_move = now;
            return self.prepare();
        }
        None
    }

    fn reset(&mut self) -> Command {
        let versions = self.versions;
        // Settled together with it, or with the epoch before, if it is refused.
        let epoch = Epoch(self.latest().epoch().0 + 1);
        self.office.resets.push((epoch, versions));
        Command::ResetGroup(GroupRef::Name(GROUP.into()))
    }

    /// The partition of one of the keys begins to move to another member.
    fn prepare(&mut self) -> Option<Command> {
        let state = self.latest().clone();
        let key = self.dice.within(0..KEYS as u64) as usize;
        let first = self.partition(key);
        let owner = state.table()[first].owner;
        let up = state
            .members()
            .filter(|member| member.status == MemberStatus::Up && Some(member.id) != owner);
        let up: Vec<NodeId> = up.map(|member| member.id).collect();
        let to = self.dice.pick(&up)?;
        Some(Command::PrepareMoves(PrepareMoves {
            expected: state.epoch(),
            runs: vec![MoveRun {
                first,
                count: 1,
                to,
            }],
        }))
    }

    fn count(&mut self, command: &Command) {
        match command {
            Command::PrepareMoves(_) => self.seen.prepared += 1,
            Command::ActivateMoves(_) => self.seen.activated += 1,
            Command::AbortMoves(_) => self.seen.aborted += 1,
            Command::SetCopies(_) => self.seen.dropped += 1,
            Command::FailOver(fail_over) => {
                self.seen.failed_over += 1;
                let inherits = fail_over.runs.iter().any(|run| run.is_inheriting);
                self.seen.inherited += u64::from(inherits);
            }
            _ => {}
        }
    }
}
