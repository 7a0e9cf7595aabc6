//! Disks that hang, that are damaged, and of which an old copy is put back; and who has their lock.

use gcache::ids::NodeId;
use gcache::membership::ending::{LOOK_EVERY_MS, Next, Outliving, is_relieved};
use gcache::raft::thread::STALL_MAX;

use super::Step;
use crate::check::disk::hard;
use crate::disk::{Damage, Trouble};
use crate::faults::Fault;
use crate::node::Node;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::{Checked, Promise, ensure};
use crate::world::{Happening, World};

/// A turn that takes longer is given up.
const GIVEN_UP_AFTER: Micros = STALL_MAX.as_micros() as Micros;

/// A write that takes this long hangs.
const HANGS: Micros = SECOND;

/// How long a write takes that returns before its node is given up.
const HANG: std::ops::Range<Micros> = HANGS..GIVEN_UP_AFTER - SECOND;

/// How long one takes that does not.
const STALL: std::ops::Range<Micros> = GIVEN_UP_AFTER + SECOND..4 * GIVEN_UP_AFTER;

/// How often, in a thousand, all disks hang at once: they are one file system.
const ALL_AT_ONCE: u32 = 300;

/// Between two copies of directories.
const COPY_EVERY: std::ops::Range<Micros> = SECOND / 2..4 * SECOND;

/// The number of a second process of a node, above the node's own.
const TWIN: u64 = 1_000;

impl World {
    /// The next write of one node, or of all, takes long.
    pub(super) fn hang(&mut self, fault: Fault) {
        let all = self.up(|_| true);
        let victims = match self.dice.chance(ALL_AT_ONCE) {
            true => all,
            false => self.dice.pick(&all).into_iter().collect(),
        };
        let takes = match fault {
            Fault::Hang => self.dice.within(HANG),
            _ => self.dice.within(STALL),
        };
        for id in victims {
            self.nodes[&id].disk.trouble(Trouble::Hangs(takes));
        }
    }

    /// The turn of a node has taken this long. Gives after how long it is given up: nothing that it wants done
    /// later is.
    pub(crate) fn given_up_after(&mut self, node: u64, start: u64, busy: Micros) -> Micros {
        if self.wild.is_none() || busy < HANGS {
            return Micros::MAX;
        }
        self.seen.add(Fault::Hang);
        if busy < GIVEN_UP_AFTER {
            return Micros::MAX;
        }
        let well_at = self.queue.now() + busy;
        let give_up = Happening::Wild(Step::GiveUp {
            node,
            start,
            well_at,
        });
        self.queue.push(GIVEN_UP_AFTER, give_up);
        GIVEN_UP_AFTER
    }

    /// The watchdog gives a node up: its process serves on without a log.
    pub(super) fn give_up(&mut self, id: u64, start: u64, well_at: Micros) {
        let outliving = Outliving::new(self.millis());
        let is_same = |node: &&mut Node| node.start == start && node.is_up();
        let Some(node) = self.nodes.get_mut(&id).filter(is_same) else {
            return;
        };
        node.disk.close();
        node.stop();
        node.failed = Some((outliving, well_at));
        self.seen.add(Fault::Stall);
        self.checks.requests.ended(id);
        self.look_later(id);
    }

    fn look_later(&mut self, id: u64) {
        let look = Happening::Wild(Step::SeekRelief(id));
        self.queue.push(LOOK_EVERY_MS * MILLISECOND, look);
    }

