//! The leader: it grants leases, fails over who is silent, and begins and ends moves.

use gcache::ids::{Epoch, Incarnation, Millis, NodeId};
use gcache::topology::commands::{Command, GroupRef, MoveRun, PrepareMoves, Resume, SetStatus};
use gcache::topology::lease::{DOWN_MS, Grant, LeaseBook, Renewal, Round};
use gcache::topology::model::member::MemberStatus;
use gcache::topology::moves::{MOVE_MAX_MS, MoveBook};
use gcache::topology::state::State;

use super::carry::Carried;
use super::slips::Slip;
use super::world::{GROUP, Happening, KEYS, World, node};
use crate::cluster;
use crate::queue::{MILLISECOND, Micros};

/// How often a member looks after its lease, and a leader after everything.
const LOOK_EVERY: Micros = 50 * MILLISECOND;

/// How long a leader may be without a quorum before the others have another.
const ELECTION: Micros = 1_200 * MILLISECOND;

/// What a leader has, in one term.
pub(super) struct Office {
    pub(super) on: u64,
    term: u64,
    book: LeaseBook,
    moves: MoveBook,
    /// When it last had a quorum.
    had_quorum: Micros,
    /// Resets under way: the epoch that has to be settled, and the versions from then on.
    resets: Vec<(Epoch, [u64; KEYS])>,
    last_move: Micros,
}

impl Office {
    pub(super) fn new(on: u64, term: u64) -> Self {
        Self {
            on,
            term,
            book: LeaseBook::default(),
            moves: MoveBook::default(),
            had_quorum: 0,
            resets: Vec::new(),
            last_move: 0,
        }
    }
}

impl Office {
    /// It has led since `then`.
    pub(super) fn began(&mut self, then: Millis, state: &State) {
        self.book.first_committed(then, state);
    }
}

