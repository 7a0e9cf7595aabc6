//! What a service does to its tasks: it starts new ones, asks whether they are ready, and stops old ones.

use std::collections::BTreeMap;

use gcache::topology::commands::Command;

use super::task::{State, Task};
use super::{LOOK_EVERY, Rollout};
use crate::dice::Dice;
use crate::disk::Trouble;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::Checked;
use crate::world::World;

/// When something happens to the service first: everybody has a lease by then.
const FIRST: Micros = 6 * SECOND;

/// How many tasks a service has.
const FOUNDERS: std::ops::Range<u64> = 3..8;

/// The longest gap between two tasks that are stopped.
const GAP_MAX: Micros = 5 * SECOND;

/// How often, in a thousand, the ring is paused meanwhile, and for how long.
const PAUSED: u32 = 150;
const RESUMED_AFTER: Micros = 20 * SECOND;

/// How long a task that is restarted is down.
const DOWN: std::ops::Range<Micros> = SECOND / 5..8 * SECOND;

/// How long a service waits for tasks that are refused.
const REFUSED_FOR: Micros = 30 * SECOND;

/// How long the disks of failed logs stay broken.
const DISK_BROKEN: Micros = 20 * SECOND;

/// What happens to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// Some tasks are stopped and not replaced.
    ScaleIn,
    /// As many new tasks are started as there are; when these are ready, the old ones are stopped.
    Deploy,
    /// The same with new tasks that the cluster refuses.
    RefusedDeploy,
    /// Tasks are stopped one by one, each with a new one in its place, as when Spot capacity is reclaimed.
    Reclaim,
    /// A task dies and never comes back. A new one takes its place.
    Loss,
    /// Tasks are stopped and started again, each on its directory and under its name.
    Restart,
    /// The log of one task fails.
    LogFails,
    /// The logs of all tasks fail: they are on one file system.
    LogsFail,
}

impl Operation {
    pub(super) const ALL: [Self; 8] = [
        Self::ScaleIn,
        Self::Deploy,
        Self::RefusedDeploy,
        Self::Reclaim,
        Self::Loss,
        Self::Restart,
        Self::LogFails,
        Self::LogsFail,
    ];
}

/// One thing that the service does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Do {
    /// It starts a task of this number.
    Start(u64),
    /// It sends SIGTERM to a task.
    Stop(u64),
    /// The task's machine is gone.
    Lose(u64),
    /// The task's disk fails.
    FailDisk(u64),
    /// The task's disk is well again.
    CureDisk(u64),
    /// An operator pauses the ring, or resumes it.
    Pause(bool),
}

impl Rollout {
    /// What happens to a service, by `seed`.
    pub(crate) fn draw(seed: u64, dice: &mut Dice) -> Self {
        let members = dice.within(FOUNDERS);
        let operation = Operation::ALL[(seed % Operation::ALL.len() as u64) as usize];
        let mut all: Vec<u64> = (1..=members).collect();
        dice.shuffle(&mut all);
        let mut plan = Vec::new();
        let mut at = FIRST;
        match operation {
            Operation::ScaleIn | Operation::Restart => {
                let stopped = dice.within(1..members) as usize;
                for task in &all[..stopped] {
                    plan.push((at, Do::Stop(*task)));
                    at += dice.within(0..GAP_MAX);
                }
            }
            Operation::Deploy | Operation::RefusedDeploy => {
                for task in members + 1..=2 * members {
                    plan.push((at, Do::Start(task)));
                    at += dice.within(0..SECOND);
                }
            }
            Operation::Reclaim => {
                let gap = 2 * GAP_MAX;
                for (new, task) in (members + 1..).zip(&all[..dice.within(1..4) as usize]) {
                    plan.push((at, Do::Stop(*task)));
                    plan.push((at + dice.within(0..SECOND), Do::Start(new)));
                    at += dice.within(0..gap);
                }
            }
            Operation::Loss => {
                plan.push((at, Do::Lose(all[0])));
                plan.push((at + dice.within(0..GAP_MAX), Do::Start(members + 1)));
            }
            Operation::LogFails | Operation::LogsFail => {
                let count = match operation {
                    Operation::LogFails => 1,
                    _ => all.len(),
                };
                for task in &all[..count] {
                    let after = dice.within(0..SECOND);
                    plan.push((at + after, Do::FailDisk(*task)));
                    plan.push((at + DISK_BROKEN, Do::CureDisk(*task)));
                }
            }
        }
        if dice.chance(PAUSED) {
            plan.push((FIRST - SECOND, Do::Pause(true)));
            plan.push((FIRST + RESUMED_AFTER, Do::Pause(false)));
        }
        plan.sort_by_key(|(at, _)| *at);
        let tasks = (1..=members).map(|number| (number, Task::member(number)));
        Self {
            operation,
            founders: members,
            leaves_on_term: operation != Operation::Restart,
            down: dice.within(DOWN),
            plan: plan.into(),
            tasks: tasks.collect(),
            joining: BTreeMap::new(),
            deeds: BTreeMap::new(),
            old: match operation {
                Operation::Deploy | Operation::RefusedDeploy => all,
                _ => Vec::new(),
            },
        }
    }

    /// How many tasks there are at first.
    pub(crate) fn founders(&self) -> u64 {
        self.founders
    }

    /// Plans something for this moment.
    fn plan(&mut self, at: Micros, what: Do) {
        let place = self.plan.partition_point(|(other, _)| *other <= at);
        self.plan.insert(place, (at, what));
    }
}

