//! The cluster that is measured, what is asked of it as an operator and a client would, and waiting for what is to
//! come.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::time::Instant;

use crate::testkit::http::ask_blocking;
use crate::testkit::place::Place;
use crate::testkit::process::Process;
use crate::testkit::processes::{Processes, Seeds};
use crate::testkit::wait::pause;

/// Longer than anything here takes; reached only if it never happens.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// How long one HTTP request may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// Its processes.
pub(super) struct Cluster(Processes);

impl Deref for Cluster {
    type Target = Processes;

    fn deref(&self) -> &Processes {
        &self.0
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Processes {
        &mut self.0
    }
}

impl Cluster {
    /// So many nodes, none of which is started; the first three are the seeds.
    pub(super) fn new(folder: &Path, nodes: usize) -> Self {
        let mut processes = Processes::in_folder(folder, Place::loopback(), nodes);
        processes.seeds = Seeds::First(3);
        let group =
            "[groups.bench]\ntable = 'rows'\nkey_column = 'k'\nvalue_column = 'v'\nttl = '60s'\n";
        processes.write("groups.toml", group);
        let rows = (0..1_000).map(|n| format!("{{\"k\":\"{n}\",\"v\":\"{n}\"}}\n"));
        processes.write("rows.jsonl", &rows.collect::<String>());
        Self(processes)
    }

    /// Runs an operator's command that must succeed; what it prints.
    pub(super) fn must(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.operator().run(args)?;
        if !output.status.success() {
            bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What `cluster status` tells.
    fn standing(&self) -> anyhow::Result<Value> {
        let told = self.must(&["cluster", "status", "--json"])?;
        Ok(serde_json::from_str(&told)?)
    }

    /// The index of the node that leads.
    pub(super) fn leader(&self) -> anyhow::Result<usize> {
        let status = self.standing()?;
        let name = status["leader"].as_str().context("somebody leads")?;
        Ok(name[1..].parse::<usize>()? - 1)
    }

    /// Waits until so many members are up and own their share, and three of them vote.
    pub(super) fn complete(&self, nodes: usize) -> anyhow::Result<()> {
        let fair = 4096 / nodes as u64;
        until("the cluster is complete", || {
            let status = self.standing()?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let is_well = |member: &Value| {
                let owned = member["partitions"].as_u64().unwrap_or(0);
                member["status"] == "up" && owned.abs_diff(fair) <= 1
            };
            let voters = members.iter().filter(|member| member["role"] != "learner");
            let is_complete = members.len() == nodes
                && members.iter().all(is_well)
                && voters.count() == nodes.min(3)
                && status["quorum"] == true;
            if !is_complete {
                bail!("{status}");
            }
            Ok(())
        })
    }

    /// Waits until a frontend answers for the group.
    pub(super) fn serves(&self, frontend: usize) -> anyhow::Result<()> {
        until("a frontend serves", || {
            match ask(self.http(frontend), "GET", "/v1/bench/1")? {
                200 => Ok(()),
                other => bail!("{other}"),
            }
        })
    }

    /// Whether a frontend goes by this epoch, or a later one.
    pub(super) fn goes_by(&self, frontend: usize, epoch: u64) -> anyhow::Result<bool> {
        let admin = self.frontend_admin(frontend);
        let (_, text) = ask_blocking(admin, "GET", "/readyz?verbose", REQUEST_MAX)?;
        let known = text.split("epoch ").nth(1);
        let digits: String = known
            .unwrap_or_default()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        Ok(digits.parse::<u64>().is_ok_and(|known| known >= epoch))
    }

    /// The processor time that all processes have used so far.
    pub(super) fn cpu(&self) -> Duration {
        let all = self.nodes.iter().flatten().chain(&self.frontends);
        all.map(Process::cpu).sum()
    }
}

/// Looks until `look` succeeds.
pub(super) fn until<T>(claim: &str, look: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(seen) if began.elapsed() > PATIENCE => return Err(seen.context(claim.to_owned())),
            Err(_) => pause(PAUSE),
        }
    }
}

/// The status of an answer.
pub(super) fn ask(server: SocketAddr, method: &str, path: &str) -> anyhow::Result<u16> {
    Ok(ask_blocking(server, method, path, REQUEST_MAX)?.0)
}
