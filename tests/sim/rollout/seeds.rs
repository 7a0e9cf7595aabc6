//! Rollouts from their seeds: none breaks a promise.

use super::{Deed, ROLLOUTS, SEEDS_PER_ROLLOUT};
use crate::run::{self, Kind};

#[test]
fn no_rollout_seed_breaks_a_promise() {
    let first = crate::number("GCACHE_SIM_SEED", 0);
    let seeds = crate::number("GCACHE_SIM_SEEDS", ROLLOUTS * SEEDS_PER_ROLLOUT);
    let count = seeds.div_ceil(SEEDS_PER_ROLLOUT);
    let batch = run::run_many_as(Kind::Rollout, first, count, None);
    if let Some(seed) = batch.broken {
        panic!("{}", run::report(Kind::Rollout, seed, None));
    }
    println!(
        "{count} rollouts, {} events, {:?}",
        batch.events, batch.deeds
    );
    let is_missing = |deed: &Deed| !batch.deeds.contains_key(deed);
    let missing: Vec<Deed> = Deed::ALL.into_iter().filter(is_missing).collect();
    assert!(
        count < ROLLOUTS || missing.is_empty(),
        "no run saw {missing:?}"
    );
}
