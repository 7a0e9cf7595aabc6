//! A cluster of node and frontend processes on a block of addresses of its own.

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use super::address::{ADMIN, Block, GRPC, HTTP};
use super::http::{get, try_ask};
use super::layout::Layout;
use super::metrics;
use super::process::{Process, Start};
use super::setup::Setup;
use super::wait::until;

/// Running processes. They are killed when it is dropped, before their addresses are given back.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Process>,
    pub(crate) frontends: Vec<Process>,
    pub(crate) layout: Layout,
    set: Vec<String>,
    folder: TempDir,
    block: Block,
}

impl Cluster {
    /// Starts all processes; returns once every frontend reaches every node.
    pub(crate) async fn start(setup: Setup) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            frontends: Vec::new(),
            layout: Layout::new(setup.nodes, &setup.groups),
            set: setup.set.clone(),
            folder: tempfile::tempdir().expect("the machine has room for files"),
            block: Block::claim(),
        };
        cluster.write("members.toml", &cluster.members(setup.nodes));
        cluster.write("groups.toml", &setup.groups);
        cluster.write("rows.jsonl", &setup.all_rows());
        for index in 0..setup.nodes {
            cluster.nodes.push(cluster.spawn_node(index));
        }
        for index in 0..setup.frontends {
            cluster.frontends.push(cluster.spawn_frontend(index));
        }
        for index in 0..setup.nodes {
            ready(
                &mut cluster.nodes[index],
                (cluster.block.node(index), ADMIN).into(),
            )
            .await;
        }
        for index in 0..setup.frontends {
            let admin = cluster.frontend_admin(index);
            ready(&mut cluster.frontends[index], admin).await;
        }
        cluster.reached(setup.nodes).await;
        cluster
    }

    fn members(&self, nodes: usize) -> String {
        let member = |index: usize| {
            let host = self.block.node(index);
            format!(
                "[[members]]\nname = 'node-{}'\nhost = '{host}'\n",
                index + 1
            )
        };
        (0..nodes).map(member).collect()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("the test's folder is writable");
    }

    /// The folder with the files and outputs of the processes.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn spawn(&self, role: &str, number: usize, more: &[&str]) -> Process {
        let name = format!("{role}-{number}");
        let mut args = vec![role, "--members", "members.toml", "--groups", "groups.toml"];
        args.extend(more);
        args.extend(self.set.iter().flat_map(|set| ["--set", set]));
        Start {
            name: &name,
            dir: self.folder(),
            env: &[],
        }
        .gcache(&args)
    }

    fn spawn_node(&self, index: usize) -> Process {
        let (host, id) = (
            self.block.node(index).to_string(),
            format!("node-{}", index + 1),
        );
        let own = [
            "--host",
            &host,
            "--id",
            &id,
            "--origin",
            "memory:rows.jsonl",
        ];
        self.spawn("node", index + 1, &own)
    }

    fn spawn_frontend(&self, index: usize) -> Process {
        let host = self.block.frontend(index).to_string();
        self.spawn("frontend", index + 1, &["--host", &host])
    }

    /// Starts a node that was killed, at its old address.
    pub(crate) async fn restart_node(&mut self, index: usize) {
        self.nodes[index] = self.spawn_node(index);
        let admin = self.node_admin(index);
        ready(&mut self.nodes[index], admin).await;
    }

    /// HTTP of a frontend.
    pub(crate) fn http(&self, index: usize) -> SocketAddr {
        (self.block.frontend(index), HTTP).into()
    }

    /// HTTP of all frontends.
    pub(crate) fn all_http(&self) -> Vec<SocketAddr> {
        (0..self.frontends.len())
            .map(|index| self.http(index))
            .collect()
    }

    pub(crate) fn grpc(&self, node: usize) -> SocketAddr {
        (self.block.node(node), GRPC).into()
    }

    pub(crate) fn node_admin(&self, index: usize) -> SocketAddr {
        (self.block.node(index), ADMIN).into()
    }

    pub(crate) fn frontend_admin(&self, index: usize) -> SocketAddr {
        (self.block.frontend(index), ADMIN).into()
    }

    /// Waits until each frontend says that it reaches this many nodes.
    pub(crate) async fn reached(&self, nodes: usize) {
        let line = match nodes {
            0 => "[-] nodes: none of ".to_owned(),
            some => format!("[+] nodes: {some} of "),
        };
        for http in self.all_http() {
            until(&format!("{http} says {line:?}"), async || {
                let said = get(http, "/readyz?verbose").await.text();
                if said.contains(&line) {
                    Ok(())
                } else {
                    Err(said)
                }
            })
            .await;
        }
    }

    /// The sum of a metric over all nodes that live; see [`metrics::sum`].
    pub(crate) async fn node_sum(&self, name: &str, labels: &[&str]) -> f64 {
        let mut sum = 0.0;
        for index in 0..self.nodes.len() {
            sum += metrics::sum(self.node_admin(index), name, labels).await;
        }
        sum
    }

    /// How many keys all living nodes have asked of the origin.
    pub(crate) async fn loaded_keys(&self) -> f64 {
        self.node_sum("gcache_origin_loaded_keys_total", &[]).await
    }

    /// How many calls one node has had, whatever became of them; 0 if it is dead.
    pub(crate) async fn calls(&self, node: usize) -> f64 {
        metrics::sum(self.node_admin(node), "gcache_node_calls_total", &[]).await
    }
}

/// Waits until the process says on its admin port that it is ready.
async fn ready(process: &mut Process, admin: SocketAddr) {
    let claim = format!("{} is ready", process.name());
    until(&claim, async || {
        if let Some(status) = process.status() {
            panic!(
                "{} ended with {status}: {}",
                process.name(),
                process.stderr()
            );
        }
        match try_ask(admin, "GET", "/readyz").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.text()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}
