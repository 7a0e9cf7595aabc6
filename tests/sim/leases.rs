//! The shell around the product's leases, over the simulated network: members send renewals and announce
//! themselves, and each has a [`Leader`], whose shell is `leading`.
//!
//! Only in some runs: a leader that replaces members changes what else there is to be seen.

use std::collections::{BTreeMap, BTreeSet};

use gcache::cache::Role as CacheRole;
use gcache::ids::{Epoch, Generation, GroupId, Incarnation, Millis, NodeId};
use gcache::membership::admitting::{Admission, admit};
use gcache::membership::announcing::{Announcing, Next};
use gcache::membership::seen::Leads;
use gcache::membership::superseded::fate;
use gcache::ownership::{Duty, LeaseState};
use gcache::raft::envelope::Lane;
use gcache::raft::event::{RequestId, Role};
use gcache::topology::commands::{Command, Joiner, Resume};
use gcache::topology::leader::event::{Question, Settled};
use gcache::topology::leader::{Caller, Event, Leader, Settings};
use gcache::topology::lease::{Grant, Lease, Renewal};
use gcache::topology::moves::MoveReport;
use gcache::topology::state::State;
use gcache::topology::view::Route;

use crate::lapses::Lapse;
use crate::network::Fate;
use crate::node::{CLUSTER, Node};
use crate::queue::{MILLISECOND, Micros};
use crate::violation::Checked;
use crate::world::{Happening, World};

/// One run of so many has leases.
const ONE_RUN_OF: u64 = 5;

/// How often a node looks at its lease, and a leader for a step to take.
pub(crate) const LOOK_EVERY: Micros = 250 * MILLISECOND;

/// How often, in a thousand, a leader looks for a step when a renewal has arrived.
const LOOKS_AT_ONCE: u32 = 500;

/// How fast clocks run, in millionths of a right one: all that is allowed.
const RATES: [u64; 3] = [990_000, 1_010_000, 1_000_000];

/// What a clock shows when its process starts, in milliseconds.
const FIRST_MS: u64 = 10_000;

/// How many voters a cluster should have.
const VOTERS: [usize; 2] = [3, 5];

/// Whether the run of this seed has leases.
pub(crate) fn has_leases(seed: u64) -> bool {
    seed.is_multiple_of(ONE_RUN_OF)
}

/// What nodes say to each other beside Raft.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Renewal(Renewal),
    Granted(Grant),
    /// The leader is asked to commit what a member says of itself.
    Enter(Command),
    /// The member was removed.
    Removed,
}

/// The lease of one node, and its leader.
pub(crate) struct Leasing {
    rate: u64,
    started: Micros,
    /// Whether its clock stands still while its machine is suspended: a mistake.
    stands_still: bool,
    /// From when until when that was so.
    suspended: Vec<(Micros, Micros)>,
    pub(crate) lease: Lease,
    settings: Settings,
    pub(crate) leader: Leader,
    pub(crate) settled: Settled,
    /// Which member each caller of the leader is, and since when it waits.
    pub(crate) callers: BTreeMap<Caller, (u64, Micros)>,
    next_caller: u64,
    pub(crate) questions: BTreeMap<RequestId, Question>,
    /// The terms of the steps under way.
    pub(crate) steps: BTreeMap<RequestId, u64>,
    /// Resets that nobody has acknowledged yet, by the epoch that has to be settled first.
    pub(crate) resets: Vec<(Epoch, GroupId, Generation)>,
    /// The term of these resets.
    term: u64,
    announcing: Announcing,
    /// Nothing is announced before this moment.
    announces_at: Micros,
    report: MoveReport,
}

impl Leasing {
    /// The leases of node `id`, whose clock is wrong in its own way.
    pub(crate) fn new(seed: u64, id: u64, lapse: Option<Lapse>) -> Self {
        let voters = VOTERS[(seed / ONE_RUN_OF % 2) as usize];
        let settings = Settings {
            mistake: lapse.and_then(Lapse::of_leader),
            ..Settings::new(voters, !seed.is_multiple_of(3))
        };
        Self {
            rate: RATES[(seed.wrapping_add(id) % RATES.len() as u64) as usize],
            started: 0,
            stands_still: lapse == Some(Lapse::ClockStandsStill),
            suspended: Vec::new(),
            lease: Lease::new(NodeId(id), Incarnation(0)),
            leader: Leader::new(NodeId(id), settings.clone()),
            settings,
            settled: Settled::default(),
            callers: BTreeMap::new(),
            next_caller: 0,
            questions: BTreeMap::new(),
            steps: BTreeMap::new(),
            resets: Vec::new(),
            term: 0,
            announcing: Announcing::new(NodeId(id), Incarnation(0)),
            announces_at: 0,
            report: MoveReport::default(),
        }
    }

