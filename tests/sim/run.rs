//! Runs: one seed, or many on all cores, and what is said of one that breaks a promise.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use gcache::raft::driver::mistake::Mistake;
use parking_lot::Mutex;

use crate::expected;
use crate::faults::{Fault, Seen};
use crate::lapses::Lapse;
use crate::leases;
use crate::rollout::{Deeds, Operation};
use crate::violation::{Checked, Violation};
use crate::wild::Wild;
use crate::world::{EVENTS_MIN, Happening, World};

/// The most events of a run before it is healed.
const EVENTS_MAX: u64 = 3_200;

/// What is wrong with all nodes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Their drivers make a mistake.
    #[cfg_attr(
        not(feature = "simulation"),
        expect(dead_code, reason = "nobody can ask for one")
    )]
    Driver(Mistake),
    /// They make one about leases.
    Lease(Lapse),
}

/// What may happen in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What happens every week somewhere: it breaks nothing.
    Plain,
    /// Besides, what happens once in years.
    Wild,
    /// A service starts, replaces and stops tasks, which never come back.
    Rollout,
}

impl Kind {
    /// Whether members have leases and a leader, by the seed of a run without a flaw.
    pub(crate) fn has_leases(self, seed: u64) -> bool {
        match self {
            Self::Plain => leases::has_leases(seed),
            Self::Wild => false,
            Self::Rollout => true,
        }
    }

    /// What happens first.
    pub(crate) fn first(self) -> Vec<Happening> {
        match self {
            Self::Plain | Self::Wild => vec![Happening::Ask, Happening::Churn, Happening::Fault],
            Self::Rollout => vec![Happening::Ask],
        }
    }
}

/// What one run showed.
pub(crate) struct Run {
    pub(crate) violation: Option<Violation>,
    /// What only a wild run has of kinds.
    pub(crate) wild: Vec<Fault>,
    /// What only a rollout does.
    pub(crate) operation: Option<Operation>,
    pub(crate) deeds: Deeds,
    pub(crate) events: u64,
    pub(crate) seen: Seen,
    pub(crate) hash: u64,
    lines: Vec<String>,
}

/// Runs `seed` as a run of this kind.
pub(crate) fn run_as(kind: Kind, seed: u64, flaw: Option<Flaw>) -> Run {
    watch(seed, kind, flaw, false)
}

fn watch(seed: u64, kind: Kind, flaw: Option<Flaw>, is_told: bool) -> Run {
    let mut world = match World::new(seed, kind, flaw, is_told) {
        Ok(world) => world,
        Err(violation) => {
            return Run {
                violation: Some(violation),
                wild: Vec::new(),
                operation: None,
                deeds: Deeds::new(),
                events: 0,
                seen: Seen::default(),
                hash: 0,
                lines: Vec::new(),
            };
        }
    };
    let violation = live(&mut world).err();
    let wild = world.wild.as_ref().map(|wild| wild.kinds().to_vec());
    Run {
        violation,
        wild: wild.unwrap_or_default(),
        operation: world.rollout.as_ref().map(|rollout| rollout.operation),
        deeds: world
            .rollout
            .as_ref()
            .map_or_else(Deeds::new, |rollout| rollout.deeds.clone()),
        events: world.events,
        seen: world.seen,
        hash: world.trace.hash(),
        lines: world.trace.lines(),
    }
}

/// The whole of a run.
fn live(world: &mut World) -> Checked {
    if world.rollout.is_some() {
        return world.roll_out();
    }
    let events = world.dice.within(EVENTS_MIN..EVENTS_MAX);
    let lasts = world.wild.as_ref().map_or(0, Wild::lasts);
    while world.events < events || world.queue.now() < lasts {
        world.step()?;
    }
    world.recover()?;
    world.try_divergence()
}

/// What many runs showed.
pub(crate) struct Batch {
    pub(crate) seen: Seen,
    pub(crate) events: u64,
    pub(crate) shortest: u64,
    /// The lowest seed that broke a promise.
    pub(crate) broken: Option<u64>,
    /// How many runs broke one as is expected of them.
    pub(crate) expected: u64,
    /// What tasks did in rollouts.
    pub(crate) deeds: Deeds,
}

/// Runs `count` seeds from `first` on, on all cores, until one breaks a promise.
pub(crate) fn run_many(first: u64, count: u64, flaw: Option<Flaw>) -> Batch {
    run_many_as(Kind::Plain, first, count, flaw)
}

/// Runs `count` seeds from `first` on as runs of this kind, on all cores, until one breaks a promise that is
/// not expected to be broken.
pub(crate) fn run_many_as(kind: Kind, first: u64, count: u64, flaw: Option<Flaw>) -> Batch {
    let next = AtomicU64::new(0);
    let batch = Mutex::new(Batch {
        seen: Seen::default(),
        events: 0,
        shortest: u64::MAX,
        broken: None,
        expected: 0,
        deeds: Deeds::new(),
    });
    let work = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count || batch.lock().broken.is_some() {
            return;
        }
        let seed = first.wrapping_add(number);
        let run = run_as(kind, seed, flaw);
        let mut batch = batch.lock();
        batch.seen.merge(&run.seen);
        batch.events += run.events;
        for (deed, times) in &run.deeds {
            *batch.deeds.entry(*deed).or_default() += times;
        }
        let is_expected = expected::accepts(&run);
        if flaw.is_none() && is_expected {
            batch.expected += 1;
        } else if run.violation.is_some() {
            batch.broken = Some(batch.broken.map_or(seed, |other| other.min(seed)));
        } else {
            batch.shortest = batch.shortest.min(run.events);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    batch.into_inner()
}

/// What there is to say of a seed that broke a promise: the promise, and the last lines of its history.
pub(crate) fn report(kind: Kind, seed: u64, flaw: Option<Flaw>) -> impl fmt::Display {
    let run = watch(seed, kind, flaw, true);
    let told = run.violation.map_or_else(
        || "a second run breaks nothing: the simulation is not deterministic".to_owned(),
        |violation| violation.to_string(),
    );
    format!(
        "{kind:?} seed {seed}, {:?} {:?}: {told}\nits last lines:\n{}\nagain: GCACHE_SIM_SEED={seed} GCACHE_SIM_SEEDS=1",
        run.wild,
        run.operation,
        run.lines.join("\n")
    )
}
