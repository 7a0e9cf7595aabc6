//! How things break: one fault after the other, each for a while.

use crate::check::disk::hard;
use crate::disk::{SimDisk, Trouble};
use crate::faults::Fault;
use crate::network::Weather;
use crate::node::Node;
use crate::queue::{MILLISECOND, Micros};
use crate::world::{Happening, World};

/// How long something stays broken.
const BROKEN: std::ops::Range<Micros> = 200 * MILLISECOND..4_000 * MILLISECOND;

/// How long a node is down.
const DOWN: std::ops::Range<Micros> = 50 * MILLISECOND..3_000 * MILLISECOND;

/// How many times as long all that lasts in a run with leases, which are lost after seconds only.
const LONGER_WITH_LEASES: Micros = 2;

/// After a pause with leases, how much later than a node's other threads its driver may go on.
const THAW: std::ops::Range<Micros> = 0..50 * MILLISECOND;

/// The most writes and sends before a crash within a turn.
const FUSE_MAX: u64 = 12;

impl World {
    /// Something breaks, and the next thing is planned.
    pub(crate) fn injure(&mut self) {
        if self.is_healed {
            return;
        }
        let after = self.dice.within(100 * MILLISECOND..1_000 * MILLISECOND);
        self.queue.push(after, Happening::Fault);
        let Some(fault) = self.dice.pick(&self.faults) else {
            return;
        };
        let now = self.queue.now();
        self.trace.tell(now, format_args!("fault: {fault:?}"));
        self.trace.note(&[fault as u64]);
        match fault {
            Fault::Loss | Fault::Duplicate | Fault::Reorder | Fault::Late => self.storm(fault),
            Fault::Partition | Fault::OneWay | Fault::Bridge | Fault::Isolate => self.cut(fault),
            Fault::Wipe => self.wipe(),
            Fault::LostWrites | Fault::Join | Fault::Swap | Fault::Remove | Fault::Transfer => {}
            _ => self.strike(fault),
        }
    }

    /// Bad weather, on every link.
    fn storm(&mut self, fault: Fault) {
        let share = self.dice.within(20..300) as u32;
        let weather = &mut self.network.weather;
        match fault {
            Fault::Loss => weather.loss = share,
            Fault::Duplicate => weather.duplicates = share,
            Fault::Late => {
                weather.late = 2 * share;
                weather.late_to = None;
            }
            _ => weather.is_unordered = true,
        }
        if fault == Fault::Late && self.dice.chance(500) {
            self.answer_late();
        }
        let calm = self.dice.within(BROKEN);
        self.queue.push(calm, Happening::Calm);
    }

    /// What a leader is answered is late, and then it is alone: it hears that it leads when the others
    /// follow another.
    fn answer_late(&mut self) {
        let leaders = self.up(|node| node.role.is_leader);
        self.network.weather.late_to = self.dice.pick(&leaders);
        let soon = self.dice.within(200 * MILLISECOND..1_500 * MILLISECOND);
        self.queue.push(soon, Happening::IsolateLeader);
    }

    /// Links are cut.
    fn cut(&mut self, fault: Fault) {
        let mut all: Vec<u64> = self.nodes.keys().copied().collect();
        if all.len() < 3 {
            return;
        }
        self.dice.shuffle(&mut all);
        match fault {
            Fault::Partition => {
                let (one, other) = all.split_at(all.len() / 2);
                self.network.split(one, other);
            }
            Fault::Bridge => {
                let (one, other) = all[1..].split_at(all.len() / 2);
                self.network.split(one, other);
            }
            _ => {
                let (victim, is_deaf) = (self.victim(), self.dice.chance(500));
                let is_alone = fault == Fault::Isolate;
                self.cut_off(victim, is_alone || is_deaf, is_alone || !is_deaf);
            }
        }
        self.seen.add(fault);
        let mended = self.a_while(BROKEN);
        self.queue.push(mended, Happening::Mend);
    }

    /// A leader is alone for longer than others wait for it.
    pub(crate) fn isolate_leader(&mut self) {
        let leaders = self.up(|node| node.role.is_leader);
        if let Some(leader) = self.dice.pick(&leaders).filter(|_| !self.is_healed) {
            self.seen.add(Fault::Isolate);
            self.cut_off(leader, true, true);
            self.queue.push(BROKEN.end, Happening::Mend);
        }
    }

    /// Cuts the links to a node and from it.
    fn cut_off(&mut self, victim: u64, is_deaf: bool, is_mute: bool) {
        let all: Vec<u64> = self.nodes.keys().copied().collect();
        for other in all.into_iter().filter(|other| *other != victim) {
            if is_deaf {
                self.network.cut(other, victim);
            }
            if is_mute {
                self.network.cut(victim, other);
            }
        }
    }

    /// How long something lasts.
    fn a_while(&mut self, range: std::ops::Range<Micros>) -> Micros {
        let drawn = self.dice.within(range);
        match self.has_leases {
            true => drawn * LONGER_WITH_LEASES,
            false => drawn,
        }
    }