    /// Its node has started.
    pub(crate) fn started(&mut self, id: u64, incarnation: u64, state: &State, now: Micros) {
        self.started = now;
        self.suspended.clear();
        self.lease = Lease::new(NodeId(id), Incarnation(incarnation));
        self.announcing = Announcing::new(NodeId(id), Incarnation(incarnation));
        self.announces_at = now;
        self.report = MoveReport::default();
        self.applied(id, state);
        self.leader = Leader::new(NodeId(id), self.settings.clone());
        self.settled = Settled::default();
        self.callers.clear();
        self.questions.clear();
        self.steps.clear();
        self.resets.clear();
    }

    /// Its node has applied this.
    pub(crate) fn applied(&mut self, id: u64, state: &State) {
        let since = state.table().latest_since(NodeId(id));
        self.lease.applied(state.epoch(), since);
        // Nothing is kept in memory here: what comes has arrived at once.
        let coming = state.table().iter().filter_map(|(_, at)| at.move_to);
        let coming = coming.filter(|moving| moving.to == NodeId(id));
        if let Some(warmed) = coming.map(|moving| moving.tenure).max() {
            self.report.warmed = self.report.warmed.max(warmed);
            self.lease.reports(self.report);
        }
    }

    /// Its node stops in a moment: moves from it wait for nothing any more.
    fn stops_soon(&mut self) {
        self.report.stops_soon = true;
        self.lease.reports(self.report);
    }

    /// What its clock shows.
    pub(crate) fn clock(&self, now: Micros) -> Millis {
        let stood = self.suspended.iter();
        let stood = stood.map(|(from, until)| now.min(*until).saturating_sub(*from));
        let passed = (now - self.started - stood.sum::<Micros>()) * self.rate / 1_000_000;
        Millis(FIRST_MS + passed / MILLISECOND)
    }

    /// Its machine is suspended.
    pub(crate) fn suspend(&mut self, from: Micros, until: Micros) {
        if !self.stands_still {
            return;
        }
        match self.suspended.last_mut() {
            // It is suspended already, until then or longer.
            Some((_, last)) if *last >= from => *last = until.max(*last),
            _ => self.suspended.push((from, until)),
        }
    }

    /// Its machine goes on now at the latest.
    pub(crate) fn resume(&mut self, now: Micros) {
        if let Some((_, until)) = self.suspended.last_mut() {
            *until = now.min(*until);
        }
    }

    /// Whether it holds a lease, as it believes.
    pub(crate) fn is_valid(&self, now: Micros) -> bool {
        self.lease.is_valid(self.clock(now))
    }

    /// What it may do for what it owns by this route.
    pub(crate) fn duty(&self, route: &Route, now: Micros) -> Duty {
        LeaseState::from(&self.lease).duty(CacheRole::Owner, route, self.clock(now))
    }

    /// Its node leads from now on, or leads no more.
    pub(crate) fn leads(&mut self, role: Role) {
        if !role.is_leader || role.term != self.term {
            // Whoever waits asks another leader.
            self.resets.clear();
            self.term = role.term;
        }
    }

    /// The number under which the answer for member `id` is kept.
    pub(crate) fn caller(&mut self, id: u64, now: Micros) -> Caller {
        let caller = Caller(self.next_caller);
        self.next_caller += 1;
        self.callers.insert(caller, (id, now));
        caller
    }
}

