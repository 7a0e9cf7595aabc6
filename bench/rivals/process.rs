//! A process of a rival: found, started, waited for, asked what it used, and ended with its handle.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::place::Place;

/// How long a process may take to listen, or to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(10);

/// The unit of processor time in /proc: Linux's USER_HZ is 100 wherever this runs.
const TICK_MS: u64 = 10;

/// A running process. Dropping it ends it and all it started.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// The path of an executable, which may be one that only administrators have in their PATH.
pub(crate) fn find(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut candidates = folders.map(|folder| folder.join(name));
    candidates.find(|path| path.is_file()).with_context(|| {
        format!(
            "{name} is missing: ./justw bench-rivals installs all on Debian; elsewhere install nginx, memcached, \
             redis (server and tools), wrk, Go and Debian's golang-github-golang-groupcache-dev"
        )
    })
}

/// The processor time that this machine has used so far, whoever used it, and what the host under a
/// virtual machine took for others.
pub(crate) fn machine_cpu() -> Duration {
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

impl Process {
    /// Starts `command`. It is told to end when this process dies, however that happens.
    pub(crate) fn start(
        place: &Place,
        name: &'static str,
        command: &str,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        let command = if command.contains('/') {
            PathBuf::from(command)
        } else {
            find(command)?
        };
        let log = place.folder().join(format!("{name}.log"));
        let out = File::create(&log).context("the folder is writable")?;
        let child = Command::new(find("setpriv")?)
            .args(["--pdeathsig", "TERM", "--"])
            .arg(command)
            .args(args)
            .current_dir(place.folder())
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("a descriptor")?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// As reports call it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Waits until somebody listens there.
    pub(crate) async fn listens(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.said());
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "{} does not listen on {address}:\n{}",
                    self.name,
                    self.said()
                );
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// What it wrote.
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The processor time that it and its children have used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let ticks: u64 = self.family().iter().map(|stat| stat.ticks).sum();
        Duration::from_millis(ticks * TICK_MS)
    }

    /// The memory that it has resident.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).context("it runs")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.context("Linux tells what is resident")? << 10)
    }

    /// Itself and its children: nginx works in those.
    fn family(&self) -> Vec<Stat> {
        let own = self.child.id();
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let stats = ids.filter_map(Stat::read);
        stats
            .filter(|stat| stat.id == own || stat.parent == own)
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked first: nginx ends its workers only when it is asked.
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _gone = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let began = Instant::now();
        while began.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::park_timeout(PAUSE);
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What `/proc/ID/stat` tells.
struct Stat {
    id: u32,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(id: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name, in parentheses, may hold anything: what counts comes behind it.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            id,
            parent: u32::try_from(number(1)?).ok()?,
            ticks: number(11)? + number(12)?,
        })
    }
}
