//! Members renew their leases and the leader grants them, fails over who is silent and brings back who
//! is heard again: what a node does around [`Lease`] and [`LeaseBook`], over the simulated network.
//!
//! Only in some runs: a leader that replaces members changes what else there is to be seen.

use std::collections::BTreeMap;

use gcache::ids::{Epoch, Generation, GroupId, Incarnation, Millis, NodeId};
use gcache::raft::envelope::Lane;
use gcache::raft::event::{Event, Outcome, RequestId, Role};
use gcache::topology::commands::{Change, Command, Joiner, Resume, SetStatus};
use gcache::topology::lease::{DOWN_MS, Grant, Lease, LeaseBook, LeaseRefusal, Renewal, Round};
use gcache::topology::model::member::MemberStatus;
use gcache::topology::state::State;

use crate::lapses::Lapse;
use crate::network::Fate;
use crate::node::Node;
use crate::queue::{MILLISECOND, Micros};
use crate::violation::Checked;
use crate::world::{Happening, World};

/// One run of so many has leases.
const ONE_RUN_OF: u64 = 5;

/// How often a node looks at its lease, and a leader at its book.
pub(crate) const LOOK_EVERY: Micros = 250 * MILLISECOND;

/// How often, in a thousand, a leader looks at its book when a renewal has arrived.
const LOOKS_AT_ONCE: u32 = 500;

/// How fast clocks run, in millionths of a right one: all that is allowed.
const RATES: [u64; 3] = [990_000, 1_010_000, 1_000_000];

/// What a clock shows when its process starts, in milliseconds.
const FIRST_MS: u64 = 10_000;

/// Whether the run of this seed has leases.
pub(crate) fn has_leases(seed: u64) -> bool {
    seed.is_multiple_of(ONE_RUN_OF)
}

/// What nodes say to each other of leases.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    Renewal(Renewal),
    Granted(Grant),
}

/// The leases of one node.
pub(crate) struct Leasing {
    rate: u64,
    started: Micros,
    pub(crate) lease: Lease,
    /// What it keeps while it leads.
    office: Option<Office>,
}

/// What a leader keeps.
struct Office {
    term: u64,
    book: LeaseBook,
    /// The round that is read for.
    reading: Option<(RequestId, Round)>,
    /// The proposal under way, and whom it fails over.
    proposed: Option<(RequestId, Option<NodeId>)>,
    /// The last decided renewal of each member.
    decided: BTreeMap<NodeId, (Renewal, Option<LeaseRefusal>)>,
    /// Resets that nobody was told of yet, by the epoch that has to be settled first.
    resets: Vec<(Epoch, GroupId, Generation)>,
    /// Members came or went since the partitions were shared out.
    is_uneven: bool,
}

impl Leasing {
    /// The leases of node `id`, whose clock is wrong in its own way.
    pub(crate) fn new(seed: u64, id: u64) -> Self {
        Self {
            rate: RATES[(seed.wrapping_add(id) % RATES.len() as u64) as usize],
            started: 0,
            lease: Lease::new(NodeId(id), Incarnation(0)),
            office: None,
        }
    }

    /// Its node has started.
    pub(crate) fn started(&mut self, id: u64, incarnation: u64, state: &State, now: Micros) {
        self.started = now;
        self.lease = Lease::new(NodeId(id), Incarnation(incarnation));
        self.applied(id, state);
        self.office = None;
    }

    /// Its node has applied this.
    pub(crate) fn applied(&mut self, id: u64, state: &State) {
        let since = state.table().latest_since(NodeId(id));
        self.lease.applied(state.epoch(), since);
    }

    /// What its clock shows.
    fn clock(&self, now: Micros) -> Millis {
        let passed = (now - self.started) * self.rate / 1_000_000;
        Millis(FIRST_MS + passed / MILLISECOND)
    }

    /// Whether it holds a lease, as it believes.
    pub(crate) fn is_valid(&self, now: Micros) -> bool {
        self.lease.is_valid(self.clock(now))
    }

