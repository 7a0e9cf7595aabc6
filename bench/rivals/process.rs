//! A process of a rival: found, started, and waited for until it listens. It ends with its handle, and with this
//! process however that ends.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::place::Place;
use crate::testkit::proc;
use crate::testkit::process::{self, Bond, Start};

/// How long a process may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(10);

/// A running process. Dropping it ends it and all it started: nginx ends its workers when it is asked to end.
pub(crate) struct Process {
    name: &'static str,
    process: process::Process,
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

impl Process {
    /// Starts `command`. It is told to end when the thread that started it dies, however that happens.
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
        let start = Start::new(name, place.folder()).bond(Bond::Thread(Signal::SIGTERM));
        let process = start.program(command, args);
        Ok(Self { name, process })
    }

    /// As reports call it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Waits until somebody listens there.
    pub(crate) async fn listens(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.process.status() {
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
        self.process.stdout() + &self.process.stderr()
    }

    /// The processor time that it and its children have used so far: nginx works in those.
    pub(crate) fn cpu(&self) -> Duration {
        self.process.cpu()
    }

    /// The memory that it has resident.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        proc::resident_bytes(self.process.id()).context("it runs")
    }
}
