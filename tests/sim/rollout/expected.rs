//! What rollouts are known to break, by the letters of the review of the control plane. What is mended must leave
//! the list: each entry's seed is run, and has to fail as it says.

use super::service::Operation;
use super::{Deed, ROLLOUTS, SEEDS_PER_ROLLOUT};
use crate::run::{self, Kind, Run};
use crate::violation::Promise;

/// A failure that is known.
struct Expected {
    /// The letter of the finding.
    finding: char,
    operation: Operation,
    promise: Promise,
    /// A seed that shows it.
    seed: u64,
}

/// All of them.
const EXPECTED: [Expected; 1] = [
    // A process whose log failed waits for others to take over, also when all logs have failed.
    Expected {
        finding: 'C',
        operation: Operation::LogsFail,
        promise: Promise::ProcessesEnd,
        seed: 7,
    },
];

/// Whether a rollout broke a promise as it is known to: most voters were stopped for good, or lost their logs.
pub(crate) fn accepts(run: &Run) -> bool {
    let broken = run.violation.as_ref().map(|violation| violation.promise);
    EXPECTED.iter().any(|expected| {
        broken == Some(expected.promise)
            && run.operation == Some(expected.operation)
            && run.has_lost_voters
    })
}

#[test]
fn no_rollout_seed_breaks_a_promise_but_as_expected() {
    let first = crate::number("GCACHE_SIM_SEED", 0);
    let seeds = crate::number("GCACHE_SIM_SEEDS", ROLLOUTS * SEEDS_PER_ROLLOUT);
    let count = seeds.div_ceil(SEEDS_PER_ROLLOUT);
    let batch = run::run_many_as(Kind::Rollout, first, count, None);
    if let Some(seed) = batch.broken {
        panic!("{}", run::report(Kind::Rollout, seed, None));
    }
    println!(
        "{count} rollouts, {} events, {} broke what was expected, {:?}",
        batch.events, batch.expected, batch.deeds
    );
    let is_missing = |deed: &Deed| !batch.deeds.contains_key(deed);
    let missing: Vec<Deed> = Deed::ALL.into_iter().filter(is_missing).collect();
    assert!(
        count < ROLLOUTS || missing.is_empty(),
        "no run saw {missing:?}"
    );
}

#[test]
fn rollouts_that_are_expected_to_fail_still_fail() {
    for expected in &EXPECTED {
        let run = run::run_as(Kind::Rollout, expected.seed, None);
        let broken = run.violation.as_ref().map(|violation| violation.promise);
        let found = (run.operation, broken);
        let known = (Some(expected.operation), Some(expected.promise));
        assert_eq!(
            found, known,
            "{} by seed {}",
            expected.finding, expected.seed
        );
    }
}