    /// The node that something happens to: a leader as often as not.
    pub(crate) fn victim(&mut self) -> u64 {
        let leaders = self.up(|node| node.role.is_leader);
        let all = self.up(|_| true);
        let is_leader = self.dice.chance(500);
        let leader = self.dice.pick(&leaders).filter(|_| is_leader);
        leader.or_else(|| self.dice.pick(&all)).unwrap_or_default()
    }

    /// Something happens to one node.
    fn strike(&mut self, fault: Fault) {
        let (id, now) = (self.victim(), self.queue.now());
        let broken = self.a_while(BROKEN);
        let thaw = match fault {
            Fault::Pause if self.has_leases => self.dice.within(THAW),
            _ => 0,
        };
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let (start, dice) = (node.start, &mut self.dice);
        match fault {
            Fault::Crash => {
                self.seen.add(fault);
                return self.died(id);
            }
            Fault::CrashInTurn => return node.disk.light(dice.within(1..FUSE_MAX) as u32),
            Fault::SyncFails => return node.disk.trouble(Trouble::SyncFails),
            Fault::Full => return node.disk.trouble(Trouble::Full),
            Fault::Pause => {
                node.busy_until = now + broken + thaw;
                node.paused_until = now + broken;
            }
            Fault::SlowDisk => {
                let takes = dice.within(MILLISECOND..600 * MILLISECOND);
                node.disk.trouble(Trouble::Slow(takes));
            }
            _ => node.tick = dice.within(40 * MILLISECOND..250 * MILLISECOND),
        }
        self.seen.add(fault);
        self.queue.push(broken, Happening::Cure { node: id, start });
    }

    /// A node's disk and clock are well again.
    pub(crate) fn cure(&mut self, id: u64, start: u64) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.start == start) {
            node.cure();
        }
    }

    /// A node has lost its power, or its disk failed. It starts again after a while.
    pub(crate) fn died(&mut self, id: u64) {
        if self.log_failed(id) {
            return;
        }
        let (now, dice) = (self.queue.now(), &mut self.dice);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let why = match node.disk.failure() {
            _ if node.disk.is_burnt() => Some(Fault::CrashInTurn),
            _ if !node.disk.has_failed() => None,
            Trouble::SyncFails => Some(Fault::SyncFails),
            Trouble::Full => Some(Fault::Full),
            _ => None,
        };
        if let Some(why) = why {
            self.seen.add(why);
        }
        let lost = node.disk.crash(dice);
        if lost > 0 {
            self.seen.add(Fault::LostWrites);
        }
        node.stop();
        self.checks.requests.ended(id);
        self.trace.note(&[id, lost as u64]);
        self.trace.tell(
            now,
            format_args!("node {id} is down: {why:?}, {lost} writes lost"),
        );
        let down = self.a_while(DOWN);
        let down = if self.is_inherited(id) { 0 } else { down };
        self.queue.push(down, Happening::Restart(id));
    }

    /// A node's disk comes back empty, so the node never does. Only where the others can do without it.
    fn wipe(&mut self) {
        let is_other_lost = self.nodes.values().any(|node| node.is_gone);
        if is_other_lost || !self.can_lose_a_voter() {
            return;
        }
        let id = self.victim();
        self.died(id);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.disk.wipe();
            node.is_gone = true;
            self.checks.log.lost.insert(id);
            self.seen.add(Fault::Wipe);
        }
    }

    /// Whether all can do without one of the voters for good.
    pub(crate) fn can_lose_a_voter(&self) -> bool {
        let quorum = self.checks.log.state().quorum();
        let is_well = |id: &gcache::ids::NodeId| {
            let node = self.nodes.get(&id.0);
            node.is_some_and(|node| node.is_whole())
        };
        quorum.voters.len() >= 3
            && quorum.voters.iter().all(is_well)
            && self.is_settled()
            && self.churn.is_quiet()
    }

    /// Whether no voter would come back to an earlier quorum. One that does may need those who left it.
    fn is_settled(&self) -> bool {
        let log = &self.checks.log;
        let quorum = log.state().quorum();
        let mut voters = quorum.voters.iter().filter_map(|id| self.disks.get(&id.0));
        let knows = |disk: &SimDisk| disk.synced(hard).commit >= log.changed();
        !quorum.is_joint() && voters.all(knows)
    }

    /// Everything is well again, and stays so.
    pub(crate) fn heal(&mut self) {
        self.is_healed = true;
        self.network.mend();
        self.network.weather = Weather::default();
        let now = self.queue.now();
        self.trace.tell(now, format_args!("all is healed"));
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        let is_settled = self.is_settled();
        for id in ids {
            let is_member = self
                .checks
                .log
                .state()
                .quorum()
                .contains(gcache::ids::NodeId(id));
            let is_leaving = !is_member && is_settled && self.dice.chance(500);
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            node.cure();
            if is_leaving && node.is_up() {
                node.stop();
                node.is_gone = true;
                self.checks.requests.ended(id);
            } else if !node.is_up() {
                self.queue.push(0, Happening::Restart(id));
            }
        }
        self.heal_wildly();
    }
}

impl Node {
    /// Its disk and its clock are well again.
    fn cure(&mut self) {
        self.disk.cure();
        self.tick = crate::node::TICK;
    }
}
