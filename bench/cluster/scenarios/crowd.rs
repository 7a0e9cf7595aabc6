//! A node that shares its core with others who want all of it. Everything else of the scenario keeps to the
//! other cores, from before the measurement on: what is slow is the node, and not the load or the clock.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::cluster::BOND;
use super::machine::said;
use crate::testkit::process::{Process, Start};

/// The core that is crowded.
const CORE: usize = 0;

/// What keeps a core busy.
const SPIN: &str = "while :; do :; done";

/// Keeps the calling thread, and what it starts from now on, off the core that will be crowded.
///
/// # Errors
/// There is no other core.
pub(crate) fn keep_off() -> anyhow::Result<()> {
    let me = Pid::from_raw(0);
    let mut cores = sched_getaffinity(me)?;
    cores.unset(CORE)?;
    let left = (0..CpuSet::count()).filter(|core| cores.is_set(*core).unwrap_or(false));
    if left.count() == 0 {
        bail!("to crowd a core needs another one for the load: this machine has one");
    }
    sched_setaffinity(me, &cores).context("choosing cores")
}

/// A crowded node. It has its cores again when this is dropped.
pub(crate) struct Crowd {
    node: u32,
    /// The node's cores, as `taskset` has them.
    cores: String,
    _loops: Vec<Process>,
}

impl Crowd {
    /// Moves a process to one core, on which so many loops run, with so little weight (`nice`).
    pub(crate) fn around(
        node: u32,
        (loops, niceness): (usize, i32),
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let told = said("taskset", &["-cp", &node.to_string()]);
        let (_, cores) = told.rsplit_once(": ").context("taskset of util-linux")?;
        let core = CORE.to_string();
        let start = |number: usize| {
            let name = format!("loop{number}");
            let start = Start::new(&name, folder).bond(BOND);
            start.program("taskset", &["-c", &core, "sh", "-c", SPIN])
        };
        let crowd = Self {
            node,
            cores: cores.to_owned(),
            _loops: (0..loops).map(start).collect(),
        };
        crowd.place(&core, niceness)?;
        Ok(crowd)
    }

    /// For all threads of the node.
    fn place(&self, cores: &str, niceness: i32) -> anyhow::Result<()> {
        run("taskset", &["-acp", cores, &self.node.to_string()])?;
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.node))?;
        let threads = threads.map(|thread| Ok(thread?.file_name().to_string_lossy().into_owned()));
        let threads: Vec<String> = threads.collect::<std::io::Result<_>>()?;
        let niceness = niceness.to_string();
        let mut args = vec!["-n", &niceness, "-p"];
        args.extend(threads.iter().map(String::as_str));
        run("renice", &args)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It may be gone.
        let _placed = self.place(&self.cores, 0);
    }
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    let status = command.args(args).stdout(Stdio::null()).status();
    match status
        .with_context(|| format!("{program} of util-linux"))?
        .success()
    {
        true => Ok(()),
        false => bail!("{program} {args:?} fails"),
    }
}
