//! What is measured how often, and how it is told: Markdown for people, JSON for programs.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::Serialize;

use crate::goals::{self, Goal};
use crate::process::find;
use crate::results::Results;
use crate::rounds::{Scale, median};
use crate::servers::cores;
use crate::{http, lookups, memory, misses, stampede};

/// All results of one run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) versions: Vec<(&'static str, String)>,
    pub(crate) scale: Scale,
    #[serde(flatten)]
    pub(crate) results: Results,
    pub(crate) goals: Vec<Goal>,
}

impl Report {
    /// An empty one of this machine.
    pub(crate) fn new(scale: Scale) -> Self {
        Self {
            date: said("date", &["-u", "+%F %H:%M UTC"]),
            machine: format!("{} cores, {}", cores(), said("uname", &["-srm"])),
            versions: vec![
                ("gcache", env!("CARGO_PKG_VERSION").to_owned()),
                ("nginx", said("nginx", &["-v"])),
                ("memcached", said("memcached", &["-V"])),
                ("redis", said("redis-server", &["--version"])),
                ("go", said("go", &["version"])),
                (
                    "groupcache",
                    said("dpkg-query", &["-W", "golang-github-golang-groupcache-dev"]),
                ),
            ],
            scale,
            results: Results::default(),
            goals: Vec::new(),
        }
    }

    /// Holds what was measured against the goals.
    pub(crate) fn judge(&mut self) {
        self.goals = goals::all(&self.results);
    }

    /// Writes `rivals.json` and `rivals.md`.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder).context("the folder of the results")?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(folder.join("rivals.json"), json)?;
        std::fs::write(folder.join("rivals.md"), self.markdown())?;
        Ok(())
    }

    /// As people read it.
    pub(crate) fn markdown(&self) -> String {
        let Scale {
            repeats, seconds, ..
        } = self.scale;
        let mut text = format!(
            "# Rivals\n\n{}, {}. Medians of {repeats} interleaved rounds of {seconds} s.\n\n",
            self.date, self.machine
        );
        let versions = self.versions.iter();
        let versions: Vec<_> = versions
            .map(|(name, said)| format!("- {name}: {said}"))
            .collect();
        text += &(versions.join("\n") + "\n\n");
        text += &self
            .results
            .http
            .iter()
            .flatten()
            .map(http_table)
            .collect::<String>();
        text += &self
            .results
            .lookups
            .iter()
            .map(|all| lookups_table(all))
            .collect::<String>();
        text += &self
            .results
            .misses
            .iter()
            .map(|all| misses_table(all))
            .collect::<String>();
        text += &self
            .results
            .memory
            .iter()
            .map(|all| memory_table(all))
            .collect::<String>();
        text += &self
            .results
            .stampede
            .iter()
            .map(|all| stampede_table(all))
            .collect::<String>();
        if !self.goals.is_empty() {
            let rows = self.goals.iter().map(|goal| {
                let met = if goal.is_met { "met" } else { "missed" };
                vec![goal.goal.to_owned(), goal.measured.clone(), met.to_owned()]
            });
            text += "## Goals\n\n";
            text += &table(&["goal", "measured", ""], rows);
        }
        text
    }
}

fn http_table(comparison: &http::Comparison) -> String {
    let rows = comparison.rivals.iter().map(|rival| {
        let cpu = rival.cpu_us_per_request.iter();
        let own = cpu.clone().filter(|(name, _)| *name != "wrk");
        let own: f64 = own.map(|(_, us)| us).sum();
        let strangers = rival.samples.iter().map(|sample| sample.strangers_cpu);
        let cpu: Vec<_> = cpu.map(|(name, us)| format!("{name} {us:.1}")).collect();
        vec![
            format!("{} ({})", rival.name, rival.setting),
            format!("{:.0}", rival.requests_per_second),
            format!("{:.0}", rival.p50_us),
            format!("{:.0}", rival.p99_us),
            format!("{:.2}", rival.gcache_over_it),
            rival.errors.to_string(),
            format!("{own:.1}"),
            cpu.join(", "),
            format!("{:.2}", median(strangers)),
        ]
    });
    let columns = [
        "rival",
        "requests/s",
        "p50 µs",
        "p99 µs",
        "gcache over it",
        "errors",
        "servers' CPU µs per request",
        "by process",
        "cores used by strangers",
    ];
    format!(
        "## HTTP GET hits: {} connections, wrk with {} threads\n\n{}\n",
        comparison.connections,
        comparison.wrk_threads,
        table(&columns, rows)
    )
}

fn lookups_table(comparisons: &[lookups::Comparison]) -> String {
    let rows = comparisons.iter().map(|at| {
        vec![
            format!("{} × 16", at.connections),
            format!("{:.0}", at.gcache.per_second),
            format!("{:.0}", at.redis.per_second),
            format!("{:.2}", at.gcache_over_redis),
            format!("{:.0}", at.gcache.per_server_core_second),
            format!("{:.0}", at.redis.per_server_core_second),
            format!("{:.2}", at.gcache_over_redis_per_core),
        ]
    });
    let columns = [
        "in flight",
        "gcache /s",
        "Redis /s",
        "ratio",
        "gcache per core",
        "Redis per core",
        "ratio",
    ];
    format!(
        "## Look-ups at a node, per second and per second of the server's processor time\n\n{}\n",
        table(&columns, rows)
    )
}

fn misses_table(all: &[misses::Measured]) -> String {
    let rows = all.iter().map(|it| {
        vec![
            it.name.to_owned(),
            format!("{:.0}", it.loads_per_second),
            format!("{:.1}", it.keys_per_statement),
            format!("{:.2}", it.over_single),
        ]
    });
    let columns = [
        "",
        "loads/s",
        "keys per statement",
        "over one statement per key",
    ];
    format!(
        "## Cold misses over PostgreSQL, Zipf 0.99 over a million accounts, 8 connections\n\n{}\n",
        table(&columns, rows)
    )
}

fn memory_table(all: &[memory::Measured]) -> String {
    let rows = all.iter().map(|it| {
        vec![
            it.name.to_owned(),
            format!("{:.1}", it.resident),
            format!("{:.1}", it.counted),
        ]
    });
    format!(
        "## Bytes per entry beyond key and value, a million entries of 16 B and 100 B\n\n{}\n",
        table(&["", "resident", "by its own count"], rows)
    )
}

fn stampede_table(all: &[stampede::Measured]) -> String {
    let three =
        |of: stampede::Latencies| format!("{:.0} / {:.0} / {:.0}", of.p50_ms, of.p99_ms, of.max_ms);
    let rows = all.iter().map(|it| {
        vec![
            it.name.to_owned(),
            it.loads.to_string(),
            three(it.cold),
            three(it.warm),
            format!("{:.1}", it.excess_ms),
        ]
    });
    let columns = [
        "",
        "loads",
        "cold: p50 / p99 / max ms",
        "warm",
        "p99 beyond load and warm, ms",
    ];
    format!(
        "## 10,000 callers of one cold key whose load takes {} ms\n\n{}\n",
        stampede::LOAD.as_millis(),
        table(&columns, rows)
    )
}

/// A table in Markdown.
pub(crate) fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!(
        "| {} |\n|{}\n",
        columns.join(" | "),
        "---|".repeat(columns.len())
    );
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

/// What a program says about itself, on one line.
fn said(program: &str, args: &[&str]) -> String {
    let output = find(program)
        .ok()
        .and_then(|path| Command::new(path).args(args).output().ok());
    let Some(output) = output else {
        return "not installed".to_owned();
    };
    // nginx tells its version on stderr.
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .trim()
        .replace(['\n', '\t'], " ")
}
