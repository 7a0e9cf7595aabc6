//! The life of one task: it joins, is a member, leaves when it is stopped, and ends.

use std::sync::Arc;

use gcache::ids::{Incarnation, Millis, NodeId};
use gcache::membership::admitting::{Admission, admit};
use gcache::membership::ending;
use gcache::membership::founding::Candidate;
use gcache::membership::joining::{Beginning, begin};
use gcache::membership::leaving::{self, Leaving, Next, Seen, Stage, StopNext, Stopping};
use gcache::membership::readiness::{Membership, checks, is_up};
use gcache::membership::seen::{Leads, SeedStatus};
use gcache::raft::event::{Outcome, RequestId};
use gcache::topology::commands::{Agreed, Change, Command, Joiner};
use gcache::topology::leader::heir;
use gcache::topology::state::State as Topology;

use super::outliving::Without;
use super::service::Operation;
use super::{Deed, Rollout};
use crate::cluster;
use crate::leases::Said;
use crate::node::{CLUSTER, Node};
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::Checked;
use crate::world::{Happening, World};

/// How long a task that is stopped may take to leave: the product's default.
const LEAVE_TIMEOUT_MS: u64 = 90_000;

/// How long a leader that stops waits for its heir.
const HAND_OVER: Micros = SECOND;

/// Between two attempts to join.
const JOIN_EVERY: Micros = 500 * MILLISECOND;

/// The number of the data directory that all tasks share.
const ROOT: u128 = 7;

/// A task.
pub(super) struct Task {
    pub(super) state: State,
    /// Why it is no member yet.
    waits: Option<String>,
    /// Whether it was up since it started.
    has_been_up: bool,
}

/// What a task does.
pub(super) enum State {
    /// It has no log yet.
    Joining,
    /// It is this member.
    Member(u64),
    /// It is this member, and stops.
    Leaving(u64, Box<Leaver>),
    /// It was a member, and has no log any more.
    WithoutLog(Box<Without>),
    /// Its process has ended.
    Over,
}

/// A task that stops.
pub(super) struct Leaver {
    leaving: Leaving,
    stopping: Stopping,
    stage: Stage,
    /// It stops at this moment at the latest, and hands its leadership over before.
    stops_by: Option<Micros>,
}

impl State {
    /// How often a task in this state looks after itself; never once it is over.
    pub(super) fn looks_every(&self) -> Option<Micros> {
        match self {
            Self::Joining | Self::Member(_) => Some(JOIN_EVERY),
            Self::Leaving(..) => Some(leaving::SAY_EVERY_MS * MILLISECOND),
            Self::WithoutLog(..) => Some(ending::LOOK_EVERY_MS * MILLISECOND),
            Self::Over => None,
        }
    }
}

impl Task {
    /// A task that has just started.
    pub(super) fn new() -> Self {
        Self {
            state: State::Joining,
            waits: None,
            has_been_up: false,
        }
    }

    /// A task that is the member of its number.
    pub(super) fn member(number: u64) -> Self {
        Self {
            state: State::Member(number),
            has_been_up: true,
            ..Self::new()
        }
    }
}

impl World {
    /// The member that a task is, if it is one that runs.
    pub(super) fn node_of(&mut self, task: u64) -> Option<u64> {
        match self.rollout().tasks.get(&task)?.state {
            State::Member(node) | State::Leaving(node, _) => Some(node),
            State::Joining | State::WithoutLog(..) | State::Over => None,
        }
    }

    pub(super) fn set(&mut self, task: u64, state: State) {
        if let Some(task) = self.rollout().tasks.get_mut(&task) {
            task.state = state;
        }
    }

    /// A task does what is next.
    pub(super) fn live_on(&mut self, number: u64) -> Checked {
        let Some(task) = self.rollout().tasks.get_mut(&number) else {
            return Ok(());
        };
        match std::mem::replace(&mut task.state, State::Over) {
            State::Joining => {
                self.set(number, State::Joining);
                self.join_further(number)
            }
            State::Member(node) => {
                // One that was removed ends here; on a real node it joins anew.
                let is_gone = self.nodes.get(&node).is_none_or(|node| node.is_gone);
                if !is_gone {
                    self.set(number, State::Member(node));
                }
                Ok(())
            }
            State::Leaving(node, leaver) => self.leave_further(number, node, leaver),
            State::WithoutLog(without) => {
                self.outlive_further(number, without);
                Ok(())
            }
            State::Over => Ok(()),
        }
    }

    /// What a right clock shows.
    pub(crate) fn millis(&self) -> Millis {
        Millis(self.queue.now() / MILLISECOND)
    }

    /// The states that nodes show which run.
    pub(crate) fn shown(&self) -> Vec<Arc<Topology>> {
        let up = self.nodes.values().filter(|node| node.is_up());
        up.filter_map(|node| node.state.clone()).collect()
    }

