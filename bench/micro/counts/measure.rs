//! Runs a path in processes of its own and counts.

use std::path::Path as FilePath;
use std::process::{Command, Stdio};

use alloc_tracker::{Operation, Session, ThreadSpan};
use anyhow::{Context, ensure};

use crate::kept::Count;
use crate::paths::Path;

/// Where callgrind's profiles are left.
pub(crate) const PROFILES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/counts");

/// What every random number here begins with.
const SEED: u64 = 1;

/// Whether this is what the kept instructions were counted on.
const IS_COUNTABLE: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// Begins and ends what is counted. callgrind knows both by their names.
pub(crate) struct Meter {
    operation: Operation,
}

impl Meter {
    /// Everything before this is set-up.
    #[inline(never)]
    pub(crate) fn begin(&self) -> ThreadSpan {
        self.operation.measure_thread()
    }

    /// Everything after this is tearing down.
    #[inline(never)]
    pub(crate) fn end(&self, span: ThreadSpan) {
        drop(span.iterations(1));
    }
}

/// Takes a path, and prints what this thread allocated meanwhile, as `ALLOCATIONS BYTES`.
pub(crate) fn run(path: &Path) {
    fastrand::seed(SEED);
    let session = Session::new().no_stdout().no_file();
    let meter = Meter {
        operation: session.operation(path.name),
    };
    (path.take)(path.operations, &meter);
    let report = session.to_report();
    let (_, total) = report.operations().next().expect("it was measured");
    println!(
        "{} {}",
        total.total_allocations_count(),
        total.total_bytes_allocated()
    );
}

/// What one operation of a path costs, counted in a process of its own.
pub(crate) fn count(path: &Path) -> anyhow::Result<Count> {
    let executable = std::env::current_exe()?;
    let profile = format!("{PROFILES}/{}.callgrind", path.name);
    let mut command = if IS_COUNTABLE {
        // Not one of an earlier run in place of one that was not left.
        let _none_yet = std::fs::remove_file(left(&profile));
        std::fs::create_dir_all(PROFILES)?;
        callgrind(&executable, &profile)
    } else {
        Command::new(&executable)
    };
    command.args(["--run", path.name]);
    // Where the stack begins depends on the environment's size, and so do a few instructions.
    let output = command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .context("valgrind is missing: ./justw counts installs it")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", path.name);
    let (allocations, bytes) = String::from_utf8(output.stdout)?
        .trim()
        .split_once(' ')
        .map(|(allocations, bytes)| anyhow::Ok((allocations.parse()?, bytes.parse()?)))
        .with_context(|| format!("{} printed no counts: {errors}", path.name))??;
    let instructions = IS_COUNTABLE.then(|| collected(&profile)).transpose()?;
    let each = |count: u64| count as f64 / path.operations as f64;
    Ok(Count {
        instructions: instructions.map(each),
        allocations: each(allocations),
        bytes: each(bytes),
    })
}

/// What callgrind calls the functions of [`Meter`]. A compiler that writes names in another way leaves no
/// profile, which is an error.
const BEGIN: &str = "counts::measure::Meter::begin";
const END: &str = "counts::measure::Meter::end";

fn callgrind(executable: &FilePath, profile: &str) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--trace-children=no"])
        .arg(format!("--zero-before={BEGIN}"))
        .arg(format!("--dump-before={END}"))
        .arg(format!("--callgrind-out-file={profile}"))
        .arg(executable);
    command
}

/// The file that callgrind leaves at [`END`]; what comes after goes to another.
fn left(profile: &str) -> String {
    format!("{profile}.1")
}

/// The instructions between the two, from the profile that was left at the second of them.
fn collected(profile: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(left(profile))
        .with_context(|| format!("callgrind left no profile at {END}"))?;
    ensure!(
        text.contains("Trigger: --dump-before"),
        "the profile is not of {END}"
    );
    let line = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let number = line.context("a profile says what it sums up to")?;
    Ok(number.trim().parse()?)
}

/// The compiler and valgrind, as they call themselves.
pub(crate) fn tools() -> String {
    ["rustc", "valgrind"].map(version).join(", ")
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    output.map_or_else(
        |_| format!("no {program}"),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