    /// Its node leads from now on, or leads no more.
    pub(crate) fn leads(&mut self, role: Role) {
        let is_same = |office: &Office| office.term == role.term;
        if !role.is_leader {
            self.office = None;
        } else if !self.office.as_ref().is_some_and(is_same) {
            self.office = Some(Office {
                term: role.term,
                book: LeaseBook::default(),
                reading: None,
                proposed: None,
                decided: BTreeMap::new(),
                resets: Vec::new(),
                is_uneven: true,
            });
        }
    }
}

impl World {
    /// A node looks after its lease, and a leader after everybody's.
    pub(crate) fn look_at_lease(&mut self, id: u64, start: u64) -> Checked {
        let now = self.queue.now();
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.start == start) else {
            return Ok(());
        };
        let Some(leasing) = node.leasing.as_mut().filter(|_| node.driver.is_some()) else {
            return Ok(());
        };
        let again = Happening::Lease { node: id, start };
        if node.paused_until > now {
            self.queue.push(node.paused_until - now, again);
            return Ok(());
        }
        self.queue.push(LOOK_EVERY, again);
        let clock = leasing.clock(now);
        let (renewal, leader) = (leasing.lease.renew(clock), node.role.leader);
        if let Some(renewal) = renewal {
            // One that hears of no leader asks everybody.
            let all: Vec<u64> = match leader {
                Some(leader) => vec![leader.0],
                None => self.nodes.keys().copied().collect(),
            };
            for to in all {
                self.say(id, to, Said::Renewal(renewal))?;
            }
        }
        self.preside(id)
    }

    /// Says something to a node, or at once to itself.
    fn say(&mut self, from: u64, to: u64, said: Said) -> Checked {
        let now = self.queue.now();
        if from == to {
            return self.said(from, to, said);
        }
        let link = (from, to, Lane::Heartbeat);
        let fate = self.network.fate(&mut self.dice, &mut self.seen, link, now);
        let mut arrive = |at: Micros| {
            let happening = Happening::Said { from, to, said };
            self.queue.push(at - now, happening);
        };
        match fate {
            Fate::Arrives(at) => arrive(at),
            Fate::ArrivesTwice(first, second) => {
                arrive(first);
                arrive(second);
            }
            Fate::Lost => {}
        }
        Ok(())
    }

    /// Something that was said is there.
    pub(crate) fn said(&mut self, from: u64, to: u64, said: Said) -> Checked {
        let now = self.queue.now();
        let Some(node) = self.nodes.get_mut(&to).filter(|node| node.is_up()) else {
            return Ok(());
        };
        let Some(leasing) = &mut node.leasing else {
            return Ok(());
        };
        if node.paused_until > now {
            let after = node.paused_until - now;
            self.queue.push(after, Happening::Said { from, to, said });
            return Ok(());
        }
        self.trace.note(&[from, to]);
        self.trace
            .tell(now, format_args!("node {from} said to {to}: {said:?}"));
        match said {
            Said::Granted(mut grant) => {
                let clock = leasing.clock(now);
                if self.lapse == Some(Lapse::CountedFromArrival) {
                    grant.renewal.sent_at = clock;
                }
                if self.lapse == Some(Lapse::EpochNotAwaited) {
                    grant.epoch = Epoch(0);
                }
                leasing.lease.granted(&grant, clock);
                self.check_leases()
            }
            Said::Renewal(renewal) => {
                let (Some(office), Some(state)) = (&mut leasing.office, &node.state) else {
                    return Ok(());
                };
                // Who is unknown here is told so by nobody, and asks again.
                let _unknown = office.book.arrived(renewal, state);
                self.begin_round(to)?;
                // It may look at its book at any moment, also while a round is under way.
                if self.dice.chance(LOOKS_AT_ONCE) {
                    return self.preside(to);
                }
                Ok(())
            }
        }
    }

    /// Begins the next round of a node, if it still runs.
    pub(crate) fn next_round(&mut self, id: u64, start: u64) -> Checked {
        let is_same = self.nodes.get(&id).is_some_and(|node| node.start == start);
        if is_same {
            self.begin_round(id)
        } else {
            Ok(())
        }
    }

    /// The leader `id` asks the quorum for those who wait.
    fn begin_round(&mut self, id: u64) -> Checked {
        let request = self.checks.requests.next();
        let Some(office) = self.office(id) else {
            return Ok(());
        };
        let Some(round) = office.book.begin() else {
            return Ok(());
        };
        if self.lapse == Some(Lapse::NoQuorum) {
            return self.confirmed(id, round);
        }
        // Known before the answer, which may come at once.
        office_of(&mut self.nodes, id).reading = Some((request, round));
        let what = self.checks.requests.read();
        self.ask(id, what, Event::Read).map(|_| ())
    }

    /// Somebody has the outcome of a request; maybe a leader waits for it.
    pub(crate) fn leased(&mut self, id: u64, request: RequestId, outcome: &Outcome) -> Checked {
        // Answers come out before the state that they tell of.
        let driver = self.nodes.get(&id).and_then(|node| node.driver.as_ref());
        let epoch = driver.map(|driver| driver.state().epoch());
        let Some(office) = self.office(id) else {
            return Ok(());
        };
        if let Some((_, round)) = office.reading.take_if(|(asked, _)| *asked == request) {
            if matches!(outcome, Outcome::Readable(_)) {
                return self.confirmed(id, round);
            }
            let _asked_again = office.book.failed(round);
            return Ok(());
        }
        if let Some((_, failing)) = office.proposed.take_if(|(asked, _)| *asked == request) {
            let is_done = matches!(outcome, Outcome::Applied { result: Ok(_), .. });
            office.is_uneven |= is_done;
            if let Some(member) = failing.filter(|_| *outcome != Outcome::Unknown) {
                office.book.resolved(member);
            }
        }
        if let Outcome::Applied {
            result: Ok(Change::Reset(group, generation)),
            ..
        } = outcome
        {
            let epoch = epoch.expect("it has applied the reset");
            office.resets.push((epoch, *group, *generation));
        }
        Ok(())
    }

    /// The round of the leader `id` is confirmed: everybody in it has an answer.
    fn confirmed(&mut self, id: u64, round: Round) -> Checked {
        let now = self.queue.now();
        let node = self.nodes.get_mut(&id).expect("it has asked");
        let (Some(leasing), Some(state)) = (&mut node.leasing, node.state.clone()) else {
            return Ok(());
        };
        let mut clock = leasing.clock(now);
        let Some(office) = &mut leasing.office else {
            return Ok(());
        };
        // Nothing is read before an entry of the leader's own term is committed.
        if self.lapse == Some(Lapse::NoWaitOfNewLeader) {
            clock = Millis(clock.0 - DOWN_MS);
        }
        office.book.first_committed(clock, &state);
        let clock = leasing.clock(now);
        let Some(office) = &mut leasing.office else {
            return Ok(());
        };
        let answers = office.book.confirmed(round, clock, &state);
        let mut granted = Vec::new();
        for (renewal, answer) in answers {
            let known = office.decided.entry(renewal.member);
            known
                .and_modify(|known| *known = (renewal, answer.err()))
                .or_insert((renewal, answer.err()));
            granted.extend(answer.ok());
        }
        for grant in granted {
            self.say(id, grant.renewal.member.0, Said::Granted(grant))?;
        }
        // Not at once: the effects of a turn are done before the next turn begins.
        let start = self.nodes.get(&id).map_or(0, |node| node.start);
        self.queue.push(0, Happening::Round { node: id, start });
        Ok(())
    }

    /// The leader `id` says what is settled, and proposes what is due: one thing at a time.
    fn preside(&mut self, id: u64) -> Checked {
        let now = self.queue.now();
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        let (Some(leasing), Some(state)) = (&mut node.leasing, node.state.clone()) else {
            return Ok(());
        };
        let clock = leasing.clock(now);
        let Some(office) = &mut leasing.office else {
            return Ok(());
        };
        let settled = office.book.settled(clock, &state);
        let is_told = |reset: &&(Epoch, GroupId, Generation)| {
            reset.0 <= settled || self.lapse == Some(Lapse::ResetNotAwaited)
        };
        let resets = office.resets.iter().filter(is_told);
        for (_, group, generation) in resets {
            self.checks.leases.was_reset(*group, *generation);
        }
        office.resets.retain(|reset| !is_told(&reset));
        let next = match office.proposed {
            Some(_) => None,
            None => office.next(self.lapse, clock, &state),
        };
        self.check_leases()?;
        let Some(command) = next else {
            return Ok(());
        };
        let failing = match &command {
            Command::FailOver(fail_over) => Some(fail_over.id),
            _ => None,
        };
        let request = self.checks.requests.next();
        office_of(&mut self.nodes, id).proposed = Some((request, failing));
        self.propose(id, command.encode()).map(|_| ())
    }

    fn office(&mut self, id: u64) -> Option<&mut Office> {
        let node = self.nodes.get_mut(&id)?;
        node.leasing.as_mut()?.office.as_mut()
    }

    /// Whether all promises about leases hold now.
    pub(crate) fn check_leases(&mut self) -> Checked {
        let now = self.queue.now();
        self.checks.leases.check(&self.nodes, &self.checks.log, now)
    }
}

