//! A process that ends with its handle, and with this program however that ends; what it uses of a core.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::watch::Watch;

/// The executable that is measured.
pub(crate) const GCACHE: &str = env!("CARGO_BIN_EXE_gcache");

/// What a command line begins with that is to end with the thread that started it.
pub(crate) const GUARD: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// The unit of processor time in /proc: Linux's USER_HZ is 100 wherever this runs.
const TICK_MS: u64 = 10;

/// How long a process may take to end once it was asked to: longer than a node takes to leave.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// A running process. It is killed when it is dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `gcache` where the harness is, as [`Process::start`] does.
    pub(crate) fn gcache(folder: &Path, name: &str, args: &[&str]) -> anyhow::Result<Self> {
        let [guard, options @ ..] = GUARD;
        let mut command = Command::new(guard);
        command.args(options).arg(GCACHE).args(args);
        Self::start(folder, name, command)
    }

    /// Starts a command line that begins with [`GUARD`], or with what runs one that does, with what it says in
    /// `folder/NAME.log`. It is killed when the thread that started it ends.
    pub(crate) fn start(folder: &Path, name: &str, mut command: Command) -> anyhow::Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{name}.log")))?;
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for this program, which ends the others in its own order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let name = name.to_owned();
        Ok(Self { name, child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self, watch: &Watch) -> anyhow::Result<ExitStatus> {
        let claim = format!("{} ends", self.name);
        watch.until(&claim, END_PATIENCE, || match self.child.try_wait()? {
            Some(status) => Ok(status),
            None => bail!("it runs"),
        })
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The processor time that a process has used so far; none if it is gone.
pub(crate) fn used(process: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything: what counts comes behind it.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Duration::from_millis((number(11)? + number(12)?) * TICK_MS))
}

/// The processes that this one has started and that still run.
pub(crate) fn children(of: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect()
}

/// The processor time that this machine has used so far, whoever used it.
pub(crate) fn machine_used() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks = first.split_whitespace().skip(1).take(8).enumerate();
    // All but the fourth and the fifth, which are idle and waiting for disks.
    let busy = ticks.filter(|(at, _)| ![3, 4].contains(at));
    let busy: u64 = busy
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(busy * TICK_MS)
}

/// What a program says on its first line; a dash if it is not there.
pub(crate) fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("-").to_owned()
}
