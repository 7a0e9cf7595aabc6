//! Many nodes and frontends at rest, and how soon all know of a change.

use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::processes::{Processes, pause, until};
use crate::row;

/// How long they are watched at rest.
const IDLE: Duration = Duration::from_secs(20);

/// Changes that all have to hear of.
const CHANGES: usize = 10;

pub(crate) fn measure(nodes: usize, frontends: usize, folder: &TempDir) -> anyhow::Result<String> {
    let mut processes = Processes::new(folder.path(), nodes)?;
    for node in 0..nodes {
        processes.start(node)?;
    }
    processes.complete(nodes)?;
    for _ in 0..frontends {
        processes.front()?;
    }
    processes.must(&["group", "apply", "groups.toml"])?;
    for frontend in 0..frontends {
        processes.serves(frontend)?;
    }
    let (began, before) = (Instant::now(), processes.cpu()?);
    pause(IDLE);
    let used = processes.cpu()?.saturating_sub(before);
    let cores = used.as_secs_f64() / began.elapsed().as_secs_f64();
    let mut took = Vec::new();
    for _ in 0..CHANGES {
        took.push(told(&processes, frontends)?);
    }
    let claim = format!("an epoch reaches all of {frontends} frontends, from the command's start");
    Ok(format!(
        "{}\n{nodes} nodes and {frontends} frontends at rest use {cores:.2} of a core in all (goal < 0.5).\n",
        row(&claim, &took, "≤ 1")
    ))
}

/// How long after a command began all frontends go by what it changed.
fn told(processes: &Processes<'_>, frontends: usize) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let told = processes.must(&["group", "reset", "bench", "--json"])?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let epoch = told["epoch"].as_u64().context("an epoch")?;
    for frontend in 0..frontends {
        until("a frontend goes by it", || {
            match processes.goes_by(frontend, epoch)? {
                true => Ok(()),
                false => bail!("not yet"),
            }
        })?;
    }
    Ok(began.elapsed())
}