impl World {
    /// All tasks look after themselves from now on.
    pub(super) fn begin_rollout(&mut self) {
        let tasks: Vec<u64> = self.rollout().tasks.keys().copied().collect();
        for task in tasks {
            self.look_again(task, LOOK_EVERY);
        }
    }

    pub(super) fn rollout(&mut self) -> &mut Rollout {
        self.rollout.as_mut().expect("only in a rollout")
    }

    /// Whether nothing more is to be done; or what is: a task joins that may, or leaves.
    pub(super) fn is_rolled_out(&self) -> Result<(), String> {
        let Some(rollout) = &self.rollout else {
            return Ok(());
        };
        // Tasks that are refused must never be ready: then the old ones stay.
        let is_refused = rollout.operation == Operation::RefusedDeploy;
        if !rollout.plan.is_empty() || rollout.old.is_empty() == is_refused {
            return Err("the service is not done".into());
        }
        if is_refused && self.queue.now() < FIRST + REFUSED_FOR {
            return Err("the service waits for tasks that are refused".into());
        }
        for (number, task) in &rollout.tasks {
            match task.state {
                State::Joining if !is_refused => {
                    return Err(format!("task {number} is no member yet"));
                }
                State::Leaving(..) => return Err(format!("task {number} has not stopped yet")),
                State::Joining | State::Member(_) | State::WithoutLog(..) | State::Over => {}
            }
        }
        Ok(())
    }

    /// A task whose process runs without a log.
    pub(super) fn without_log(&self) -> Option<u64> {
        let tasks = &self.rollout.as_ref()?.tasks;
        let mut without = tasks
            .iter()
            .filter(|(_, task)| matches!(task.state, State::WithoutLog(..)));
        without.next().map(|(number, _)| *number)
    }

    /// The service does what is due.
    pub(super) fn look_at_service(&mut self) -> Checked {
        let now = self.queue.now();
        while let Some((_, what)) = self.rollout().plan.pop_front_if(|(at, _)| *at <= now) {
            self.trace.tell(now, format_args!("service: {what:?}"));
            self.trace.note(&[what.number()]);
            match what {
                Do::Start(task) => {
                    self.rollout().tasks.insert(task, Task::new());
                    self.look_again(task, 0);
                }
                Do::Stop(task) => self.stop_task(task),
                Do::Lose(task) => self.lose_task(task),
                Do::FailDisk(task) => self.trouble(task, Trouble::Full),
                Do::CureDisk(task) => self.cure_disk(task),
                Do::Pause(is_paused) => self.pause_ring(is_paused)?,
            }
        }
        let rollout = self.rollout();
        if !rollout.plan.is_empty() || rollout.old.is_empty() {
            return Ok(());
        }
        let new: Vec<u64> = rollout.tasks.keys().copied().collect();
        let new = new
            .into_iter()
            .filter(|task| !self.rollout().old.contains(task));
        let new: Vec<u64> = new.collect();
        if new.into_iter().all(|task| self.is_ready(task)) {
            let mut at = now;
            for task in std::mem::take(&mut self.rollout().old) {
                self.rollout().plan(at, Do::Stop(task));
                at += self.dice.within(0..1_500 * MILLISECOND);
            }
        }
        Ok(())
    }

    /// Another task takes the place of one that has ended by itself.
    pub(super) fn replace_task(&mut self) {
        let at = self.queue.now() + SECOND;
        let rollout = self.rollout();
        let last = rollout
            .tasks
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default();
        let planned = rollout.plan.iter().filter_map(|(_, what)| match what {
            Do::Start(task) => Some(*task),
            _ => None,
        });
        let last = planned.max().unwrap_or_default().max(last);
        rollout.plan(at, Do::Start(last + 1));
    }

    /// An operator pauses the ring or resumes it, once there is a leader.
    fn pause_ring(&mut self, is_paused: bool) -> Checked {
        let leaders = self.up(|node| node.role.is_leader);
        match self.dice.pick(&leaders) {
            Some(leader) => {
                let command = Command::SetPaused(is_paused);
                self.propose(leader, command.encode()).map(|_| ())
            }
            None => {
                let again = self.queue.now() + SECOND;
                self.rollout().plan(again, Do::Pause(is_paused));
                Ok(())
            }
        }
    }

    fn trouble(&mut self, task: u64, trouble: Trouble) {
        if let Some(node) = self.node_of(task) {
            self.nodes[&node].disk.trouble(trouble);
        }
    }

    fn cure_disk(&mut self, task: u64) {
        let node = match self.rollout().tasks.get(&task).map(|task| &task.state) {
            Some(State::WithoutLog(without)) => Some(without.node),
            _ => self.node_of(task),
        };
        if let Some(node) = node {
            self.nodes[&node].disk.cure();
        }
    }
}

impl Do {
    fn number(self) -> u64 {
        match self {
            Self::Start(task)
            | Self::Stop(task)
            | Self::Lose(task)
            | Self::FailDisk(task)
            | Self::CureDisk(task) => task,
            Self::Pause(is_paused) => u64::from(is_paused),
        }
    }
}

impl World {
    /// A task looks after itself, if it still runs.
    pub(crate) fn task(&mut self, number: u64) -> Checked {
        let task = self.rollout().tasks.get(&number);
        let Some(after) = task.and_then(|task| task.state.looks_every()) else {
            return Ok(());
        };
        self.look_again(number, after);
        self.live_on(number)
    }
}