    /// A task without a log tries to join.
    fn join_further(&mut self, number: u64) -> Checked {
        let name = cluster::task(number).name;
        let seeds: Vec<SeedStatus> = self.seeds();
        let own = Candidate {
            name: &name,
            root: ROOT,
            is_founder: false,
            is_seed: false,
            places: seeds.len(),
            unresolved: Vec::new(),
            is_fixed: false,
        };
        match begin(Some(CLUSTER), &seeds, &own) {
            Beginning::Enter(_) => self.enter(number),
            Beginning::Found => Ok(()),
            Beginning::Wait(why) => {
                self.wait_for(number, why);
                Ok(())
            }
        }
    }

    fn seeds(&self) -> Vec<SeedStatus> {
        let up = self.nodes.values().filter(|node| node.is_up());
        up.map(|node| {
            let own = cluster::task(node.id);
            SeedStatus {
                name: own.name.to_string(),
                root: Some(ROOT),
                cluster: Some(CLUSTER),
                node: NodeId(node.id),
                incarnation: Incarnation(node.incarnation),
                host: own.host.to_string(),
                raft_port: own.raft_port,
            }
        })
        .collect()
    }

    fn wait_for(&mut self, task: u64, why: String) {
        if let Some(task) = self.rollout().tasks.get_mut(&task) {
            task.waits = Some(why);
        }
    }

    /// A task asks the leader to let it in.
    fn enter(&mut self, number: u64) -> Checked {
        let leaders = self.up(|node| node.role.is_leader);
        let Some(leader) = self.dice.pick(&leaders) else {
            self.wait_for(number, "no leader answers".into());
            return Ok(());
        };
        let is_refused = self.rollout().operation == Operation::RefusedDeploy;
        let mut own = cluster::task(number);
        if is_refused {
            own.settings = other_settings(&own);
        }
        let join = Command::Join(own);
        let Some(state) = self.nodes.get(&leader).and_then(|node| node.state.clone()) else {
            return Ok(());
        };
        match admit(&state, &join, true) {
            Admission::Known => Ok(()),
            Admission::Refused(refusal) => {
                self.did(Deed::Refused);
                self.wait_for(number, refusal.to_string());
                Ok(())
            }
            Admission::Propose => {
                // Known before the answer, which may come at once.
                let request = self.checks.requests.next();
                self.rollout().joining.insert(request, number);
                self.propose(leader, join.encode()).map(|_| ())
            }
        }
    }

    /// A request has an outcome; maybe it is a join.
    pub(crate) fn entered(&mut self, request: RequestId, outcome: &Outcome) -> Checked {
        let Some(rollout) = &mut self.rollout else {
            return Ok(());
        };
        let Some(number) = rollout.joining.remove(&request) else {
            return Ok(());
        };
        let Outcome::Applied {
            result: Ok(Change::Joined(NodeId(id))),
            ..
        } = *outcome
        else {
            return Ok(());
        };
        if self.nodes.contains_key(&id) {
            return Ok(());
        }
        self.did(Deed::Joined);
        self.set(number, State::Member(id));
        let node = Node::new(id, &mut self.dice);
        node.join();
        self.add(node)
    }

    /// Whether a task passes its health check.
    pub(super) fn is_ready(&mut self, number: u64) -> bool {
        let now = self.queue.now();
        let Some(task) = self
            .rollout
            .as_ref()
            .and_then(|rollout| rollout.tasks.get(&number))
        else {
            return false;
        };
        let (node, stage) = match &task.state {
            State::Joining | State::WithoutLog(..) => (None, Stage::Stays),
            State::Member(node) => (Some(*node), Stage::Stays),
            State::Leaving(node, leaver) => (Some(*node), leaver.stage),
            State::Over => return false,
        };
        let waits = task.waits.clone();
        let node = node.and_then(|node| self.nodes.get(&node));
        let is_up = node.is_some_and(|node| {
            let own = Incarnation(node.incarnation);
            let state = node.state.as_ref();
            state.is_some_and(|state| is_up(state, NodeId(node.id), own))
        });
        let has_been_up = task.has_been_up || is_up;
        let membership = match (&task.state, node) {
            (State::WithoutLog(..), _) => Membership::Ended {
                why: "the log failed".into(),
                has_been_up,
            },
            (_, None) => Membership::None(waits),
            (_, Some(node)) => Membership::Member {
                node: NodeId(node.id),
                cluster: CLUSTER,
                term: node.role.term,
                leader: node.role.leader,
                has_been_up,
                obstacle: waits,
            },
        };
        let leasing = node.and_then(|node| node.leasing.as_ref());
        let is_isolated = !leasing.is_some_and(|leasing| leasing.is_valid(now));
        let checks = checks(membership, stage, is_isolated);
        if let Some(task) = self.rollout().tasks.get_mut(&number) {
            task.has_been_up = has_been_up;
        }
        checks.iter().all(|(_, verdict)| verdict.is_ready())
    }

