//! A service of tasks, as ECS runs one: tasks are started, replaced and stopped by SIGTERM in any order and at
//! any gap, and none comes back under its name.
//!
//! How a task joins, announces itself, leaves and ends, and whether it is ready, is decided by the product's
//! `membership`; what a leader makes of it by the product's leader. `service` is what starts and stops tasks,
//! `task` the life of one, `expected` what is known to go wrong.

mod expected;
mod service;
mod task;

use std::collections::{BTreeMap, VecDeque};

use gcache::ids::NodeId;
use gcache::raft::event::RequestId;

pub(crate) use self::expected::accepts;
use self::service::Do;
pub(crate) use self::service::Operation;
use self::task::Task;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::{Checked, Promise, Violation};
use crate::world::{Happening, World};

/// Rollouts of a batch, where nobody says how many.
const ROLLOUTS: u64 = 70;

/// Rollouts in which every operation must have happened.
const ROLLOUTS_THAT_SEE_ALL: u64 = 50;

/// The longest that a rollout takes until nothing more is to be done.
const OVER_WITHIN: Micros = 200 * SECOND;

/// How long the members have after that to settle who votes.
const SETTLES_WITHIN: Micros = 30 * SECOND;

/// How long after its log failed a process may still run, once its disk is well and others could take over.
const ENDS_WITHIN: Micros = 120 * SECOND;

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
    /// The tasks that a deployment is to stop once the new ones are ready.
    old: Vec<u64>,
}

impl World {
    /// The whole of a rollout, until nothing more is to be done and the members have settled.
    pub(crate) fn roll_out(&mut self) -> Checked {
        self.begin_rollout();
        let until = self.queue.now() + OVER_WITHIN;
        while !self.is_rolled_out() && self.queue.now() < until {
            self.pass(LOOK_EVERY)?;
            self.look_at_service()?;
        }
        self.pass(SETTLES_WITHIN)?;
        self.processes_end()?;
        self.recover()
    }

    /// Whether most voters never come back.
    pub(crate) fn has_lost_voters(&self) -> bool {
        let is_there = |id: NodeId| self.nodes.get(&id.0).is_some_and(|node| !node.is_gone);
        !self.checks.log.state().quorum().is_quorum(is_there)
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
