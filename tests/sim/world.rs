//! One run: nodes, network and time, driven from one queue of happenings.

use std::collections::BTreeMap;

use gcache::raft::driver::mistake::Mistake;
use gcache::raft::envelope::{Envelope, Lane};
use gcache::raft::event::{Event, RequestId};
use gcache::topology::commands::COMMAND_VERSION;
use gcache::topology::leader::{Effect as LeaderEffect, Event as LeaderEvent};

use crate::check::Checks;
use crate::churn::Churn;
use crate::cluster;
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::faults::{Fault, Seen};
use crate::lapses::Lapse;
use crate::leases::{Leasing, Said};
use crate::network::Network;
use crate::node::{Node, Turn};
use crate::queue::{MILLISECOND, Queue};
use crate::rollout::Rollout;
use crate::run::{Flaw, Kind};
use crate::trace::Trace;
use crate::violation::{Checked, Promise, Violation};
use crate::wild::{Step, Wild};

/// The fewest events of a run before it is healed.
pub(crate) const EVENTS_MIN: u64 = 2_000;

/// What happens.
pub(crate) enum Happening {
    /// A node's clock ticks.
    Tick { node: u64, start: u64 },
    /// A message arrives. The start of its sender that waits for a report, if one does.
    Arrive(Lane, Envelope, Option<u64>),
    /// The transport tells a node what became of a message.
    Report { node: u64, start: u64, event: Event },
    /// A node goes on with what has waited for it.
    Wake { node: u64, start: u64 },
    /// A node that is down starts.
    Restart(u64),
    /// Something breaks.
    Fault,
    /// A leader is cut off.
    IsolateLeader,
    /// All links carry again.
    Mend,
    /// The weather is good again.
    Calm,
    /// A node's disk and clock are well again.
    Cure { node: u64, start: u64 },
    /// A client asks for something.
    Ask,
    /// The membership changes.
    Churn,
    /// A node looks after its lease.
    Lease { node: u64, start: u64 },
    /// Something that the leader of a node wants done.
    Lead {
        node: u64,
        start: u64,
        effect: LeaderEffect,
    },
    /// Something that the leader of a node hears.
    Heard {
        node: u64,
        start: u64,
        event: LeaderEvent,
    },
    /// A leader waits no longer for the outcome of a request.
    Overdue {
        node: u64,
        start: u64,
        request: RequestId,
    },
    /// Something about leases arrives.
    Said { from: u64, to: u64, said: Said },
    /// Someone looks whether the nodes agree by now.
    Look,
    /// What happens in a wild run only.
    Wild(Step),
    /// A task of a service looks after itself.
    Task(u64),
}

/// All there is in a run.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) queue: Queue<Happening>,
    pub(crate) trace: Trace,
    pub(crate) network: Network,
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// The disks of all nodes, by id.
    pub(crate) disks: BTreeMap<u64, SimDisk>,
    pub(crate) churn: Churn,
    pub(crate) checks: Checks,
    /// The kinds of faults of this run.
    pub(crate) faults: Vec<Fault>,
    pub(crate) seen: Seen,
    /// Nothing breaks any more.
    pub(crate) is_healed: bool,
    pub(crate) events: u64,
    pub(crate) mistake: Option<Mistake>,
    /// The mistake that is made about leases, if any.
    pub(crate) lapse: Option<Lapse>,
    /// Members have leases, and leaders replace who lost his.
    pub(crate) has_leases: bool,
    /// What a wild run keeps.
    pub(crate) wild: Option<Wild>,
    /// The service of a rollout.
    pub(crate) rollout: Option<Rollout>,
    seed: u64,
}

