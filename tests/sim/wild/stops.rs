//! Processes that are stopped, suspended, or that never come back.

use super::Step;
use crate::faults::Fault;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::world::{Happening, World};

/// Between two nodes that are stopped together.
const GAP: std::ops::Range<Micros> = 0..5 * SECOND;

/// After how long a node is started that was stopped.
const STOPPED: std::ops::Range<Micros> = 100 * MILLISECOND..10 * SECOND;

/// How long a process is suspended.
const FROZEN: std::ops::Range<Micros> = 500 * MILLISECOND..15 * SECOND;

/// The same where members have leases: long enough that others take over, and short enough to see it end.
const FROZEN_WITH_LEASES: std::ops::Range<Micros> = 3_500 * MILLISECOND..7 * SECOND;

/// How often, in a thousand, all are suspended at once: they are on one machine.
const ALL_AT_ONCE: u32 = 300;

/// Longer than anything of a plain run keeps a node.
const HANGS: Micros = 5 * SECOND;

impl World {
    /// Any number of nodes are asked to stop, in any order and at any gap.
    pub(super) fn terminate_some(&mut self) {
        let mut all = self.up(|_| true);
        self.dice.shuffle(&mut all);
        let count = self.dice.within(0..all.len() as u64 + 1) as usize;
        let mut after = 0;
        for id in all.into_iter().take(count) {
            self.queue.push(after, Happening::Wild(Step::Stop(id)));
            after += self.dice.within(GAP);
        }
    }

    /// A process is asked to stop, and ends at once: what a node does before that, so that others take over, is
    /// the business of its member. Nothing that it wrote is lost.
    pub(super) fn terminate(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.is_up()) else {
            return;
        };
        if self.is_healed {
            return;
        }
        self.seen.add(Fault::Stop);
        node.disk.close();
        node.stop();
        self.checks.requests.ended(id);
        let after = self.dice.within(STOPPED);
        self.queue.push(after, Happening::Restart(id));
    }

    /// One process is suspended, or all of them.
    pub(super) fn freeze(&mut self) {
        let all = self.up(|_| true);
        let victims = match self.dice.chance(ALL_AT_ONCE) {
            true => all,
            false => self.dice.pick(&all).into_iter().collect(),
        };
        let now = self.queue.now();
        let frozen = match self.has_leases {
            true => FROZEN_WITH_LEASES,
            false => FROZEN,
        };
        let until = now + self.dice.within(frozen);
        // They go on, and have not heard yet what happened meanwhile.
        let resumed = Happening::Wild(Step::Resumed);
        self.queue.push(until - now, resumed);
        for id in victims {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.busy_until = node.busy_until.max(until);
                node.frozen_until = until;
                node.paused_until = node.paused_until.max(until);
                if let Some(leasing) = &mut node.leasing {
                    leasing.suspend(now, until);
                }
                self.seen.add(Fault::Freeze);
            }
        }
    }

    /// Whether a node is suspended.
    pub(crate) fn is_frozen(&self, id: u64) -> bool {
        let node = self.nodes.get(&id);
        node.is_some_and(|node| node.frozen_until > self.queue.now())
    }

    /// Whoever is suspended goes on, and whoever hangs is started anew.
    pub(super) fn wake_all(&mut self) {
        let now = self.queue.now();
        let hanging = self.up(|node| node.busy_until > now + HANGS);
        for id in hanging {
            self.died(id);
        }
        for node in self.nodes.values_mut() {
            if let Some((_, well_at)) = &mut node.failed {
                *well_at = now.min(*well_at);
            }
            node.frozen_until = 0;
            node.paused_until = now.min(node.paused_until);
            if let Some(leasing) = &mut node.leasing {
                leasing.resume(now);
            }
        }
    }

    /// A node never comes back. Only where the others can do without it.
    pub(super) fn never_back(&mut self) {
        if self.can_lose_a_voter() {
            let id = self.victim();
            self.lose(id);
            self.seen.add(Fault::NeverBack);
        }
    }

    /// Most voters never come back.
    pub(super) fn lose_majority(&mut self) {
        if !self.can_lose_a_voter() {
            return;
        }
        let quorum = self.checks.log.state().quorum();
        let mut voters: Vec<u64> = quorum.voters.iter().map(|id| id.0).collect();
        self.dice.shuffle(&mut voters);
        let majority = voters.len() / 2 + 1;
        for id in voters.into_iter().take(majority) {
            self.lose(id);
        }
        self.seen.add(Fault::MajorityLost);
    }

    fn lose(&mut self, id: u64) {
        self.died(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.is_gone = true;
        }
    }
}
