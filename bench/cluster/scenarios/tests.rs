//! The pure parts of the harness, for their tests: `cargo nextest run -E 'binary(scenarios)'`. What carries
//! a scenario out needs a cluster and is in `main`.
//!
//! Tests are in files of their own: a bench without harness is compiled for tests and has none.
#![expect(dead_code, reason = "main uses all of it")]

mod chart;
mod counters;
mod goals;
#[path = "../../../testkit/metrics.rs"]
mod metrics;
mod outcome;
mod plan;
mod report;
mod scenario;
mod verdict;
mod windows;

#[path = "tests/chart.rs"]
mod chart_tests;
#[path = "tests/counters.rs"]
mod counters_tests;
#[path = "tests/goals.rs"]
mod goals_tests;
#[path = "tests/scenario.rs"]
mod scenario_tests;
#[path = "tests/verdict.rs"]
mod verdict_tests;
#[path = "tests/windows.rs"]
mod windows_tests;
