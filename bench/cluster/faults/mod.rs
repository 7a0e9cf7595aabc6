//! How fast a cluster forms, heals and tells: real processes that are started together and killed.
//!
//! `just bench-faults [--kills N] [--folder DIR]` prints Markdown. Everything is done as an operator and a
//! client would: the commands of `gcache`, HTTP on the frontends.

mod cluster;
mod crowd;
mod form;
mod kills;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many leaders are killed
    #[arg(long, default_value_t = 30)]
    kills: usize,
    /// How often three nodes are started together
    #[arg(long, default_value_t = 10)]
    starts: usize,
    /// Nodes and frontends of the crowd that is measured at rest
    #[arg(long, default_value_t = 12)]
    nodes: usize,
    #[arg(long, default_value_t = 50)]
    frontends: usize,
    /// Where the data directories are made
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Said by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Measures all of it, and prints it as it comes.
///
/// # Errors
/// Something of a cluster does not come about.
pub(crate) fn measure(args: Args) -> anyhow::Result<()> {
    let folder = args.folder.unwrap_or_else(std::env::temp_dir);
    let folder = || tempfile::tempdir_in(&folder).context("a folder for the data");
    print("# Forming, healing, telling\n\n");
    print(&format!(
        "`just bench-faults --kills {} --starts {}`\n\n",
        args.kills, args.starts
    ));
    print("| s | n | p50 | p95 | max | goal |\n|---|---|---|---|---|---|\n");
    if args.starts > 0 {
        print(&form::measure(args.starts, folder)?);
    }
    if args.kills > 0 {
        print(&kills::measure(args.kills, &folder()?)?);
    }
    if args.nodes > 0 {
        print(&crowd::measure(args.nodes, args.frontends, &folder()?)?);
    }
    Ok(())
}

/// A row of the table: seconds, sorted.
fn row(what: &str, took: &[Duration], goal: &str) -> String {
    let mut sorted = took.to_vec();
    sorted.sort();
    let at = |share: f64| {
        let last = sorted.len().saturating_sub(1);
        let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
        sorted
            .get(index.min(last))
            .map_or("-".into(), |took| format!("{:.2}", took.as_secs_f64()))
    };
    format!(
        "| {what} | {} | {} | {} | {} | {goal} |\n",
        sorted.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    )
}
