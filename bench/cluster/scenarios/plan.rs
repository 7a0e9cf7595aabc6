//! How long a run takes: its parts, and all of them together, as whoever starts it wants to know. Pure.

use std::time::Duration;

use super::scenario::{Demand, Scenario, Step};

/// How long the load runs before anything is counted: connections are opened, and the pace is another than
/// that of the warm-up.
pub(crate) const LEAD: Duration = Duration::from_secs(8);

/// How long it is measured before the change.
pub(crate) const BEFORE: Duration = Duration::from_secs(25);

/// Between the end of a step and the next: a window of 20,000 requests and more.
pub(crate) const BETWEEN: Duration = Duration::from_secs(8);

/// How long it is measured after the last step where it counts what caches hold: what was lost is loaded again
/// meanwhile.
const AFTER_LOADS: Duration = Duration::from_secs(60);

/// The same where only failures and latencies count.
const AFTER_OTHERS: Duration = Duration::from_secs(30);

/// What it takes, as measured on two cores, until one node has started and its cache is warm. More nodes have more to
/// fill and share the cores: three take 24 s, six 100 s.
const WARM_ONE: Duration = Duration::from_millis(2_700);

/// What a step takes until it has converged, as measured.
const STEP: Duration = Duration::from_secs(2);

/// The same where somebody is lost without a word.
const LOSS: Duration = Duration::from_secs(5);

/// How long a scenario is measured after its last step.
pub(crate) fn after(scenario: &Scenario) -> Duration {
    let is_of_loads = |demand: &Demand| match demand {
        Demand::HitDropPoints(_) | Demand::HitFloor(_) | Demand::OriginRatio(_) => true,
        Demand::FairMoves
        | Demand::ConvergedSeconds(_)
        | Demand::FailedShare(_)
        | Demand::NoFailureAfter(_)
        | Demand::TailRatio(_)
        | Demand::P99RatioAfter { .. } => false,
    };
    match scenario.demands.iter().any(is_of_loads) {
        true => AFTER_LOADS,
        false => AFTER_OTHERS,
    }
}

/// About how long a scenario takes.
pub(crate) fn estimate(scenario: &Scenario) -> Duration {
    let steps: Duration = scenario.steps.iter().map(|step| of(*step, scenario)).sum();
    let pauses = count(scenario.steps.len().saturating_sub(1));
    let warm = WARM_ONE * count(scenario.nodes * scenario.nodes);
    warm + LEAD + BEFORE + steps + BETWEEN * pauses + after(scenario)
}

fn of(step: Step, scenario: &Scenario) -> Duration {
    match step {
        Step::Join | Step::Leave => STEP,
        Step::KillLeader | Step::KillFollower | Step::KillZone => LOSS,
        Step::RestartAll => {
            let nodes = count(scenario.nodes);
            STEP * nodes + BETWEEN * nodes.saturating_sub(1)
        }
        Step::Freeze(seconds)
        | Step::CutZone(seconds)
        | Step::Mute(seconds)
        | Step::Deaf(seconds)
        | Step::FillDisk(seconds)
        | Step::Crowd { seconds, .. } => Duration::from_secs(seconds) + STEP,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What is about to be carried out, with which variants, and how long that takes.
pub(crate) fn told(runs: &[(&Scenario, &str)]) -> String {
    let all: Duration = runs.iter().map(|(scenario, _)| estimate(scenario)).sum();
    let names = runs
        .iter()
        .map(|(scenario, variant)| format!("{} {variant}", scenario.name));
    format!(
        "{} runs, about {} minutes: {}",
        runs.len(),
        all.as_secs().div_ceil(60),
        names.collect::<Vec<_>>().join(", ")
    )
}
