//! The load: `gcache loadgen`, whose timeline is read when it has ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use super::cluster::BOND;
use super::windows::Second;
use crate::testkit::process::{Process, Start};
use crate::watch::Watch;

/// Which keys how often: the usual skew of caches.
pub(crate) const DISTRIBUTION: &str = "zipf:0.99";

/// Connections that warm a cluster up, each asking as fast as it is answered.
const WARM_CONNECTIONS: &str = "24";

/// What is asked for.
pub(crate) struct Load {
    process: Process,
    timeline: PathBuf,
}

impl Load {
    /// Asks for as much as these frontends answer, until it is stopped.
    pub(crate) fn warm(folder: &Path, frontends: &[SocketAddr], keys: u64) -> Self {
        let pacing = ["--connections", WARM_CONNECTIONS, "--seed", "1"];
        Self::start(folder, "warm", frontends, keys, &pacing)
    }

    /// Asks for so many keys per second, whatever becomes of the earlier requests, until it is stopped. The
    /// keys are as popular as those of [`Load::warm`], and come in another order.
    pub(crate) fn steady(folder: &Path, frontends: &[SocketAddr], keys: u64, rate: u32) -> Self {
        let rate = rate.to_string();
        let pacing = ["--rate", &rate, "--arrivals", "poisson", "--seed", "1"];
        Self::start(folder, "load", frontends, keys, &pacing)
    }

    fn start(
        folder: &Path,
        name: &str,
        frontends: &[SocketAddr],
        keys: u64,
        pacing: &[&str],
    ) -> Self {
        let urls: Vec<_> = frontends.iter().map(|at| format!("http://{at}")).collect();
        let keys = keys.to_string();
        let file = format!("{name}.jsonl");
        let mut args = vec!["loadgen", "--group", "rows", "--keys", &keys];
        args.extend(["--distribution", DISTRIBUTION, "--timeline", &file]);
        // It is stopped long before: the bound of the scenario is shorter.
        args.extend(["--duration", "1h"]);
        args.extend(urls.iter().flat_map(|url| ["--url", url.as_str()]));
        args.extend(pacing);
        Self {
            process: Start::new(name, folder).bond(BOND).gcache(&args),
            timeline: folder.join(&file),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Fails if it has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if self.process.status().is_some() {
            bail!("the load has ended by itself: see its log");
        }
        Ok(())
    }

    /// Ends it; what each second came to.
    pub(crate) fn stop(mut self, watch: &Watch) -> anyhow::Result<Vec<Second>> {
        self.process.signal(Signal::SIGINT);
        watch.ended(&mut self.process)?;
        let text = std::fs::read_to_string(&self.timeline).context("the load's timeline")?;
        let lines = text.lines().map(serde_json::from_str);
        lines
            .collect::<Result<_, _>>()
            .context("the load's timeline")
    }
}