impl World {
    /// The world of `seed`, in which everybody makes this mistake, if any.
    pub(crate) fn new(
        seed: u64,
        kind: Kind,
        flaw: Option<Flaw>,
        is_told: bool,
    ) -> Result<Self, Violation> {
        let mut dice = Dice::new(seed);
        let faults = Fault::draw(&mut dice);
        let members = if dice.chance(100) {
            1
        } else {
            dice.within(3..6)
        };
        let wild = (kind == Kind::Wild).then(|| Wild::draw(seed, flaw.is_some(), &mut dice));
        let members = wild.as_ref().map_or(members, |wild| wild.founders(members));
        let rollout = (kind == Kind::Rollout).then(|| Rollout::draw(seed, &mut dice));
        let members = rollout.as_ref().map_or(members, Rollout::founders);
        let (mistake, lapse, has_leases) = match flaw {
            Some(Flaw::Driver(mistake)) => (Some(mistake), None, false),
            Some(Flaw::Lease(lapse)) => (None, Some(lapse), true),
            None => {
                let is_wild = wild.as_ref().is_some_and(Wild::has_leases);
                (None, None, kind.has_leases(seed) || is_wild)
            }
        };
        let version = |number| {
            let wild = wild.as_ref();
            wild.map_or(COMMAND_VERSION, |wild| wild.version(number))
        };
        let mut founding = match kind {
            Kind::Rollout => {
                let leaves = rollout
                    .as_ref()
                    .is_some_and(|rollout| rollout.leaves_on_term);
                cluster::service(members, leaves)
            }
            Kind::Plain | Kind::Wild => {
                let in_use = wild.as_ref().map(|wild| wild.version_in_use());
                cluster::founding_of(members, in_use.unwrap_or(COMMAND_VERSION), version)
            }
        };
        // Only who owns nothing may stop after its log has failed.
        let may_stall = wild.as_ref().is_some_and(|wild| wild.has(Fault::Stall));
        if has_leases || may_stall {
            cluster::share(&mut founding);
        }
        let mut world = Self {
            queue: Queue::new(),
            trace: Trace::new(is_told),
            network: Network::default(),
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            churn: Churn::new(members),
            checks: Checks::new(founding.clone()),
            faults,
            seen: Seen::default(),
            is_healed: false,
            events: 0,
            mistake,
            lapse,
            has_leases,
            wild,
            rollout,
            seed,
            dice,
        };
        for id in 1..=members {
            let mut node = Node::new(id, &mut world.dice);
            node.version = world.version(id);
            node.found(&founding);
            world.add(node)?;
        }
        for first in kind.first() {
            let after = world.dice.within(0..1_000 * MILLISECOND);
            world.queue.push(after, first);
        }
        world.run_wild();
        Ok(world)
    }

    /// A new node, which starts.
    pub(crate) fn add(&mut self, mut node: Node) -> Checked {
        let id = node.id;
        node.leasing = self
            .has_leases
            .then(|| Leasing::new(self.seed, id, self.lapse));
        self.disks.insert(id, node.disk.clone());
        self.nodes.insert(id, node);
        self.start(id)
    }

    /// Starts a node that is down.
    pub(crate) fn start(&mut self, id: u64) -> Checked {
        let seed = self.dice.within(0..u64::MAX);
        let (now, mistake) = (self.queue.now(), self.mistake);
        self.before_start(id);
        let Some(node) = self.nodes.get_mut(&id) else {
            return Ok(());
        };
        if node.is_up() || node.is_gone || node.failed.is_some() {
            return Ok(());
        }
        let before = node.incarnation;
        if let Err(refused) = node.start(seed, mistake) {
            return self.refused(id, &refused);
        }
        if node.incarnation <= before {
            let told = format!("node {id} starts as {} after {before}", node.incarnation);
            return Err(Violation::new(Promise::DiskNeverRegresses, told));
        }
        self.trace.note(&[id, node.incarnation, node.disk.hash()]);
        self.trace.tell(now, format_args!("node {id} starts"));
        let (start, phase) = (node.start, self.dice.within(0..node.tick));
        if let (Some(leasing), Some(state)) = (&mut node.leasing, &node.state) {
            leasing.started(id, node.incarnation, state, now);
            self.queue.push(phase, Happening::Lease { node: id, start });
        }
        self.queue.push(phase, Happening::Tick { node: id, start });
        self.after_start(id)?;
        self.turned(id)
    }