impl World {
    /// A node looks after its lease, and its leader after everybody's.
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
        let renewal = leasing.lease.renew(clock);
        if let Some(renewal) = renewal {
            self.tell_leader(id, &Said::Renewal(renewal))?;
        }
        self.announce(id)?;
        self.lead(id, Event::Look(BTreeSet::new()))
    }

    /// A member announces its start until the state has it, and finds out whether others went on without it.
    fn announce(&mut self, id: u64) -> Checked {
        let now = self.queue.now();
        let shown = self.shown();
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.is_up()) else {
            return Ok(());
        };
        let (leads, resume) = (Leads::from(node.role), resume(id, node));
        let (Some(leasing), Some(state)) = (&mut node.leasing, &node.state) else {
            return Ok(());
        };
        if now < leasing.announces_at {
            return Ok(());
        }
        loop {
            match leasing.announcing.next(state, leads) {
                // Addresses never change here.
                Next::LookForPeers => {}
                Next::AskFate => {
                    let shown = shown.iter().map(|state| &**state);
                    let own = (NodeId(id), leasing.lease.incarnation());
                    if fate(CLUSTER, own, shown).is_some() {
                        return self.said(id, id, Said::Removed);
                    }
                }
                Next::CommitHere | Next::AskOthers => {
                    return match resume {
                        Some(resume) => self.tell_leader(id, &Said::Enter(resume)),
                        None => Ok(()),
                    };
                }
                Next::Pause => return Ok(()),
                Next::Wait(ms) => {
                    leasing.announces_at = now + ms * MILLISECOND;
                    return Ok(());
                }
            }
        }
    }

    /// Says something to the leader.
    pub(crate) fn tell_leader(&mut self, id: u64, said: &Said) -> Checked {
        for to in self.asked(id) {
            self.say(id, to, said.clone())?;
        }
        Ok(())
    }

    /// A member reports that it stops in a moment.
    pub(crate) fn stops_soon(&mut self, id: u64) {
        if let Some(leasing) = self.leasing(id) {
            leasing.stops_soon();
        }
    }

    /// The lease and the leader of a node, in a run that has them.
    pub(crate) fn leasing(&mut self, id: u64) -> Option<&mut Leasing> {
        self.nodes.get_mut(&id)?.leasing.as_mut()
    }

    /// The leader as node `id` knows it. One that hears of none asks everybody.
    fn asked(&self, id: u64) -> Vec<u64> {
        match self.nodes.get(&id).and_then(|node| node.role.leader) {
            Some(leader) => vec![leader.0],
            None => self.nodes.keys().copied().collect(),
        }
    }

    /// Says something to a node, or at once to itself.
    pub(crate) fn say(&mut self, from: u64, to: u64, said: Said) -> Checked {
        let now = self.queue.now();
        if from == to {
            return self.said(from, to, said);
        }
        let link = (from, to, Lane::Heartbeat);
        let fate = self.network.fate(&mut self.dice, &mut self.seen, link, now);
        let mut arrive = |at: Micros| {
            let said = said.clone();
            self.queue
                .push(at - now, Happening::Said { from, to, said });
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
                let caller = leasing.caller(from, now);
                self.lead(to, Event::Renew(caller, renewal))?;
                // It may look for a step at any moment, also while a round is under way.
                if self.dice.chance(LOOKS_AT_ONCE) {
                    return self.lead(to, Event::Look(BTreeSet::new()));
                }
                Ok(())
            }
            Said::Enter(command) => {
                let (leads, state) = (node.role.is_leader, node.state.clone());
                let admitted = state.map(|state| admit(&state, &command, leads));
                match admitted.filter(|_| leads) {
                    Some(Admission::Propose) => self.propose(to, command.encode()).map(|_| ()),
                    // A node that is refused asks again.
                    Some(Admission::Known | Admission::Refused(_)) | None => Ok(()),
                }
            }
            Said::Removed => {
                node.stop();
                node.is_gone = true;
                self.checks.requests.ended(to);
                Ok(())
            }
        }
    }

    /// Whether all promises about leases hold now.
    pub(crate) fn check_leases(&mut self) -> Checked {
        let now = self.queue.now();
        self.checks.leases.check(&self.nodes, &self.checks.log, now)
    }
}

/// What a member that has started again says of itself.
fn resume(id: u64, node: &Node) -> Option<Command> {
    let state = node.state.as_ref()?;
    let record = state.member(NodeId(id))?;
    let node = Joiner {
        name: record.name.clone(),
        host: record.host.clone(),
        raft_port: record.raft_port,
        grpc_port: record.grpc_port,
        admin_port: record.admin_port,
        zone: record.zone.clone(),
        weight: record.weight,
        incarnation: Incarnation(node.incarnation),
        version: record.version,
        settings: state.settings().clone(),
        nonce: record.nonce,
        leaves_on_term: record.leaves_on_term,
    };
    let id = NodeId(id);
    Some(Command::Resume(Resume { id, node }))
}
