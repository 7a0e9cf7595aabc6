//! Clusters of real processes, on this machine: what their control plane costs, how fast they form and heal, and what
//! they go through while nodes join, leave and fail under load.
//!
//! `just bench-control`, `just bench-faults` and `just bench-moves` run its three parts. Each starts processes on a
//! block of loopback addresses that nobody else has, as `tests/it` does, with the same equipment.

mod control;
mod faults;
mod scenarios;
#[expect(dead_code, reason = "tests have more to do with it")]
#[path = "../../testkit/mod.rs"]
mod testkit;
mod watch;

use clap::Parser;

/// Measure clusters of real processes on this machine.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench cluster --")]
enum Part {
    /// The commits and the idle load of three nodes on this machine's disk (just bench-control)
    Control(control::Args),
    /// How fast a cluster forms, heals and tells, with processes that are killed (just bench-faults)
    Faults(faults::Args),
    /// What joins, departures and losses of nodes do to a cluster under load (just bench-moves)
    Moves(scenarios::Args),
}

fn main() -> anyhow::Result<()> {
    match Part::parse() {
        Part::Control(args) => control::measure(args),
        Part::Faults(args) => faults::measure(args),
        Part::Moves(args) => scenarios::measure(&args),
    }
}

#[expect(clippy::print_stdout, reason = "the result, as it comes")]
fn print(text: &str) {
    print!("{text}");
}
