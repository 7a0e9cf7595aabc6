//! Scenarios: a cluster of real processes under a steady load, to which something happens.
//!
//! `just bench-moves [NAME…]` carries them out one after the other and writes JSON, charts and Markdown into
//! bench/results/moves. What a scenario is stands in `scenario`, how it is carried out in `run`; bench/README.md
//! says what is measured.

mod chart;
mod cluster;
mod counters;
mod crowd;
mod goals;
mod load;
mod machine;
mod origin;
mod outcome;
mod plan;
mod relay;
mod report;
mod run;
mod sample;
mod scenario;
mod stage;
mod steps;
mod tell;
mod variant;
mod verdict;
mod windows;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gcache::shutdown::{Shutdown, Signals};

use self::outcome::Outcome;
use self::run::Options;
use self::scenario::{ALL, Scenario};
use self::variant::Variant;
use crate::testkit::metrics;

/// Where results usually go.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/results/moves");

/// How a scenario may be carried out, the usual way first.
const VARIANTS: [&str; 2] = ["warm", "cold"];

/// The page that has the table of their goals.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");

/// Which scenarios, and how they are carried out. Example: just bench-moves 3to4 4to3
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which; all if none is named
    #[arg(value_name = "NAME", value_parser = ALL.iter().map(|it| it.name).collect::<Vec<_>>())]
    names: Vec<String>,
    /// Requests per second
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// The cache of each node, in MiB; there are twice as many keys as fit
    #[arg(long, value_name = "MIB", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1024))]
    memory: u64,
    /// Where results go. Results in their usual place also go into docs/performance.md
    #[arg(long, value_name = "DIR", default_value = RESULTS)]
    out: PathBuf,
    /// Where data directories and logs are; they stay there if a scenario cannot be carried out
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Only this variant, where there are both
    #[arg(long, value_parser = VARIANTS)]
    only: Option<String>,
    /// Only tell again what is in the folder of the results
    #[arg(long)]
    tell: bool,
    /// Said by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Carries the scenarios out, keeps their outcomes and prints what all that are kept came to.
///
/// # Errors
/// Something does not come about within its bound, or somebody interrupts it.
pub(crate) fn measure(args: &Args) -> anyhow::Result<()> {
    gcache::net::raise_open_files();
    std::fs::create_dir_all(&args.out).context("the folder of the results")?;
    if !args.tell {
        carry_out(args)?;
    }
    let (text, scenarios) = tell(&args.out)?;
    crate::print(&text);
    if args.out == Path::new(RESULTS) {
        tell_page(&scenarios)?;
    }
    note(&format!("written to {}", args.out.display()));
    Ok(())
}

fn carry_out(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let shutdown = Shutdown::new();
    let interrupt = shutdown.clone();
    let mut signals = runtime.block_on(async { Signals::catch() })?;
    runtime.spawn(async move {
        let _name = signals.next().await;
        interrupt.begin();
    });
    let options = Options {
        rate: args.rate,
        memory_mib: args.memory,
    };
    let runs = wanted(args)?;
    let names = runs
        .iter()
        .map(|(scenario, variant)| (*scenario, variant.name));
    note(&plan::told(&names.collect::<Vec<_>>()));
    for (scenario, variant) in &runs {
        let outcome = in_folder(args, &shutdown, |folder| {
            let work = || run::carry_out(scenario, variant, &options, (folder, &shutdown));
            // It may leave for another network, and keep off cores: that is its thread's, and what it starts.
            let ended = std::thread::scope(|scope| scope.spawn(work).join());
            ended.unwrap_or_else(|_| bail!("it panicked, as told above"))
        });
        let outcome = outcome.with_context(|| format!("{}, {}", scenario.name, variant.name))?;
        save(&args.out, &outcome)?;
        forget_others(&args.out, scenario)?;
    }
    Ok(())
}

/// What is to be carried out, in this order: everything as it is by default, and then what it is compared with.
fn wanted(args: &Args) -> anyhow::Result<Vec<(&'static Scenario, Variant)>> {
    let is_wanted = |scenario: &&Scenario| {
        args.names.is_empty() || args.names.iter().any(|name| name == scenario.name)
    };
    let mut runs = Vec::new();
    for scenario in ALL.iter().filter(is_wanted) {
        let variants = variant::variants(scenario)?.into_iter().enumerate();
        runs.extend(variants.map(|(index, variant)| (index, scenario, variant)));
    }
    runs.retain(|(_, _, variant)| args.only.as_ref().is_none_or(|only| only == variant.name));
    runs.sort_by_key(|(index, _, _)| *index);
    let runs = runs.into_iter();
    Ok(runs
        .map(|(_, scenario, variant)| (scenario, variant))
        .collect())
}

/// Measures in a new folder, which stays if that fails, unless because somebody wanted it to end.
fn in_folder(
    args: &Args,
    shutdown: &Shutdown,
    measure: impl FnOnce(&Path) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let above = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new()
        .prefix("gcache-scenario.")
        .tempdir_in(above)
        .context("a folder for the data")?;
    let outcome = measure(folder.path());
    outcome.map_err(|error| {
        if shutdown.has_begun() {
            return error;
        }
        let kept = folder.keep();
        error.context(format!("its logs are in {}", kept.display()))
    })
}

fn save(out: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    let path = out.join(format!("{}.json", outcome.file()));
    let text = serde_json::to_string(outcome)? + "\n";
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes what is there of variants that a scenario has not any more: it would be told beside what is new.
fn forget_others(out: &Path, scenario: &Scenario) -> anyhow::Result<()> {
    let known: Vec<_> = variant::variants(scenario)?;
    for name in VARIANTS {
        let path = out.join(format!("{}.{name}.json", scenario.name));
        if known.iter().all(|variant| variant.name != name) && path.exists() {
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Makes charts and Markdown of all outcomes that are in a folder.
fn tell(out: &Path) -> anyhow::Result<(String, Vec<Vec<Outcome>>)> {
    let mut scenarios = Vec::new();
    for scenario in ALL {
        let files = VARIANTS.map(|variant| format!("{}.{variant}.json", scenario.name));
        let mut runs: Vec<Outcome> = Vec::new();
        for path in files
            .iter()
            .map(|file| out.join(file))
            .filter(|path| path.exists())
        {
            let text = std::fs::read_to_string(&path)?;
            let read = serde_json::from_str(&text);
            runs.push(read.with_context(|| format!("{} is of another version", path.display()))?);
        }
        if let Some(svg) = chart::draw(&runs.iter().collect::<Vec<_>>()) {
            std::fs::write(out.join(format!("{}.svg", scenario.name)), svg)?;
        }
        if !runs.is_empty() {
            scenarios.push(runs);
        }
    }
    let text = report::markdown(&scenarios);
    std::fs::write(out.join("moves.md"), &text)?;
    Ok((text, scenarios))
}

/// Makes the table of goals in docs/performance.md anew.
fn tell_page(scenarios: &[Vec<Outcome>]) -> anyhow::Result<()> {
    let page = std::fs::read_to_string(PAGE).context("docs/performance.md")?;
    let table = goals::table(scenarios, "../bench/results/moves/");
    let page = goals::insert(&page, &table)
        .context("docs/performance.md has no place for the table of goals")?;
    std::fs::write(PAGE, page).context("docs/performance.md")
}

#[expect(clippy::print_stderr, reason = "progress is for whoever watches")]
fn note(text: &str) {
    eprintln!("{text}");
}
