//! The protocol of ownership, alone: who may answer and who may acknowledge while partitions move, members
//! die and freeze, and links carry in one direction only.
//!
//! The rules of ownership, the caches, feeds, leases and books are those of the product; the log is a list, since
//! Raft has a simulator of its own; messages, clocks and the origin are simulated. `world` is one history; `member`,
//! `call`, `reads` and `deletes` are a node; `stream`, `carry` and `peek` are what one node says to another; `copies` are
//! what standbys keep, `office` is the leader, `oracle` what must hold.
//! `slips` shows that each mistake which the protocol is there to prevent is found.
//!
//! `GCACHE_SIM_SEEDS` and `GCACHE_SIM_SEED` are as for the others.

mod call;
mod carry;
mod copies;
mod deletes;
mod faults;
mod member;
mod office;
mod oracle;
mod peek;
mod reads;
mod slips;
mod stream;
mod world;

use self::slips::Slip;
use self::world::{WARM_UP, World};
use crate::queue::{Micros, SECOND};

/// Histories of a batch, where nobody says how many.
const HISTORIES: u64 = 300;

/// How long a history is, once the first leader has led for a while.
const LENGTH: Micros = 6 * SECOND;

/// What was seen to happen, so that a batch in which nothing happens is no proof.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) reads: u64,
    pub(super) hits: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) resets: u64,
    pub(super) prepared: u64,
    pub(super) activated: u64,
    pub(super) aborted: u64,
    pub(super) failed_over: u64,
    pub(super) inherited: u64,
    pub(super) imported: u64,
    pub(super) forwarded: u64,
    pub(super) peeked: u64,
    pub(super) standby: u64,
    pub(super) last_resort: u64,
    pub(super) isolated: u64,
    pub(super) took_over: u64,
    pub(super) broken: u64,
    pub(super) elected: u64,
    pub(super) restarted: u64,
    pub(super) copied: u64,
    pub(super) copies: u64,
    pub(super) missing: u64,
    pub(super) dropped: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        let pairs = self.all_mut().into_iter().zip(other.all());
        pairs.for_each(|(sum, (_, more))| *sum += more);
    }

    fn all_mut(&mut self) -> [&mut u64; 24] {
        [
            &mut self.reads,
            &mut self.hits,
            &mut self.acknowledged,
            &mut self.refused,
            &mut self.resets,
            &mut self.prepared,
            &mut self.activated,
            &mut self.aborted,
            &mut self.failed_over,
            &mut self.inherited,
            &mut self.imported,
            &mut self.forwarded,
            &mut self.peeked,
            &mut self.standby,
            &mut self.last_resort,
            &mut self.isolated,
            &mut self.took_over,
            &mut self.broken,
            &mut self.elected,
            &mut self.restarted,
            &mut self.copied,
            &mut self.copies,
            &mut self.missing,
            &mut self.dropped,
        ]
    }

    fn all(&self) -> [(&'static str, u64); 24] {
        [
            ("reads", self.reads),
            ("hits", self.hits),
            ("acknowledged", self.acknowledged),
            ("refused", self.refused),
            ("resets", self.resets),
            ("prepared", self.prepared),
            ("activated", self.activated),
            ("aborted", self.aborted),
            ("failed_over", self.failed_over),
            ("inherited", self.inherited),
            ("imported", self.imported),
            ("forwarded", self.forwarded),
            ("peeked", self.peeked),
            ("standby", self.standby),
            ("last_resort", self.last_resort),
            ("isolated", self.isolated),
            ("took_over", self.took_over),
            ("broken", self.broken),
            ("elected", self.elected),
            ("restarted", self.restarted),
            ("copied", self.copied),
            ("copies", self.copies),
            ("missing", self.missing),
            ("dropped", self.dropped),
        ]
    }
}

/// One history. What was seen, or what was broken and how it came to that.
fn run(seed: u64, slip: Option<Slip>, is_told: bool) -> Result<Seen, String> {
    let mut world = World::new(seed, slip, is_told);
    while world.now() < WARM_UP + LENGTH {
        world.step();
        if let Some(broken) = world.broken() {
            return Err(format!("seed {seed}: {broken}"));
        }
    }
    Ok(world.seen)
}

#[test]
fn no_history_breaks_a_promise() {
    let first = crate::number("GCACHE_SIM_SEED", 0);
    let count = crate::number("GCACHE_SIM_SEEDS", HISTORIES);
    let mut seen = Seen::default();
    for seed in first..first + count {
        match run(seed, None, false) {
            Ok(more) => seen.add(&more),
            // Once more, with its story.
            Err(_) => panic!("{}", run(seed, None, true).unwrap_err()),
        }
    }
    println!("{count} histories, {seen:?}");
    if count >= HISTORIES {
        for (what, times) in seen.all() {
            assert!(times > 20, "{what} {times} times in {count} histories");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..3 {
        let (one, other) = (run(seed, None, false), run(seed, None, false));
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
    }
}
