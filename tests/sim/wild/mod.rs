//! Wild runs: what may happen to a cluster once in years, besides all that happens in plain ones.
//!
//! A wild run has one kind of fault for certain, by its seed, so that what it breaks has a cause; and some of
//! those that must break nothing. `strangers` sends what nobody sent, `disks` hangs and damages them and puts
//! old copies back, `stops` ends processes, `versions` mixes executables, and `trial` makes one node's state
//! another. `witnesses` asks those who can be reached whether a log is an old copy. What may break is in `expected`.

mod disks;
mod stops;
mod strangers;
mod trial;
mod versions;
mod witnesses;

use std::collections::BTreeMap;

use gcache::membership::opening::Opening;
use gcache::raft::envelope::Envelope;

use crate::dice::Dice;
use crate::disk::Rows;
use crate::faults::Fault;
use crate::node::Refused;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::{Checked, Promise, Violation};
use crate::world::{Happening, World};

/// Between two strikes.
const PAUSE: std::ops::Range<Micros> = 300 * MILLISECOND..2_000 * MILLISECOND;

/// The kinds that must break nothing, beside others.
const HARMLESS: [Fault; 9] = [
    Fault::Stray,
    Fault::Replay,
    Fault::Hang,
    Fault::SecondProcess,
    Fault::NeverBack,
    Fault::Stop,
    Fault::Freeze,
    Fault::Diverge,
    Fault::Torn,
];

/// How often, in a thousand, one of them is in a run.
const SHARE: u32 = 150;

/// How long a run takes at least whose fault does: until a write is given up, or until the founder has company.
const LONG: Micros = 40 * SECOND;

/// What a wild run keeps.
pub(crate) struct Wild {
    /// The kinds of this run: the one that it has for certain is the last.
    kinds: Vec<Fault>,
    seed: u64,
    /// All nodes make a mistake: nothing may happen that breaks a promise without it.
    is_flawed: bool,
    /// Copies of directories, by node.
    copies: BTreeMap<u64, Rows>,
    /// Somebody has reported that a node's state is another.
    is_reported: bool,
}

/// What happens in a wild run only.
pub(crate) enum Step {
    /// Something breaks.
    Strike,
    /// A directory is copied.
    Copy,
    /// A message arrives that nobody sent just now.
    Deliver { to: u64, envelope: Envelope },
    /// The watchdog gives a node up, whose disk is well again at a later moment.
    GiveUp {
        node: u64,
        start: u64,
        well_at: Micros,
    },
    /// A process without a log looks whether it may stop.
    SeekRelief(u64),
    /// A process is asked to stop.
    Stop(u64),
    /// Machines that were suspended go on.
    Resumed,
}

impl Wild {
    /// What happens in the run of this seed.
    pub(crate) fn draw(seed: u64, is_flawed: bool, dice: &mut Dice) -> Self {
        let main = Fault::WILD[(seed % Fault::WILD.len() as u64) as usize];
        let mut kinds: Vec<_> = HARMLESS
            .into_iter()
            .filter(|kind| dice.chance(SHARE) && *kind != main)
            .collect();
        if main == Fault::Freeze && has_leases(seed) {
            // Nothing else, so that what breaks has one cause.
            kinds.clear();
        }
        let guarded = [Fault::OldVersion, Fault::Rollback];
        if !is_flawed || HARMLESS.contains(&main) || guarded.contains(&main) {
            kinds.push(main);
        }
        Self {
            kinds,
            seed,
            is_flawed,
            copies: BTreeMap::new(),
            is_reported: false,
        }
    }

    /// Whether members have leases and a leader. In some of the runs in which machines are suspended: a lease runs
    /// out meanwhile.
    pub(crate) fn has_leases(&self) -> bool {
        self.has(Fault::Freeze) && self.kinds.len() == 1 && has_leases(self.seed)
    }

    /// The kinds of this run.
    pub(crate) fn kinds(&self) -> &[Fault] {
        &self.kinds
    }

    /// Whether such a fault is in this run.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.kinds.contains(&fault)
    }

    /// How long the run takes at least.
    pub(crate) fn lasts(&self) -> Micros {
        match self.kinds.last() {
            Some(Fault::Stall | Fault::FounderCopy) => LONG,
            _ => 0,
        }
    }

    /// How many members found the cluster, where `members` would.
    pub(crate) fn founders(&self, members: u64) -> u64 {
        let is_alone = self.has(Fault::FounderCopy);
        if is_alone { 1 } else { members.max(3) }
    }
}

