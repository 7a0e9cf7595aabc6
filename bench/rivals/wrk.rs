//! wrk: the load of the HTTP comparison.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::Deserialize;

use crate::process::find;

/// How long wrk may take beyond its time before it is ended.
const MARGIN_SECONDS: u64 = 20;

/// What one run of wrk saw; the fields are those of wrk.lua.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) duration_us: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
    /// Statuses other than 2xx and 3xx, and what went wrong on connections.
    pub(crate) errors: u64,
}

impl Seen {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / (self.duration_us as f64 / 1e6)
    }
}

/// How wrk is started.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) paths: &'a Path,
    pub(crate) threads: usize,
    pub(crate) connections: usize,
}

impl Load<'_> {
    /// Sends load for so many seconds.
    pub(crate) fn run(&self, server: SocketAddr, seconds: u64) -> anyhow::Result<Seen> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/rivals/wrk.lua");
        let threads = self.threads.min(self.connections);
        let output = Command::new(find("timeout")?)
            .arg((seconds + MARGIN_SECONDS).to_string())
            .arg(find("wrk")?)
            .args(["--latency", "-t", &threads.to_string()])
            .args(["-c", &self.connections.to_string()])
            .args(["-d", &format!("{seconds}s"), "-s", script])
            .args([&format!("http://{server}/"), "--"])
            .arg(self.paths)
            .output()
            .context("wrk runs")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().rfind(|line| line.starts_with('{'));
        ensure!(
            output.status.success() && line.is_some(),
            "wrk failed: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_str(line.unwrap_or_default()).context("what wrk.lua writes")
    }
}

/// The processor time of the tools that have run and ended.
pub(crate) fn tools_cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Duration::ZERO;
    };
    let micros = |time: nix::sys::time::TimeVal| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let rest = u64::try_from(time.tv_usec()).unwrap_or(0);
        seconds * 1_000_000 + rest
    };
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}