    /// The next happening.
    pub(crate) fn step(&mut self) -> Checked {
        let next = self
            .queue
            .pop()
            .expect("there is always a clock that ticks");
        self.events += 1;
        self.trace.note(&[self.queue.now()]);
        match next {
            Happening::Tick { node, start } => self.tick(node, start),
            Happening::Arrive(lane, envelope, waits) => self.arrive(lane, envelope, waits),
            Happening::Report { node, start, event } => self.give(node, start, event),
            Happening::Wake { node, start } => self.wake(node, start),
            Happening::Restart(node) => self.start(node),
            Happening::Fault => {
                self.injure();
                Ok(())
            }
            Happening::IsolateLeader => {
                self.isolate_leader();
                Ok(())
            }
            Happening::Mend => {
                self.network.mend();
                Ok(())
            }
            Happening::Calm => {
                self.network.weather = crate::network::Weather::default();
                Ok(())
            }
            Happening::Cure { node, start } => {
                self.cure(node, start);
                Ok(())
            }
            Happening::Ask => self.client(),
            Happening::Churn => self.churn(),
            Happening::Lease { node, start } => self.look_at_lease(node, start),
            Happening::Lead {
                node,
                start,
                effect,
            } => self.led(node, start, effect),
            Happening::Heard { node, start, event } => self.heard(node, start, event),
            Happening::Overdue {
                node,
                start,
                request,
            } => self.overdue(node, start, request),
            Happening::Said { from, to, said } => self.said(from, to, said),
            Happening::Look => Ok(()),
            Happening::Wild(step) => self.happens(step),
            Happening::Task(task) => self.task(task),
        }
    }

    fn tick(&mut self, id: u64, start: u64) -> Checked {
        let Some(node) = self.nodes.get(&id).filter(|node| node.start == start) else {
            return Ok(());
        };
        self.queue
            .push(node.tick, Happening::Tick { node: id, start });
        if self.is_frozen(id) {
            return Ok(());
        }
        self.give(id, start, Event::Tick)
    }

    /// Hands an event to a node, and lets it turn if it can.
    pub(crate) fn give(&mut self, id: u64, start: u64, event: Event) -> Checked {
        let now = self.queue.now();
        let is_there = |node: &&mut Node| node.start == start && node.is_up();
        let Some(node) = self.nodes.get_mut(&id).filter(is_there) else {
            return Ok(());
        };
        node.give(event);
        if node.busy_until <= now {
            return self.turn(id);
        }
        if !node.is_woken {
            node.is_woken = true;
            let after = node.busy_until - now;
            self.queue.push(after, Happening::Wake { node: id, start });
        }
        Ok(())
    }

    fn wake(&mut self, id: u64, start: u64) -> Checked {
        let now = self.queue.now();
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.start == start) else {
            return Ok(());
        };
        node.is_woken = false;
        if node.busy_until > now {
            node.is_woken = true;
            let after = node.busy_until - now;
            self.queue.push(after, Happening::Wake { node: id, start });
            return Ok(());
        }
        if node.is_up() { self.turn(id) } else { Ok(()) }
    }

    /// One turn of a node that runs.
    fn turn(&mut self, id: u64) -> Checked {
        let now = self.queue.now();
        let node = self
            .nodes
            .get_mut(&id)
            .expect("only a node that is there turns");
        self.checks.begins(node);
        let (sends, heard) = (&mut self.checks.sends, &mut self.checks.heard);
        let mut broken = None;
        let (turn, effects) = node.turn(|disk, effect| {
            if let gcache::raft::event::Effect::Send(_, envelope) = effect
                && broken.is_none()
            {
                let message = crate::wire::message(&envelope.message);
                let sent = sends.leaves(disk, &message);
                broken = sent.and_then(|()| heard.leaves(id, &message)).err();
            }
        });
        node.busy_until = node.busy_until.max(now + node.disk.busy());
        self.trace.note(&[id, node.disk.hash()]);
        if turn == Turn::Goes {
            self.checks.goes_on(node, &effects)?;
        }
        let (start, busy) = (node.start, node.disk.busy());
        let given_up = self.given_up_after(id, start, busy);
        for (after, effect) in effects {
            if after < given_up {
                self.effect(id, after, effect)?;
            }
        }
        if let Some(broken) = broken {
            return Err(broken);
        }
        match turn {
            Turn::Goes => {}
            Turn::Ended => self.died(id),
            Turn::Died(told) => self.ended(id, &told)?,
        }
        self.turned(id)
    }

    /// What is checked after every turn.
    fn turned(&mut self, id: u64) -> Checked {
        let node = self.nodes.get_mut(&id).expect("it has just turned");
        let disks = &self.disks;
        self.checks.turned(node, |id, index, term| {
            let disk = disks.get(&id);
            disk.is_some_and(|disk| {
                disk.synced(|rows| crate::check::disk::holds(rows, index, Some(term)))
            })
        })
    }

    /// Ids of the nodes that run and fit.
    pub(crate) fn up(&self, fits: impl Fn(&Node) -> bool) -> Vec<u64> {
        let up = self
            .nodes
            .values()
            .filter(|node| node.is_up() && fits(node));
        up.map(|node| node.id).collect()
    }
}
