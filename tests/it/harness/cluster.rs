//! A cluster of node and frontend processes on a block of addresses of its own.
//!
//! Its nodes find each other by seeds, as everywhere; the first is told to found the cluster, so that
//! nobody waits until enough of them are there.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use gcache::rpc::control;
use gcache::rpc::control_proto::WatchRequest;
use gcache::rpc::pipeline::Target;
use gcache::topology::model::member::MemberStatus;
use gcache::topology::state::State;
use tempfile::TempDir;

use super::layout::Layout;
use super::metrics;
use super::setup::Setup;
use crate::testkit::address::{ADMIN, Block, GRPC, HTTP};
use crate::testkit::http::{get, try_ask};
use crate::testkit::process::{Process, Start};
use crate::testkit::wait::until;

/// How long a node may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Voters that a cluster has once it is large enough for so many.
const VOTERS: usize = 3;

/// Running processes. They are killed when it is dropped, before their addresses are given back.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Process>,
    pub(crate) frontends: Vec<Process>,
    pub(crate) layout: Layout,
    set: Vec<String>,
    /// How many nodes it was started with.
    size: usize,
    folder: TempDir,
    block: Block,
}

impl Cluster {
    /// Starts all processes and applies the groups; returns once the nodes are one cluster, act for what
    /// they own, and every frontend reaches every node and goes by the latest topology.
    pub(crate) async fn start(setup: Setup) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            frontends: Vec::new(),
            layout: Layout::none(),
            set: setup.set.clone(),
            size: setup.nodes,
            folder: tempfile::tempdir().expect("the machine has room for files"),
            block: Block::claim(),
        };
        cluster.write("groups.toml", &setup.groups);
        cluster.write("rows.jsonl", &setup.all_rows());
        for index in 0..setup.nodes {
            cluster.nodes.push(cluster.spawn_node(index));
        }
        for index in 0..setup.frontends {
            cluster.frontends.push(cluster.spawn_frontend(index));
        }
        for index in 0..setup.nodes {
            let admin = cluster.node_admin(index);
            ready(&mut cluster.nodes[index], admin).await;
        }
        // Unchecked: some tests want groups that the origin lacks.
        let apply = ["group", "apply", "groups.toml", "--unchecked"];
        // Once all is shared out: the command returns when everybody acts for what he owns.
        cluster.complete().await;
        cluster.operate(&apply).await;
        // Now with the groups.
        cluster.complete().await;
        for index in 0..setup.frontends {
            let admin = cluster.frontend_admin(index);
            ready(&mut cluster.frontends[index], admin).await;
        }
        cluster.reached(setup.nodes).await;
        cluster
    }

    /// Where nodes may be found, as `--seeds` has it.
    pub(crate) fn seeds(&self) -> String {
        let all = (0..self.size).map(|index| self.block.node(index).to_string());
        all.collect::<Vec<_>>().join(",")
    }

    /// Runs an operator's command, which must succeed.
    pub(crate) async fn operate(&self, args: &[&str]) {
        let seeds = self.seeds();
        let start = Start {
            name: "command",
            dir: self.folder(),
            env: &[("GCACHE_SEEDS", &seeds)],
        };
        let ended = start.gcache(args).ended().await;
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    }

    /// Waits until every node is up, owns its share and acts for it, and every frontend knows; then the
    /// layout is what it is now.
    pub(crate) async fn complete(&mut self) {
        let state = until("the nodes are one cluster at rest", async || {
            let state = self.whole().await?;
            self.settled(&state).await?;
            Ok::<_, String>(state)
        })
        .await;
        self.layout = Layout::of(&state);
    }

    /// The state that all nodes show, if it is one and there is nothing to be done in it.
    async fn whole(&self) -> Result<State, String> {
        let mut states = Vec::new();
        for index in 0..self.size {
            states.push(shown(&self.target(index)).await?);
        }
        let state = states.pop().ok_or("there are no nodes")?;
        let is_up = state
            .members()
            .all(|member| member.status == MemberStatus::Up);
        let voters = if self.size < VOTERS { 1 } else { VOTERS };
        let quorum = state.quorum();
        let is_whole = is_up
            && state.members().len() == self.size
            && quorum.voters.len() == voters
            && !quorum.is_joint()
            && state.plan_assign().is_none()
            && states.iter().all(|other| other.epoch() == state.epoch());
        is_whole
            .then_some(state.clone())
            .ok_or(format!("{state:?}"))
    }

    /// Whether all that hold a lease, and all frontends, go by this state.
    async fn settled(&self, state: &State) -> Result<(), String> {
        let (mut is_settled, mut frontends) = (false, 0);
        for index in 0..self.size {
            let target = self.target(index);
            let reply = control::settle(&target, state.epoch(), PATIENCE).await;
            is_settled |= reply.is_ok_and(|reply| reply.redirect.is_none() && reply.is_settled);
            let reply = control::reach(&target, state.epoch(), PATIENCE).await;
            frontends += reply.map_or(0, |reply| reply.reached);
        }
        // A test may have started more of them.
        if is_settled && frontends >= self.frontends.len() as u64 {
            Ok(())
        } else {
            Err(format!("settled: {is_settled}, frontends: {frontends}"))
        }
    }

    fn target(&self, index: usize) -> Target {
        Target {
            host: self.block.node(index).to_string(),
            port: GRPC,
            from: Ipv4Addr::UNSPECIFIED.into(),
        }
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
        let seeds = self.seeds();
        let mut args = vec![role, "--seeds", &seeds];
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
            "--data-dir",
            "data",
            "--origin",
            "memory:rows.jsonl",
        ];
        let founds: &[&str] = if index == 0 { &["--bootstrap"] } else { &[] };
        self.spawn("node", index + 1, &[&own, founds].concat())
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

/// What a node shows, if it holds a lease.
async fn shown(target: &Target) -> Result<State, String> {
    let request = WatchRequest {
        epoch: 0,
        linearizable: false,
    };
    let opened = control::watch(target, request, PATIENCE).await;
    let mut topologies = opened.map_err(|error| error.to_string())?;
    let first = tokio::time::timeout(PATIENCE, topologies.message()).await;
    let first = first.map_err(|error| error.to_string())?;
    let first = first.map_err(|status| status.message().to_owned())?;
    let first = first.ok_or("it ends the stream")?;
    if first.is_isolated {
        return Err(format!("{target} is isolated"));
    }
    State::decode(&first.state).map_err(|error| error.to_string())
}