/// Whether the run of this seed has leases, if machines are suspended in it.
fn has_leases(seed: u64) -> bool {
    (seed / Fault::WILD.len() as u64).is_multiple_of(2)
}

impl World {
    /// Whether such a fault is in this run.
    pub(crate) fn is_wild(&self, fault: Fault) -> bool {
        self.wild.as_ref().is_some_and(|wild| wild.has(fault))
    }

    /// A wild run begins.
    pub(crate) fn run_wild(&mut self) {
        if self.wild.is_none() {
            return;
        }
        // Whoever is lost has to be replaced.
        for fault in [Fault::Join, Fault::Swap] {
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
        for first in [Step::Copy, Step::Strike] {
            let after = self.dice.within(PAUSE);
            self.queue.push(after, Happening::Wild(first));
        }
    }

    /// Something happens that does in a wild run only.
    pub(crate) fn happens(&mut self, step: Step) -> Checked {
        match step {
            Step::Strike => self.strike_wildly(),
            Step::Copy => {
                self.copy();
                Ok(())
            }
            Step::Deliver { to, envelope } => self.deliver(to, envelope),
            Step::GiveUp {
                node,
                start,
                well_at,
            } => {
                self.give_up(node, start, well_at);
                Ok(())
            }
            Step::Resumed if self.has_leases => self.check_leases(),
            Step::Resumed => Ok(()),
            Step::SeekRelief(node) => self.seek_relief(node),
            Step::Stop(node) => {
                self.terminate(node);
                Ok(())
            }
        }
    }

    fn strike_wildly(&mut self) -> Checked {
        if self.is_healed {
            return Ok(());
        }
        let after = self.dice.within(PAUSE);
        self.queue.push(after, Happening::Wild(Step::Strike));
        let kinds = self.wild.as_ref().map_or(&[][..], Wild::kinds);
        let Some(fault) = self.dice.pick(kinds) else {
            return Ok(());
        };
        let now = self.queue.now();
        self.trace.tell(now, format_args!("wild: {fault:?}"));
        self.trace.note(&[fault as u64]);
        match fault {
            Fault::Hang | Fault::Stall => self.hang(fault),
            Fault::Torn | Fault::Flip => self.damage(fault),
            Fault::StaleCopy | Fault::FounderCopy => self.put_back(fault),
            Fault::SecondProcess => self.wait_for_lock(),
            Fault::LostLock => return self.run_twice(),
            Fault::OldVersion => return self.upgrade(),
            Fault::Rollback => self.roll_back(),
            Fault::NeverBack => self.never_back(),
            Fault::MajorityLost => self.lose_majority(),
            Fault::Stop => self.terminate_some(),
            Fault::Freeze => self.freeze(),
            _ => {}
        }
        Ok(())
    }

    /// A node refuses to start on its disk.
    pub(crate) fn refused(&mut self, id: u64, refused: &Refused) -> Checked {
        let text = &refused.reason;
        if self.nodes.get(&id).is_some_and(|node| node.is_damaged) {
            self.set_aside(id);
            return Ok(());
        }
        let sets_aside = matches!(refused.opening, Opening::SetAside(_));
        if self.is_rolled_back(id) && !sets_aside {
            self.roll_forward(id);
            return Ok(());
        }
        let told = match sets_aside {
            true => format!("node {id} sets a log aside that nothing is wrong with: {text}"),
            false => format!("node {id} refuses its disk: {text}"),
        };
        Err(Violation::new(Promise::DriversLive, told))
    }

    /// A driver has ended although its disk has not failed.
    pub(crate) fn ended(&mut self, id: u64, told: &str) -> Checked {
        let is_stale = self.nodes.get(&id).is_some_and(|node| node.is_stale);
        if is_stale {
            // It has found out that its log is an old one.
            self.set_aside(id);
            return Ok(());
        }
        if self.is_rolled_back(id) && told.starts_with("entry ") {
            self.roll_forward(id);
            return Ok(());
        }
        let told = format!("node {id} ended: {told}");
        Err(Violation::new(Promise::DriversLive, told))
    }

    /// All is healed: what hangs is started anew, and everybody runs the newest executable.
    pub(crate) fn heal_wildly(&mut self) {
        if self.wild.is_none() {
            return;
        }
        self.end_twins();
        self.wake_all();
        if self.is_wild(Fault::Rollback) {
            let all = self.nodes.keys().copied();
            let old: Vec<u64> = all.filter(|id| self.is_rolled_back(*id)).collect();
            for id in old {
                self.roll_forward(id);
            }
        }
    }
}
