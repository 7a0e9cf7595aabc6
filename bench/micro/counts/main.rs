//! Instructions and allocations per operation of the hot paths, compared with what is kept in
//! `bench/results/counts.toml`: counts, which are the same on a busy machine, and not times.
//!
//! `just counts` compares, `just counts --bless` keeps what was counted. Each path runs in a process of its
//! own, and is counted once it is warm. valgrind's callgrind counts instructions, the allocator counts what it
//! is asked for. Elsewhere than on x86-64 Linux only allocations are compared.

#![expect(clippy::print_stdout, reason = "the counts are the result")]

mod beside;
mod engine;
mod kept;
#[path = "../loopback.rs"]
mod loopback;
mod measure;
mod paths;
#[path = "../requests.rs"]
mod requests;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;

use crate::kept::{Finding, Kept};
use crate::paths::PATHS;

/// As in the `gcache` executable, and counted.
#[global_allocator]
static ALLOCATOR: alloc_tracker::Allocator<mimalloc::MiMalloc> =
    alloc_tracker::Allocator::new(mimalloc::MiMalloc);

/// What is kept.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/results/counts.toml");

/// Count what the hot paths cost and compare it with what is kept
#[derive(Debug, Parser)]
struct Args {
    /// Paths to count [default: all]
    #[arg(value_name = "PATH")]
    only: Vec<String>,
    /// Keep what was counted
    #[arg(long)]
    bless: bool,
    /// Run a path, counted, and print what was allocated
    #[arg(long, hide = true, value_name = "PATH")]
    run: Option<String>,
    /// Ask a node on this port for keys, or be a node and ask a frontend
    #[arg(long, hide = true, num_args = 1..)]
    beside: Option<Vec<String>>,
    /// What cargo calls every benchmark with
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(run) = &args.run {
        measure::run(paths::find(run)?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(words) = &args.beside {
        beside::serve(words)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut counted = BTreeMap::new();
    let known = read()?;
    println!("{}", kept::HEADER);
    for path in wanted(&args.only)? {
        let count = measure::count(path)?;
        println!(
            "{}",
            kept::row(path.name, known.paths.get(path.name), &count)
        );
        counted.insert(path.name.to_owned(), count);
    }
    if args.bless {
        return bless(known, counted, args.only.is_empty());
    }
    let findings = kept::compare(&known, &counted, args.only.is_empty());
    Ok(report(&known, &findings))
}

fn wanted(only: &[String]) -> anyhow::Result<Vec<&'static paths::Path>> {
    if only.is_empty() {
        return Ok(PATHS.iter().collect());
    }
    only.iter().map(|name| paths::find(name)).collect()
}

/// What is kept; nothing before the first time.
fn read() -> anyhow::Result<Kept> {
    if !Path::new(KEPT).exists() {
        return Ok(Kept::default());
    }
    let text = std::fs::read_to_string(KEPT)?;
    Kept::read(&text).with_context(|| format!("{KEPT} is not what `--bless` writes"))
}

fn bless(
    mut kept: Kept,
    counted: BTreeMap<String, kept::Count>,
    is_all: bool,
) -> anyhow::Result<ExitCode> {
    ensure!(
        counted.values().all(|count| count.instructions.is_some()),
        "only what was counted in full is kept: valgrind on x86-64 Linux"
    );
    if is_all {
        kept.paths.clear();
    }
    kept.paths.extend(counted);
    kept.counted_with = measure::tools();
    std::fs::write(KEPT, kept.write())?;
    println!("kept in {KEPT}");
    Ok(ExitCode::SUCCESS)
}

/// Says what was found; a failure if anything costs more than it may.
fn report(kept: &Kept, findings: &[Finding]) -> ExitCode {
    for finding in findings {
        println!("{finding}");
    }
    if !findings.iter().any(Finding::is_failure) {
        return ExitCode::SUCCESS;
    }
    let now = measure::tools();
    if now != kept.counted_with {
        println!("kept with {}; this is {now}", kept.counted_with);
    }
    println!(
        "where instructions go: callgrind_annotate {}/PATH.callgrind.1; if they are worth it: just counts --bless",
        measure::PROFILES
    );
    ExitCode::FAILURE
}
