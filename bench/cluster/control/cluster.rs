//! Three nodes that form one cluster, and what the system and they themselves tell of them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use gcache::rpc::control_proto::StatusReply;
use tokio::time::{Instant, sleep};

use crate::testkit::http::ask_blocking;
use crate::testkit::place::Place;
use crate::testkit::proc::used;
use crate::testkit::processes::Processes;

/// How many there are.
pub(super) const NODES: usize = 3;

/// How long the nodes may take to become a cluster, and one to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked at whether they have.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts them on a data directory in `folder`, and returns once they are a cluster at rest.
pub(super) async fn start(folder: &Path) -> anyhow::Result<Processes> {
    let mut nodes = Processes::in_folder(folder, Place::loopback(), NODES);
    nodes.write("rows.jsonl", "{\"k\":\"a\",\"v\":\"b\"}\n");
    for node in 0..NODES {
        nodes.run(node);
    }
    let began = Instant::now();
    while !is_at_rest(&nodes).await {
        ensure!(began.elapsed() < PATIENCE, "the nodes form no cluster");
        sleep(PAUSE).await;
    }
    Ok(nodes)
}

/// The processor time that each has used so far.
pub(super) fn cpu(nodes: &Processes) -> anyhow::Result<Vec<Duration>> {
    let used = (0..NODES).map(|node| used(nodes.process(node).id()));
    used.collect::<Option<_>>().context("a node has ended")
}

/// Whether all have joined and vote, and agree on what they have applied.
async fn is_at_rest(nodes: &Processes) -> bool {
    let mut said: Vec<StatusReply> = Vec::new();
    for node in 0..NODES {
        match nodes.status(node, PATIENCE).await {
            Ok(status) => said.push(status),
            Err(_) => return false,
        }
    }
    let is_one = said.iter().all(|status| {
        let voters = status.members.iter();
        let voters = voters.filter(|m| m.role == "voter" && m.status == "up");
        voters.count() == NODES && status.leader != 0 && status.applied == said[0].applied
    });
    is_one && said[0].applied == said[0].commit
}

/// The index of the node that leads.
pub(super) async fn leader(nodes: &Processes) -> anyhow::Result<usize> {
    for node in 0..NODES {
        let status = nodes.status(node, PATIENCE).await;
        let status = status.map_err(anyhow::Error::msg)?;
        if status.leader == status.node && status.node != 0 {
            return Ok(node);
        }
    }
    bail!("nobody leads")
}

/// What a node tells on `/metrics`.
pub(super) fn metrics(nodes: &Processes, node: usize) -> anyhow::Result<String> {
    let (_, text) = ask_blocking(nodes.node_admin(node), "GET", "/metrics", PATIENCE)?;
    Ok(text)
}
