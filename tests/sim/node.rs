//! One node: its disk, its driver while it runs, and what waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use gcache::ids::{ClusterId, NodeId};
use gcache::membership::ending::Outliving;
use gcache::membership::opening::{Found, Opening, open};
use gcache::raft::driver::mistake::Mistake;
use gcache::raft::driver::{Driver, Settings};
use gcache::raft::event::{Effect, Event, Role};
use gcache::raft::log::OpenError;
use gcache::topology::commands::COMMAND_VERSION;
use gcache::topology::state::State;
use gcache::topology::state::codec::as_version;

use crate::dice::Dice;
use crate::disk::{Damage, Handle, SimDisk};
use crate::leases::Leasing;
use crate::queue::{MILLISECOND, Micros};

/// The cluster of every run.
pub(crate) const CLUSTER: ClusterId = ClusterId(0x51);

/// A tick of a clock that is right.
pub(crate) const TICK: Micros = 100 * MILLISECOND;

/// What may wait for a node that stands still. A message that comes then is lost.
const INBOX_MAX: usize = 512;

/// Ticks that a node makes up for after it stood still, as a loop does that counts missed ticks.
const BACKLOG_TICKS: usize = 5;

/// Entries after which a node takes a snapshot, and how many it keeps before it.
const SNAPSHOT_EVERY: u64 = 20;
const KEEP: u64 = 5;

/// Proposals, and reads, that a driver lets wait.
const PENDING_MAX: usize = 64;

/// A node.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) disk: SimDisk,
    /// None while it is down.
    pub(crate) driver: Option<Box<Driver<Handle>>>,
    /// How often it was started: what was planned for an earlier start does not happen.
    pub(crate) start: u64,
    /// What waits for the next turn.
    pub(crate) inbox: Vec<Event>,
    /// The state that it last said was applied.
    pub(crate) state: Option<Arc<State>>,
    /// Who it last said leads.
    pub(crate) role: Role,
    /// It handles nothing before this moment.
    pub(crate) busy_until: Micros,
    /// It stands still until then: no part of it does anything.
    pub(crate) paused_until: Micros,
    /// Its leases, in a run that has them.
    pub(crate) leasing: Option<Leasing>,
    /// A wake is planned.
    pub(crate) is_woken: bool,
    /// The length of its ticks.
    pub(crate) tick: Micros,
    /// It never starts again: its disk was wiped, or it was told to leave.
    pub(crate) is_gone: bool,
    /// Its committed entries before this index were compared.
    pub(crate) checked: u64,
    /// The applied index that was compared last.
    pub(crate) compared: u64,
    /// The start of its directory that was seen last.
    pub(crate) incarnation: u64,
    /// The newest version of a command that its executable knows.
    pub(crate) version: u32,
    /// Its process is suspended until then.
    pub(crate) frozen_until: Micros,
    /// What its disk suffers before the next start.
    pub(crate) damage: Option<Damage>,
    /// Its disk is not as it was written.
    pub(crate) is_damaged: bool,
    /// Its disk is an old copy.
    pub(crate) is_stale: bool,
    /// It is a second process, on a disk that is another's.
    pub(crate) is_second: bool,
    /// A second process waits for its disk.
    pub(crate) has_heir: bool,
    /// Its log has failed, and its process serves on without.
    pub(crate) failed: Option<(Outliving, Micros)>,
    /// Its state was made another than that of the others.
    pub(crate) is_diverged: bool,
}

/// Why a driver refuses its disk.
pub(crate) struct Refused {
    /// What its node does about it.
    pub(crate) opening: Opening<()>,
    /// What it says.
    pub(crate) reason: String,
}

/// An effect, and how long after the beginning of its turn it came out.
pub(crate) type Timed = (Micros, Effect);

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The driver goes on.
    Goes,
    /// The driver ended, since its disk failed or its node crashed.
    Ended,
    /// The driver ended for no reason from outside: what it said.
    Died(String),
}

impl Node {
    /// A node that has not started yet.
    pub(crate) fn new(id: u64, dice: &mut Dice) -> Self {
        // Within one in a hundred of a right clock.
        let tick = dice.within(TICK - TICK / 100..TICK + TICK / 100 + 1);
        Self {
            id,
            disk: SimDisk::default(),
            driver: None,
            start: 0,
            inbox: Vec::new(),
            state: None,
            role: Role::default(),
            busy_until: 0,
            paused_until: 0,
            leasing: None,
            is_woken: false,
            tick,
            is_gone: false,
            checked: 0,
            compared: 0,
            incarnation: 0,
            version: COMMAND_VERSION,
            frozen_until: 0,
            damage: None,
            is_damaged: false,
            is_stale: false,
            is_second: false,
            has_heir: false,
            failed: None,
            is_diverged: false,
        }
    }

