//! gcache beside its rivals, all on this machine, under the same load, in turns. `just bench-rivals`
//! installs them and runs it; what is compared, and why that is fair, is in bench/README.md.
//!
//! Every rival is started here on loopback addresses of its own and ended with this process.

mod ceiling;
mod client;
mod fill;
mod goals;
mod http;
mod lookups;
mod memory;
mod misses;
mod node;
mod place;
mod process;
mod report;
mod results;
mod rounds;
mod servers;
mod stampede;
#[expect(dead_code, reason = "tests have more to do with it")]
#[path = "../../testkit/mod.rs"]
mod testkit;
mod workload;
mod wrk;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::place::Place;
use crate::process::find;
use crate::report::Report;
use crate::rounds::{Scale, note};

/// The allocator of the `gcache` executable.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compare gcache with nginx → memcached, groupcache and Redis on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Measure only this
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Fewer and shorter rounds: to see that it works
    #[arg(long)]
    quick: bool,
    /// HTTP with 1, 16, 64 and 256 connections, not only with 64
    #[arg(long)]
    full: bool,
    /// Rounds over all rivals [default: 5, with --quick 2]
    #[arg(long)]
    repeats: Option<usize>,
    /// Seconds of one slot [default: 5, with --quick 2]
    #[arg(long)]
    seconds: Option<u64>,
    /// Threads of wrk
    #[arg(long, default_value_t = 1)]
    wrk_threads: usize,
    /// Where rivals.json and rivals.md go [default: bench/results, of a run of everything]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Be the HTTP server that answers a constant
    #[arg(long, hide = true, value_name = "HOST:PORT")]
    serve_ceiling: Option<SocketAddr>,
    /// Be a node whose rows cost no memory
    #[arg(long, hide = true, value_name = "HOST:PORT")]
    serve_node: Option<SocketAddr>,
    /// What cargo calls every benchmark with
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// GET hits
    Http,
    /// Look-ups at a node
    Lookups,
    /// Cold misses over PostgreSQL, in batches and not
    Misses,
    /// Memory per entry
    Memory,
    /// Ten thousand callers of one cold key
    Stampede,
}

impl Args {
    fn scale(&self) -> Scale {
        let usual = if self.quick { (2, 2) } else { (5, 5) };
        Scale {
            repeats: self.repeats.unwrap_or(usual.0),
            seconds: self.seconds.unwrap_or(usual.1),
            connections: if self.full {
                vec![1, 16, 64, 256]
            } else {
                vec![64]
            },
            wrk_threads: self.wrk_threads,
        }
    }

    /// Only what was measured in full replaces what is kept in the repository.
    fn folder(&self) -> Option<PathBuf> {
        let is_whole = self.only.is_none() && !self.quick;
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/results");
        self.out.clone().or(is_whole.then(|| kept.into()))
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    gcache::net::raise_open_files();
    if let Some(listen) = args.serve_ceiling {
        return ceiling::serve(listen).await;
    }
    if let Some(listen) = args.serve_node {
        return node::serve(listen).await;
    }
    let report = compare(&args).await?;
    print(&report.markdown());
    if let Some(folder) = args.folder() {
        report.write(&folder)?;
        note(&format!("written to {}", folder.display()));
    }
    Ok(())
}

/// Every program of others that is needed, so that a lack of one is told before anything runs.
const PROGRAMS: [&str; 9] = [
    "setpriv",
    "timeout",
    "wrk",
    "nginx",
    "memcached",
    "redis-server",
    "redis-benchmark",
    "go",
    "pgbench",
];

/// Measures the parts one after the other: each starts its servers afresh.
async fn compare(args: &Args) -> anyhow::Result<Report> {
    for program in PROGRAMS {
        find(program)?;
    }
    let scale = args.scale();
    let place = Place::claim()?;
    let mut report = Report::new(scale.clone());
    if args.wants(Part::Http) {
        report.results.http = Some(http::measure(&place, &scale).await?);
    }
    if args.wants(Part::Lookups) {
        report.results.lookups = Some(lookups::measure(&place, &scale).await?);
    }
    if args.wants(Part::Misses) {
        report.results.misses = Some(misses::measure(&place, &scale).await?);
    }
    if args.wants(Part::Memory) {
        report.results.memory = Some(memory::measure(&place).await?);
    }
    if args.wants(Part::Stampede) {
        report.results.stampede = Some(stampede::measure(&place, &scale).await?);
    }
    report.judge();
    Ok(report)
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(text: &str) {
    println!("{text}");
}
