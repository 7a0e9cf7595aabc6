//! `gcache dev` on free ports: a whole cluster in one process.

use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;

use super::metrics;
use crate::testkit::process::{Process, Start};
use crate::testkit::wait::until;

/// A running `gcache dev`.
pub(crate) struct Dev {
    pub(crate) process: Process,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where operators' commands find it, as its banner says.
    pub(crate) seeds: String,
    pub(crate) folder: TempDir,
}

/// Starts one that may fail, with its output in `folder`.
pub(crate) fn spawn(folder: &TempDir, env: &[(&str, &str)], args: &[&str]) -> Process {
    let args = [&["dev", "--port", "0", "--admin-port", "0"], args].concat();
    let start = Start::new("dev", folder.path()).env(env);
    start.gcache(&args)
}

impl Dev {
    /// Starts it and reads from its banner where it listens.
    pub(crate) async fn start(args: &[&str]) -> Self {
        Self::start_in(&[], args).await
    }

    /// As [`Dev::start`], with these variables as its environment.
    pub(crate) async fn start_in(env: &[(&str, &str)], args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("the machine has room for files");
        let mut process = spawn(&folder, env, args);
        until("dev has printed its banner", async || {
            if let Some(status) = process.status() {
                panic!("dev ended with {status}: {}", process.stderr());
            }
            let text = process.stdout();
            if text.ends_with("Ctrl-C stops all of it.\n") {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
        let banner = process.stdout();
        let (http, admin) = (address(&banner, "HTTP"), address(&banner, "metrics"));
        let seeds = banner.split("--seeds ").nth(1);
        let seeds = seeds.and_then(|rest| rest.split_whitespace().next());
        Self {
            process,
            http,
            admin,
            seeds: seeds.expect("the banner names seeds").to_owned(),
            folder,
        }
    }

    /// Runs an operator's command that must succeed; what it prints as JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let env = [("GCACHE_SEEDS", self.seeds.as_str())];
        let start = Start::new("command", self.folder.path()).env(&env);
        let ended = start.gcache(&[args, &["--json"]].concat()).ended().await;
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).expect("it is JSON")
    }

    /// The sum of a metric; see [`metrics::sum`].
    pub(crate) async fn sum(&self, name: &str) -> f64 {
        metrics::sum(self.admin, name, &[]).await
    }
}

fn address(banner: &str, label: &str) -> SocketAddr {
    let line = banner
        .lines()
        .find(|line| line.trim_start().starts_with(label));
    let rest = line
        .and_then(|line| line.split_once("http://"))
        .map(|(_, rest)| rest);
    let address = rest.and_then(|rest| rest.split('/').next()?.parse().ok());
    address.unwrap_or_else(|| panic!("{label} with an address in {banner}"))
}