    /// Makes its empty disk that of the first nodes of a cluster.
    pub(crate) fn found(&self, state: &State) {
        Driver::found(&mut self.disk.open(), CLUSTER, NodeId(self.id), state)
            .expect("an empty disk without trouble");
    }

    /// Makes its empty disk that of a joiner.
    pub(crate) fn join(&self) {
        Driver::<Handle>::join(&mut self.disk.open(), CLUSTER, NodeId(self.id))
            .expect("an empty disk without trouble");
    }

    /// Starts it on its disk.
    ///
    /// # Errors
    /// The driver refuses the disk.
    pub(crate) fn start(&mut self, seed: u64, mistake: Option<Mistake>) -> Result<(), Refused> {
        let settings = Settings {
            seed,
            snapshot_every: SNAPSHOT_EVERY,
            keep: KEEP,
            pending_max: PENDING_MAX,
            #[cfg(feature = "simulation")]
            mistake,
            log_bytes: 1 << 20,
        };
        let mut handle = match self.is_second {
            true => self.disk.open_unlocked(),
            false => self.disk.open(),
        };
        if mistake == Some(Mistake::SuffixNotTruncated) {
            handle = handle.keep_suffixes();
        }
        let opened = as_version(self.version, || {
            catch_unwind(AssertUnwindSafe(|| Driver::open(handle, settings)))
        });
        let driver = opened.map_err(Refused::panicked)?.map_err(Refused::of)?;
        self.start += 1;
        self.incarnation = driver.incarnation().0;
        self.state = Some(driver.state().clone());
        self.role = driver.role();
        self.checked = 0;
        self.compared = 0;
        self.is_woken = false;
        self.busy_until = 0;
        self.paused_until = 0;
        self.inbox.clear();
        self.driver = Some(Box::new(driver));
        Ok(())
    }

    /// It stops at once.
    pub(crate) fn stop(&mut self) {
        self.driver = None;
        self.inbox.clear();
        self.role = Role::default();
        self.start += 1;
    }

    /// Whether it runs.
    pub(crate) fn is_up(&self) -> bool {
        self.driver.is_some()
    }

    /// Whether it starts again whenever it is down, with all that it has promised.
    pub(crate) fn is_whole(&self) -> bool {
        !(self.is_gone || self.is_damaged || self.is_stale || self.failed.is_some())
    }

    /// Puts `event` before its next turn, or loses it where too much waits already.
    pub(crate) fn give(&mut self, event: Event) {
        let ticks = || self.inbox.iter().filter(|e| matches!(e, Event::Tick));
        let is_room = match event {
            Event::Tick => ticks().count() < BACKLOG_TICKS,
            Event::Receive(_) => self.inbox.len() < INBOX_MAX,
            _ => true,
        };
        if is_room {
            self.inbox.push(event);
        }
    }

    /// One turn on all that waits. `leaves` sees each effect before it leaves, when the disk is as it
    /// was at that moment.
    pub(crate) fn turn(&mut self, mut leaves: impl FnMut(&SimDisk, &Effect)) -> (Turn, Vec<Timed>) {
        let driver = self.driver.as_mut().expect("only a node that runs turns");
        let mut events = std::mem::take(&mut self.inbox).into_iter();
        let (disk, mut effects) = (&self.disk, Vec::new());
        disk.begin();
        let mut turn = || {
            driver.turn(&mut events, &mut |effect| {
                if disk.step() {
                    leaves(disk, &effect);
                    effects.push((disk.busy(), effect));
                }
            })
        };
        let result = as_version(self.version, || catch_unwind(AssertUnwindSafe(&mut turn)));
        let ended = match result {
            Ok(Ok(())) if disk.is_burnt() => Turn::Ended,
            Ok(Ok(())) => Turn::Goes,
            Ok(Err(_)) if disk.has_failed() => Turn::Ended,
            Ok(Err(fatal)) => Turn::Died(fatal.to_string()),
            Err(panic) => Turn::Died(told(panic)),
        };
        (ended, effects)
    }
}

impl Refused {
    fn of(error: OpenError) -> Self {
        Self {
            reason: error.to_string(),
            // Neither the name nor the place counts where there is no log that can be run.
            opening: open(Found::from(error), "", Path::new("")),
        }
    }

    fn panicked(panic: Box<dyn std::any::Any + Send>) -> Self {
        Self {
            opening: Opening::Refuse(String::new()),
            reason: told(panic),
        }
    }
}

/// What a panic says.
fn told(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    format!("panic: {}", text.unwrap_or_default())
}