    /// A process without a log looks whether it may stop. Until then leaders take it down, as they do with
    /// whatever is silent.
    pub(super) fn seek_relief(&mut self, id: u64) -> Checked {
        let Some(node) = self.nodes.get(&id) else {
            return Ok(());
        };
        let Some((outliving, well_at)) = node.failed else {
            return Ok(());
        };
        let Some(known) = node.state.clone() else {
            return Ok(());
        };
        let others = self.nodes.values().filter(|node| node.is_up());
        let shown = others.filter_map(|node| node.state.as_deref());
        let is_relieved = is_relieved(&known, NodeId(id), shown);
        // One that stops is started again, and one that opens its log again has it as one that is started.
        let starts = match outliving.next(self.millis(), is_relieved) {
            Next::Stops => true,
            Next::Probes => self.queue.now() >= well_at,
            Next::Waits => false,
        };
        if starts {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.failed = None;
            }
            self.queue.push(0, Happening::Restart(id));
            return Ok(());
        }
        self.look_later(id);
        let leaders = self.up(|node| node.role.is_leader);
        let down = self.checks.log.state().plan_fail_over(NodeId(id));
        let (Some(leader), Some(down)) = (self.dice.pick(&leaders), down) else {
            return Ok(());
        };
        self.propose(leader, down.encode()).map(|_| ())
    }

    /// A node loses its power, and its disk is damaged. Only where the others can do without it.
    pub(super) fn damage(&mut self, fault: Fault) {
        if !self.can_lose_a_voter() {
            return;
        }
        let id = self.victim();
        self.died(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.is_damaged = true;
            node.damage = Some(match fault {
                Fault::Torn => Damage::Reported,
                _ => Damage::Flipped,
            });
        }
    }

    /// A node is about to start on its disk.
    pub(crate) fn before_start(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if let Some(damage) = node.damage.take() {
            self.seen.add(match damage {
                Damage::Reported => Fault::Torn,
                Damage::Flipped => Fault::Flip,
            });
            node.disk.damage(damage, &mut self.dice);
        }
    }

    /// A node has started on its disk.
    pub(crate) fn after_start(&mut self, id: u64) -> Checked {
        if self.wild.is_some() {
            self.network.reconnect(id);
        }
        let is_damaged = self.nodes.get(&id).is_some_and(|node| node.is_damaged);
        ensure(!is_damaged, Promise::DamageIsReported, || {
            format!("node {id} starts on a damaged disk")
        })?;
        match self.wild.is_some() && self.mistake.is_none() {
            true => self.ask_witnesses(id),
            false => Ok(()),
        }
    }

    /// A node's directory is set aside: it never returns under this id.
    pub(super) fn set_aside(&mut self, id: u64) {
        let now = self.queue.now();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.stop();
        node.disk.wipe();
        node.is_gone = true;
        self.checks.disks.forget(id);
        self.checks.log.lost.insert(id);
        self.checks.requests.ended(id);
        self.trace.tell(now, format_args!("node {id} is set aside"));
    }

    /// A directory is copied.
    pub(super) fn copy(&mut self) {
        if self.is_healed {
            return;
        }
        let after = self.dice.within(COPY_EVERY);
        self.queue.push(after, Happening::Wild(Step::Copy));
        let id = self.victim();
        let voters = self.checks.log.state().quorum().voters.len();
        let is_wanted = match () {
            () if self.is_wild(Fault::FounderCopy) => voters == 1,
            () => self.is_wild(Fault::StaleCopy) && voters > 1,
        };
        let Some(node) = self.nodes.get(&id).filter(|_| is_wanted) else {
            return;
        };
        let rows = node.disk.synced(Clone::clone);
        if let Some(wild) = &mut self.wild {
            wild.copies.insert(id, rows);
        }
    }

    /// An old copy of a node's directory is put back. Only where the others can do without the node.
    pub(super) fn put_back(&mut self, fault: Fault) {
        let copies = self.wild.iter().flat_map(|wild| wild.copies.keys());
        let ids: Vec<u64> = copies.copied().collect();
        let Some(id) = self.dice.pick(&ids).filter(|_| self.can_lose_a_voter()) else {
            return;
        };
        let (Some(wild), Some(node)) = (&mut self.wild, self.nodes.get(&id)) else {
            return;
        };
        if node.is_gone || !node.is_up() {
            return;
        }
        let Some(copy) = wild.copies.remove(&id) else {
            return;
        };
        if node.disk.synced(hard) == hard(&copy) {
            return;
        }
        self.died(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.disk.put_back(copy);
            node.is_stale = true;
            node.incarnation = 0;
            self.checks.disks.forget(id);
            self.seen.add(fault);
        }
    }

    /// A second process waits for the lock of a directory.
    pub(super) fn wait_for_lock(&mut self) {
        let id = self.victim();
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.is_up()) {
            node.has_heir = true;
        }
    }

    /// Whether a second process takes a node's directory over as soon as the first one ends.
    pub(crate) fn is_inherited(&mut self, id: u64) -> bool {
        let node = self.nodes.get_mut(&id);
        let has_heir = node.is_some_and(|node| std::mem::take(&mut node.has_heir));
        if has_heir {
            self.seen.add(Fault::SecondProcess);
        }
        has_heir
    }

    /// A second process starts on a directory, whose lock was lost.
    pub(super) fn run_twice(&mut self) -> Checked {
        let id = self.victim();
        let is_twin = self.nodes.keys().any(|id| *id > TWIN);
        let Some(node) = self.nodes.get(&id).filter(|_| !is_twin) else {
            return Ok(());
        };
        let disk = node.disk.clone();
        let mut twin = Node::new(id + TWIN, &mut self.dice);
        twin.disk = disk;
        twin.is_second = true;
        self.seen.add(Fault::LostLock);
        self.add(twin)
    }

    /// The process that a message for `id` reaches.
    pub(crate) fn reached(&mut self, id: u64) -> u64 {
        let has_twin = |node: &Node| node.is_up();
        let twin = id + TWIN;
        let is_there = self.wild.is_some() && self.nodes.get(&twin).is_some_and(has_twin);
        if is_there && self.dice.chance(500) {
            twin
        } else {
            id
        }
    }

    /// Second processes end.
    pub(super) fn end_twins(&mut self) {
        for (_, twin) in self.nodes.range_mut(TWIN..) {
            twin.stop();
            twin.is_gone = true;
            self.checks.requests.ended(twin.id);
        }
    }
}
