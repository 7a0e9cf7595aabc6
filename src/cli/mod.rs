//! The command line: what was typed, in `args`; what it means, here.
//!
//! Exit codes: 0 done, 1 could not be done, 2 wrongly asked (flags, configuration). Nothing but the
//! result goes to stdout.

mod args;
mod balance;
mod cluster_client;
mod commands;
mod control;
mod explain;
mod failure;
mod finalize;
mod findings;
mod groups;
mod identity;
mod loadgen;
mod members;
mod operate;
mod pause;
mod plan;
mod print;
mod recover;
mod samples;
mod setup;
mod snapshot;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Command};
use self::commands::DEV_CONFIG;
use self::failure::Failure;
use self::identity::complete;
use self::setup::configure;

/// Runs the process's command line and says how the process should end.
#[must_use]
pub fn main() -> ExitCode {
    match begin(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => end(failure),
    }
}

/// Reads the configuration of long-running commands, and runs the command.
fn begin(command: Command) -> Result<(), Failure> {
    match command {
        Command::Node(args) => match configure(&args.common, args.flags(), None)? {
            Some(configured) => run(configured.config.process.workers, async {
                commands::node(complete(configured).await?, args.bootstrap).await
            }),
            None => Ok(()),
        },
        Command::Frontend(args) => match configure(&args.common, args.flags(), None)? {
            Some(configured) => run(configured.config.process.workers, async {
                commands::frontend(complete(configured).await?).await
            }),
            None => Ok(()),
        },
        Command::Dev(args) => match configure(&args.common, args.flags(), Some(DEV_CONFIG))? {
            Some(configured) => run(configured.config.process.workers, async {
                let configured = complete(configured).await?;
                Box::pin(commands::dev(args.nodes, args.groups, configured)).await
            }),
            None => Ok(()),
        },
        Command::Loadgen(args) => run(0, loadgen::loadgen(*args)),
        Command::Get(args) => run(1, commands::get(args)),
        Command::Del(args) => run(1, commands::del(args)),
        Command::Cluster(command) => run(1, operate::cluster(command)),
        Command::Ring(command) => run(1, operate::ring(command)),
        Command::Group(command) => run(1, groups::group(command)),
        Command::Healthcheck(args) => run(1, commands::healthcheck(args)),
    }
}

/// Runs `command` on so many threads, or one per core for 0.
fn run(workers: usize, command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(command);
    // Every task had its time; what still runs then is cut off.
    runtime.shutdown_background();
    result
}

fn end(failure: Failure) -> ExitCode {
    let (text, code) = match failure {
        Failure::Usage(text) => (text, 2),
        Failure::Failed(text) => (text, 1),
    };
    crate::telemetry::complain(&format!("gcache: {text}"));
    ExitCode::from(code)
}
