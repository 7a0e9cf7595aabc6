//! A service of tasks, as ECS runs one: tasks are started, replaced and stopped by SIGTERM in any order and at
//! any gap, and none comes back under its name.
//!
//! How a task joins, announces itself, leaves and ends, and whether it is ready, is decided by the product's
//! `membership`; what a leader makes of it by the product's leader. `service` is what starts and stops tasks,
//! `task` the life of one, `outliving` that of one without a log, `seeds` the runs.

mod outliving;
mod seeds;
mod service;
mod task;

use std::collections::{BTreeMap, VecDeque};

use gcache::ids::NodeId;
use gcache::raft::event::RequestId;

use self::service::Do;
pub(crate) use self::service::Operation;
use self::task::Task;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::{Checked, Promise, Violation};
use crate::world::{Happening, World};

/// Rollouts of a batch, where nobody says how many.
const ROLLOUTS: u64 = 48;

/// Seeds for each rollout, where somebody says how many seeds: a rollout takes ten times as long as other runs.
const SEEDS_PER_ROLLOUT: u64 = 10;

/// The longest that a rollout takes until nothing more is to be done.
const OVER_WITHIN: Micros = 200 * SECOND;

/// How long the members have after that to settle who votes.
const SETTLES_WITHIN: Micros = 30 * SECOND;

/// How long after its log failed a process may still run, once its disk is well and others could take over.
const ENDS_WITHIN: Micros = 120 * SECOND;

/// How long a member may be known after its task has gone for good: silence alone counts after two minutes.
const FORGOTTEN_WITHIN: Micros = 160 * SECOND;

/// With fewer voters than this one that is gone keeps its vote, until a new task takes it.
const VOTERS: usize = 3;

/// Between two looks of the service.
const LOOK_EVERY: Micros = 500 * MILLISECOND;

/// A service and its tasks.
pub(crate) struct Rollout {
    pub(crate) operation: Operation,
    /// How many tasks there are at first.
    founders: u64,
    /// Whether a task that is stopped never comes back under its name.
    pub(crate) leaves_on_term: bool,
    /// What is still to be done, by time.
    plan: VecDeque<(Micros, Do)>,
    tasks: BTreeMap<u64, Task>,
    /// Joins under way: which task each is of.
    joining: BTreeMap<RequestId, u64>,
    /// How long each task that is restarted is down.
    down: Micros,
    pub(crate) deeds: Deeds,
    /// The tasks that a deployment is to stop once the new ones are ready.
    old: Vec<u64>,
}

/// What tasks do, so that a batch in which nothing happens is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    /// One was admitted.
    Joined,
    /// One was not.
    Refused,
    /// One left before it stopped.
    Left,
    /// One stopped without having left.
    GaveUp,
    /// One came back under its name.
    Restarted,
    /// One without a log ended, since others had taken over.
    Relieved,
    /// One without a log opened it again, since nobody had taken over.
    Reopened,
    /// One that is gone for good is no member any more.
    Forgotten,
}

impl Deed {
    const ALL: [Self; 8] = [
        Self::Joined,
        Self::Refused,
        Self::Left,
        Self::GaveUp,
        Self::Restarted,
        Self::Relieved,
        Self::Reopened,
        Self::Forgotten,
    ];
}

/// How often each was done.
pub(crate) type Deeds = BTreeMap<Deed, u64>;

impl World {
    /// A task has done this.
    fn did(&mut self, deed: Deed) {
        *self.rollout().deeds.entry(deed).or_default() += 1;
    }

    /// The whole of a rollout, until nothing more is to be done and the members have settled.
    pub(crate) fn roll_out(&mut self) -> Checked {
        self.begin_rollout();
        let until = self.queue.now() + OVER_WITHIN;
        while let Err(why) = self.is_rolled_out() {
            if self.queue.now() > until {
                return Err(Violation::new(Promise::Progress, why));
            }
            self.pass(LOOK_EVERY)?;
            self.look_at_service()?;
        }
        self.pass(SETTLES_WITHIN)?;
        self.processes_end()?;
        self.recover()?;
        self.gone_are_forgotten()
    }

    /// Whoever is gone for good is no member after a while, where enough others vote.
    fn gone_are_forgotten(&mut self) -> Checked {
        let until = self.queue.now() + FORGOTTEN_WITHIN;
        let gone = self.gone_members();
        if self.up(|_| true).len() < VOTERS {
            return Ok(());
        }
        for _ in &gone {
            self.did(Deed::Forgotten);
        }
        while let Some(id) = self.gone_members().first() {
            if self.queue.now() > until {
                let told = format!("node {id} is gone for good and a member for ever");
                return Err(Violation::new(Promise::Progress, told));
            }
            self.pass(SECOND)?;
        }
        Ok(())
    }

    /// Members whose tasks are gone for good.
    fn gone_members(&self) -> Vec<NodeId> {
        let members = self.checks.log.state().members().map(|member| member.id);
        let is_gone = |id: &NodeId| self.nodes.get(&id.0).is_some_and(|node| node.is_gone);
        members.filter(is_gone).collect()
    }

    /// A process without a log ends sooner or later.
    fn processes_end(&mut self) -> Checked {
        let until = self.queue.now() + ENDS_WITHIN;
        while let Some(task) = self.without_log() {
            if self.queue.now() > until {
                let told = format!("task {task} has no log and runs for ever");
                return Err(Violation::new(Promise::ProcessesEnd, told));
            }
            self.pass(SECOND)?;
        }
        Ok(())
    }

    /// A task looks after itself again after this long.
    fn look_again(&mut self, task: u64, after: Micros) {
        self.queue.push(after, Happening::Task(task));
    }
}