    /// A task gets SIGTERM.
    pub(super) fn stop_task(&mut self, number: u64) {
        let now = self.queue.now();
        let Some(task) = self.rollout().tasks.get_mut(&number) else {
            return;
        };
        let State::Member(id) = task.state else {
            // What is no member, or stops already, has nothing to leave.
            if matches!(task.state, State::Joining | State::WithoutLog(..)) {
                task.state = State::Over;
            }
            return;
        };
        let Some(node) = self.nodes.get(&id).filter(|node| node.is_up()) else {
            return;
        };
        let Some(leasing) = &node.leasing else {
            return;
        };
        let (clock, incarnation) = (leasing.clock(now), leasing.lease.incarnation());
        let Some(stopping) = Stopping::begin(clock, LEAVE_TIMEOUT_MS, true, false) else {
            return;
        };
        let leaver = Leaver {
            leaving: Leaving::new(NodeId(id), incarnation, clock),
            stopping,
            stage: Stage::Leaves,
            stops_by: None,
        };
        self.set(number, State::Leaving(id, Box::new(leaver)));
        self.look_again(number, 0);
    }

    /// A task that was stopped gives away what it has, and ends.
    fn leave_further(&mut self, number: u64, id: u64, mut leaver: Box<Leaver>) -> Checked {
        let now = self.queue.now();
        let Some(node) = self.nodes.get(&id).filter(|node| node.is_up()) else {
            return Ok(());
        };
        let (Some(leasing), Some(state)) = (&node.leasing, node.state.clone()) else {
            return Ok(());
        };
        let (clock, settled) = (leasing.clock(now), leasing.lease.settled());
        let is_over = leaver
            .stops_by
            .is_some_and(|by| now >= by || !node.role.is_leader);
        if is_over {
            self.stopped(number, id);
            return Ok(());
        }
        if leaver.stops_by.is_some() {
            self.set(number, State::Leaving(id, leaver));
            return Ok(());
        }
        let leads = Leads::from(node.role);
        let mut said = None;
        if leaver.stage == Stage::Leaves {
            let seen = Seen {
                state: &state,
                settled,
                leads,
            };
            match leaver.leaving.next(clock, &seen) {
                Next::CommitHere | Next::AskOthers => said = Some(leaver.leaving.command()),
                Next::Wait => {}
                Next::HandOver => self.hand_over(id, &state)?,
                Next::HasLeft => {
                    self.did(Deed::Left);
                    leaver.stage = Stage::HasLeft;
                }
                Next::GiveUp(_) => {
                    self.did(Deed::GaveUp);
                    leaver.stage = Stage::GaveUp;
                }
            }
        }
        match leaver.stopping.next(clock, leaver.stage) {
            StopNext::Wait(_) => {}
            StopNext::StopsSoon => self.stops_soon(id),
            StopNext::HasLeft | StopNext::GaveUp | StopNext::TimeIsUp => {
                leaver.stops_by = Some(now + HAND_OVER);
                self.hand_over(id, &state)?;
            }
        }
        self.set(number, State::Leaving(id, leaver));
        match said {
            Some(command) => self.tell_leader(id, &Said::Enter(command)),
            None => Ok(()),
        }
    }

    /// A leader that stops hands its leadership over.
    fn hand_over(&mut self, id: u64, state: &Topology) -> Checked {
        let driver = self.nodes.get(&id).and_then(|node| node.driver.as_ref());
        let standing = driver.map(|driver| driver.standing().leading());
        match standing.and_then(|standing| heir(NodeId(id), state, &standing)) {
            Some(heir) => self.transfer(id, heir).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The process of a task that was stopped ends. The task comes back if its service restarts it.
    fn stopped(&mut self, number: u64, id: u64) {
        self.end_task(id);
        let Rollout {
            leaves_on_term,
            down,
            ..
        } = *self.rollout();
        if leaves_on_term {
            return;
        }
        self.did(Deed::Restarted);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.is_gone = false;
        }
        self.set(number, State::Member(id));
        if let Some(task) = self.rollout().tasks.get_mut(&number) {
            task.has_been_up = false;
        }
        self.queue.push(down, Happening::Restart(id));
    }

    /// The process of a member ends, and never comes back.
    pub(super) fn end_task(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.stop();
            node.is_gone = true;
            self.checks.requests.ended(id);
        }
    }

    /// A task's machine is gone.
    pub(super) fn lose_task(&mut self, number: u64) {
        if let Some(node) = self.node_of(number) {
            self.end_task(node);
        }
        self.set(number, State::Over);
    }
}

/// Settings that no cluster of ours agrees with.
fn other_settings(own: &Joiner) -> Agreed {
    let mut settings = own.settings.clone();
    settings.partitions += 1;
    settings
}
