//! The command line: what was typed, in `args`; what it means, here.
//!
//! Exit codes: 0 done, 1 could not be done, 2 wrongly asked (flags, configuration). Nothing but the
//! result goes to stdout.

mod args;
mod commands;
mod loadgen;
mod setup;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Command};

/// Why a command did not succeed.
#[derive(Debug)]
enum Failure {
    /// Asked wrongly: exit 2.
    Usage(String),
    /// Could not be done: exit 1.
    Failed(String),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

/// Runs the process's command line and says how the process should end.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return end(Failure::Failed(format!(
                "cannot start the runtime: {error}"
            )));
        }
    };
    let result = runtime.block_on(run(args.command));
    // Every task had its time; what still runs then is cut off.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => end(failure),
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Node(args) => commands::node(args).await,
        Command::Frontend(args) => commands::frontend(args).await,
        Command::Dev(args) => commands::dev(args).await,
        Command::Get(args) => commands::get(args).await,
        Command::Del(args) => commands::del(args).await,
        Command::Loadgen(args) => loadgen::loadgen(*args).await,
        Command::Healthcheck(args) => commands::healthcheck(args).await,
    }
}

#[expect(clippy::print_stderr, reason = "how a command ends is told on stderr")]
fn end(failure: Failure) -> ExitCode {
    let (text, code) = match failure {
        Failure::Usage(text) => (text, 2),
        Failure::Failed(text) => (text, 1),
    };
    eprintln!("gcache: {text}");
    ExitCode::from(code)
}