fn office_of(nodes: &mut BTreeMap<u64, Node>, id: u64) -> &mut Office {
    let leasing = nodes.get_mut(&id).and_then(|node| node.leasing.as_mut());
    let office = leasing.and_then(|leasing| leasing.office.as_mut());
    office.expect("it has just presided")
}

impl Office {
    /// What is to be proposed next.
    fn next(&mut self, lapse: Option<Lapse>, clock: Millis, state: &State) -> Option<Command> {
        let early = match lapse {
            Some(Lapse::DownAfterOneSecond) => DOWN_MS - 1_000,
            _ => 0,
        };
        if let Some(down) = self.book.down(clock.plus(early), state) {
            if lapse != Some(Lapse::GrantWhileFailing) {
                self.book.failing(down, state.epoch());
            }
            return state.plan_fail_over(down);
        }
        let settled = self.book.settled(clock, state);
        let decided = std::mem::take(&mut self.decided);
        let mut steps = decided.into_values().filter_map(|(renewal, refusal)| {
            let record = state.member(renewal.member)?;
            let is_known = record.incarnation == renewal.incarnation;
            let is_new = renewal.epoch >= settled && record.replaced_by.is_none();
            match (record.status, refusal) {
                (_, Some(LeaseRefusal::OtherIncarnation(known))) => {
                    (known < renewal.incarnation).then(|| resume(state, &renewal))?
                }
                (MemberStatus::Down | MemberStatus::Joining, _) if is_known && is_new => {
                    Some(Command::SetStatus(SetStatus {
                        id: renewal.member,
                        status: MemberStatus::Up,
                        incarnation: renewal.incarnation,
                    }))
                }
                _ => None,
            }
        });
        if let Some(step) = steps.next() {
            return Some(step);
        }
        drop(steps);
        std::mem::take(&mut self.is_uneven)
            .then(|| state.plan_assign())
            .flatten()
    }
}

/// A member has started again: what it would say of itself.
fn resume(state: &State, renewal: &Renewal) -> Option<Command> {
    let record = state.member(renewal.member)?;
    let node = Joiner {
        name: record.name.clone(),
        host: record.host.clone(),
        raft_port: record.raft_port,
        grpc_port: record.grpc_port,
        admin_port: record.admin_port,
        zone: record.zone.clone(),
        weight: record.weight,
        incarnation: renewal.incarnation,
        version: record.version,
        settings: state.settings().clone(),
        nonce: record.nonce,
        leaves_on_term: record.leaves_on_term,
    };
    let id = renewal.member;
    Some(Command::Resume(Resume { id, node }))
}
