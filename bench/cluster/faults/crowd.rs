//! Many nodes and frontends at rest, and how soon all know of a change.

use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::Instant;

use super::cluster::{Cluster, until};
use super::row;
use crate::testkit::wait::pause;

/// How long they are watched at rest.
const IDLE: Duration = Duration::from_secs(20);

/// Changes that all have to hear of.
const CHANGES: usize = 10;

pub(crate) fn measure(nodes: usize, frontends: usize, folder: &TempDir) -> anyhow::Result<String> {
    let mut cluster = Cluster::new(folder.path(), nodes);
    for node in 0..nodes {
        cluster.run(node);
    }
    cluster.complete(nodes)?;
    for _ in 0..frontends {
        cluster.front();
    }
    cluster.must(&["group", "apply", "groups.toml"])?;
    for frontend in 0..frontends {
        cluster.serves(frontend)?;
    }
    let (began, before) = (Instant::now(), cluster.cpu());
    pause(IDLE);
    let used = cluster.cpu().saturating_sub(before);
    let cores = used.as_secs_f64() / began.elapsed().as_secs_f64();
    let mut took = Vec::new();
    for _ in 0..CHANGES {
        took.push(told(&cluster, frontends)?);
    }
    let claim = format!("an epoch reaches all of {frontends} frontends, from the command's start");
    Ok(format!(
        "{}\n{nodes} nodes and {frontends} frontends at rest use {cores:.2} of a core in all (goal < 0.5).\n",
        row(&claim, &took, "≤ 1")
    ))
}

/// How long after a command began all frontends go by what it changed.
fn told(cluster: &Cluster, frontends: usize) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let told = cluster.must(&["group", "reset", "bench", "--json"])?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let epoch = told["epoch"].as_u64().context("an epoch")?;
    for frontend in 0..frontends {
        until("a frontend goes by it", || {
            match cluster.goes_by(frontend, epoch)? {
                true => Ok(()),
                false => bail!("not yet"),
            }
        })?;
    }
    Ok(began.elapsed())
}
