//! All outcomes, told as Markdown. Pure.

use std::fmt::Write;

use super::outcome::Outcome;
use super::windows::Sums;

/// Tells scenarios, each with its runs side by side.
pub(crate) fn markdown(scenarios: &[Vec<Outcome>]) -> String {
    let mut text = "# What moves and losses of nodes do to the load\n\n\
        `just bench-moves [NAME…]`; what is measured and how is in bench/README.md. Real processes of the release profile on loopback, \
        open-loop load, PostgreSQL at a distance. `warm`: entries go with their partitions; `cold`: they do not. Windows have \
        20,000 requests at least.\n\n"
        .to_owned();
    text += "| scenario | run | goals met | hit ratio before → worst second → in the end | origin queries/s before → at most | p99.9 before → during | failed |\n\
             |---|---|---|---|---|---|---|\n";
    for outcome in scenarios.iter().flatten() {
        text += &overview(outcome);
    }
    for runs in scenarios {
        text += &section(runs);
    }
    text
}

fn overview(outcome: &Outcome) -> String {
    let met = outcome.goals.iter().filter(|goal| goal.is_met).count();
    let since = |values: &[f64]| -> Vec<f64> {
        let times = outcome.series.at.iter().zip(values);
        times
            .filter(|(at, _)| **at > -1.0)
            .map(|(_, value)| *value)
            .collect()
    };
    let least = since(&outcome.series.hit_percent)
        .into_iter()
        .fold(100.0, f64::min);
    let most = since(&outcome.series.origin_calls)
        .into_iter()
        .fold(0.0, f64::max);
    format!(
        "| [{name}](#{name}) | {}, {} | {met} of {} | {:.1} → {least:.1} → {:.1} % | {:.0} → {most:.0} | {} → {} ms | {} |\n",
        outcome.variant,
        outcome.date,
        outcome.goals.len(),
        outcome.before.hit_ratio * 100.0,
        outcome.after.hit_ratio * 100.0,
        outcome.before.origin_calls_per_second,
        ms(outcome.before.p99_9_us),
        ms(outcome.during.p99_9_us),
        outcome.since.failed,
        name = outcome.scenario,
    )
}

fn section(runs: &[Outcome]) -> String {
    let Some(first) = runs.first() else {
        return String::new();
    };
    let mut text = format!("\n## {}\n\n{}.\n\n", first.scenario, first.what);
    let _written = writeln!(text, "![over time]({}.svg)\n", first.scenario);
    let titles: String = runs
        .iter()
        .map(|run| format!(" {} |", run.variant))
        .collect();
    let _written = writeln!(text, "| goal |{titles}\n|---|{}", "---|".repeat(runs.len()));
    for (index, goal) in first.goals.iter().enumerate() {
        let cells = runs.iter().map(|run| match run.goals.get(index) {
            Some(told) if told.goal == goal.goal => {
                let verdict = if told.is_met { "met" } else { "**missed**" };
                format!(" {verdict}: {} |", told.measured)
            }
            // The goal is newer than the run.
            _ => " - |".into(),
        });
        let _written = writeln!(text, "| {} |{}", goal.goal, cells.collect::<String>());
    }
    for run in runs {
        text += &details(run);
    }
    text
}

fn details(run: &Outcome) -> String {
    let setting = &run.setting;
    let mut text = format!(
        "\n{}, {}, {}. {} → {} nodes of {}, {} frontend(s); {} requests/s intended, {} over {} keys with values of {} B; {} entries \
         before the change, so that there are {:.2} × as many keys as are held. PostgreSQL is {} ms away, and a call takes {:.1} ms.\n\n",
        run.variant,
        run.date,
        run.machine,
        setting.nodes_before,
        setting.nodes_after,
        setting.memory,
        setting.frontends,
        setting.rate,
        setting.distribution,
        setting.keys,
        setting.value_bytes,
        setting.entries,
        setting.keys as f64 / (setting.entries as f64).max(1.0),
        setting.added_ms,
        setting.origin_call_ms,
    );
    text += "| | seconds | requests/s | hit ratio | origin queries/s | keys/s | p50, ms | p99 | p99.9 | failed | in the owner's place | sent late |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for (name, sums) in [
        ("before", &run.before),
        ("until 5 s after it converged", &run.during),
        ("in the end", &run.after),
    ] {
        text += &row(name, sums);
    }
    let steps: Vec<_> = run
        .steps
        .iter()
        .map(|step| {
            format!(
                "{} {:.2} s, {} partitions",
                step.what, step.seconds, step.moved
            )
        })
        .collect();
    let cores = run
        .cores
        .iter()
        .map(|(what, cores)| format!("{what} {cores:.2}"));
    let cores: Vec<_> = cores.collect();
    let _written = writeln!(
        text,
        "\nConverged: {}. Cores used: {}.",
        steps.join("; "),
        cores.join(", ")
    );
    text
}

fn row(name: &str, sums: &Sums) -> String {
    format!(
        "| {name} | {:.0} | {:.0} | {:.2} % | {:.0} | {:.0} | {} | {} | {} | {} | {} | {:.1} % |\n",
        sums.seconds,
        sums.requests as f64 / sums.seconds.max(1.0),
        sums.hit_ratio * 100.0,
        sums.origin_calls_per_second,
        sums.origin_keys_per_second,
        ms(sums.p50_us),
        ms(sums.p99_us),
        ms(sums.p99_9_us),
        sums.failed,
        sums.substituted,
        sums.late as f64 / (sums.requests as f64).max(1.0) * 100.0,
    )
}

fn ms(us: u64) -> String {
    format!("{:.2}", us as f64 / 1e3)
}