impl World {
    /// A member renews its lease, if that is due.
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
        let Some(renewal) = member.lease.renew(clock) else {
            return;
        };
        if self.carries(id, self.office.on) || id == self.office.on {
            let after = self.delay();
            let renewal = Carried::Renewal(renewal);
            self.queue.push(after, Happening::Carried(renewal));
            self.office.moves.reported(NodeId(id), report);
        }
    }

    pub(super) fn renewal_arrived(&mut self, renewal: Renewal) {
        let leader = self.office.on;
        if self.is_paused(leader) {
            return;
        }
        let state = self.latest().clone();
        let _unknown = self.office.book.arrived(renewal, &state);
        self.begin_round();
    }

    fn begin_round(&mut self) {
        if let Some(round) = self.office.book.begin() {
            let after = self.delay();
            let round = Happening::Round(self.office.term, round);
            self.queue.push(after, round);
        }
    }

    /// Whether most members are heard by the leader and hear it.
    fn has_quorum(&self, leader: u64) -> bool {
        if self.is_paused(leader) {
            return false;
        }
        let others = self.members.keys().filter(|id| **id != leader);
        let with = others.filter(|id| self.carries(leader, **id) && self.carries(**id, leader));
        (with.count() + 1) * 2 > self.members.len()
    }

    pub(super) fn round_ended(&mut self, term: u64, round: Round) {
        let now = self.now();
        if term != self.office.term {
            return;
        }
        let leader = self.office.on;
        if !self.has_quorum(leader) {
            let _asked_again = self.office.book.failed(round);
            return;
        }
        let clock = self.members[&leader].clock(now);
        let state = self.latest().clone();
        self.office.book.first_committed(clock, &state);
        for (renewal, answer) in self.office.book.confirmed(round, clock, &state) {
            let Ok(grant) = answer else { continue };
            let to = renewal.member.0;
            if to == leader || self.carries(leader, to) {
                let after = self.delay();
                let late = self.dice.chance(40);
                let after = after
                    + if late {
                        self.dice.within(0..2_000) * MILLISECOND
                    } else {
                        0
                    };
                self.queue
                    .push(after, Happening::Carried(Carried::Grant(grant)));
            }
        }
        self.begin_round();
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
        let clock = self.members[&leader].clock(now);
        let state = self.latest().clone();
        let settled = self.office.book.settled(clock, &state);
        self.acknowledge_resets(settled);
        if let Some(command) = self.next(clock, settled) {
            self.count(&command);
            let _done = self.commit(&command);
        }
    }

    fn elect(&mut self) {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        let able: Vec<u64> = ids.into_iter().filter(|id| self.has_quorum(*id)).collect();
        if let Some(next) = self.dice.pick(&able) {
            self.seen.elected += 1;
            let now = self.now();
            self.office = Office {
                had_quorum: now,
                ..Office::new(next, self.office.term + 1)
            };
            self.tell(|| format!("{next} leads"));
            let state = self.latest().clone();
            let clock = self.members[&next].clock(now);
            self.office.book.first_committed(clock, &state);
        }
    }

    fn acknowledge_resets(&mut self, settled: Epoch) {
        let now = self.now();
        let done: Vec<_> = self.office.resets.clone();
        self.office.resets.retain(|(epoch, _)| *epoch > settled);
        for (_, versions) in done.into_iter().filter(|(epoch, _)| *epoch <= settled) {
            self.seen.resets += 1;
            for (key, version) in versions.into_iter().enumerate() {
                self.oracle.acknowledged(key, version, now);
            }
        }
    }

    /// What is to be committed next.
    fn next(&mut self, clock: Millis, settled: Epoch) -> Option<Command> {
        let (now, state) = (self.now(), self.latest().clone());
        let early = match self.slip {
            Some(Slip::DownAfterOneSecond) => DOWN_MS - 1_000,
            _ => 0,
        };
        if let Some(down) = self.office.book.down(clock.plus(early), &state) {
            let command = state.plan_fail_over(down)?;
            self.office.book.failing(down, state.epoch());
            return Some(command);
        }
        let to_settle = match self.slip {
            Some(Slip::ActivatedUnsettled) => Epoch(u64::MAX),
            _ => settled,
        };
        // At once, as if it were late.
        let by = match self.slip {
            Some(Slip::ActivatedUnsettled) => {
                let _noted = self.office.moves.next(clock, &state, to_settle);
                clock.plus(MOVE_MAX_MS)
            }
            _ => clock,
        };
        if let Some(command) = self.office.moves.next(by, &state, to_settle) {
            return Some(command);
        }
        let back = state.members().find(|member| {
            let id = member.id.0;
            let here = &self.members[&id];
            let is_there = !self.is_paused(id)
                && self.carries(id, self.office.on)
                && self.carries(self.office.on, id);
            member.status == MemberStatus::Down
                && is_there
                && here.start == member.incarnation.0
                && here.view.epoch() == state.epoch()
        });
        if let Some(back) = back {
            return Some(Command::SetStatus(SetStatus {
                id: back.id,
                status: MemberStatus::Up,
                incarnation: back.incarnation,
            }));
        }
        if let Some(command) = self.resume() {
            return Some(command);
        }
        if self.dice.chance(40) {
            return Some(self.reset());
        }
        if state.has_copies() && self.dice.chance(10) {
            return Some(Self::other_copies(&state));
        }
        let is_time = now - self.office.last_move > 60 * MILLISECOND;
        if is_time && !state.table().is_moving() && self.dice.chance(600) {
            self.office.last_move = now;
            return self.prepare();
        }
        None
    }

    /// A member that has started again says so.
    fn resume(&self) -> Option<Command> {
        let state = self.latest();
        let (id, member) = self.members.iter().find(|(id, member)| {
            let known = state.member(node(**id)).map(|known| known.incarnation);
            known < Some(Incarnation(member.start)) && !self.is_paused(**id)
        })?;
        let mut joiner = cluster::joiner(*id);
        joiner.incarnation = Incarnation(member.start);
        Some(Command::Resume(Resume {
            id: node(*id),
            node: joiner,
        }))
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
