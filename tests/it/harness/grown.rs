//! A cluster that found itself: nodes and frontends that were given seeds and nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use gcache::hash::PARTITIONS;
use gcache::rpc::control;
use gcache::rpc::pipeline::Target;
use gcache::topology::state::State;
use serde_json::Value;
use tempfile::TempDir;

use super::setup::Setup;
use crate::testkit::address::{ADMIN, Block, HTTP};
use crate::testkit::http::{Answer, get, try_ask};
use crate::testkit::network::Network;
use crate::testkit::process::{Ended, Process, Start};
use crate::testkit::wait::until;

/// Node and frontend processes. They are killed when it is dropped.
pub(crate) struct Grown {
    pub(crate) nodes: Vec<Option<Process>>,
    pub(crate) frontends: Vec<Process>,
    /// Where nodes that are started from now on load from.
    pub(crate) origin: String,
    /// What nodes that are started from now on find in their environment.
    pub(crate) env: Vec<(&'static str, &'static str)>,
    /// Where each node is, if it is started from now on.
    pub(crate) hosts: Vec<Ipv4Addr>,
    /// Seeds for those who are started from now on, beside the nodes themselves.
    pub(crate) more_seeds: Vec<Ipv4Addr>,
    /// What is set at every process that is started from now on, `section.key=value`.
    pub(crate) set: Vec<String>,
    /// The name that seeds are given as, if not as addresses.
    name: Option<&'static str>,
    folder: TempDir,
    block: Block,
    /// Hosts of their own for all processes: after them, so that it ends after them.
    pub(crate) network: Option<Network>,
}

/// Where operators' commands go, and where they run.
#[derive(Clone)]
pub(crate) struct Operator {
    seeds: String,
    folder: PathBuf,
}

impl Operator {
    /// Runs a command, and blocks until its end; whether it succeeded.
    pub(crate) fn run(&self, args: &[&str]) -> bool {
        let output = Command::new(env!("CARGO_BIN_EXE_gcache"))
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .env("GCACHE_SEEDS", &self.seeds)
            .output();
        output.expect("it was built").status.success()
    }
}

/// The name of all nodes where seeds are given as a name.
const NAME: &str = "nodes.test";

/// Runs its arguments with the file `hosts` of the working directory in place of the machine's: that is
/// DNS without a server, for this process alone.
const WITH_HOSTS: &str = "mount --bind hosts /etc/hosts && exec \"$@\"";

impl Grown {
    /// The files for this many nodes, none of which is started.
    pub(crate) fn new(nodes: usize) -> Self {
        let folder = tempfile::tempdir().expect("the machine has room for files");
        let block = Block::claim();
        let grown = Self {
            nodes: (0..nodes).map(|_| None).collect(),
            frontends: Vec::new(),
            origin: "memory:rows.jsonl".into(),
            env: Vec::new(),
            hosts: (0..nodes).map(|node| block.node(node)).collect(),
            more_seeds: Vec::new(),
            set: Vec::new(),
            name: None,
            folder,
            block,
            network: None,
        };
        grown.write("rows.jsonl", &Setup::default().all_rows());
        grown
    }

    /// The same, with one DNS name for the seeds. It has no address before [`Grown::resolve`].
    pub(crate) fn named(nodes: usize) -> Self {
        let grown = Self {
            name: Some(NAME),
            ..Self::new(nodes)
        };
        grown.resolve(&[]);
        grown
    }

    /// The same, where each process has a host of its own in a network that can be cut. The thread that
    /// calls it is at home there from now on, and so is what it starts.
    pub(crate) fn apart(nodes: usize, frontends: usize) -> Self {
        let network = Network::new(nodes, frontends);
        Self {
            hosts: (0..nodes).map(|node| network.node(node)).collect(),
            network: Some(network),
            ..Self::new(nodes)
        }
    }

    /// Where the node with this index is after a move.
    pub(crate) fn elsewhere(&self, node: usize) -> Ipv4Addr {
        self.block.moved(node)
    }

    /// Makes room for one more node; its index.
    pub(crate) fn another(&mut self) -> usize {
        let node = self.nodes.len();
        self.nodes.push(None);
        self.hosts.push(self.block.node(node));
        node
    }

    /// From now on the name of the seeds has the addresses of these nodes, for every process.
    pub(crate) fn resolve(&self, nodes: &[usize]) {
        let line = |&node: &usize| format!("{} {NAME}\n", self.hosts[node]);
        // Written in place: the processes see the file that was there when they were started.
        self.write("hosts", &nodes.iter().map(line).collect::<String>());
    }

    /// Starts `gcache` on its host if it has one of its own, and where the name of the seeds is known if
    /// they go by one.
    fn gcache(&self, start: &Start<'_>, host: Option<Ipv4Addr>, args: &[&str]) -> Process {
        if let (Some(network), Some(host)) = (&self.network, host) {
            let mut command = network.at(host);
            command.arg(env!("CARGO_BIN_EXE_gcache")).args(args);
            return start.spawn(command);
        }
        if self.name.is_none() {
            return start.gcache(args);
        }
        let mut command = Command::new("unshare");
        let own = std::fs::metadata("/proc/self").expect("Linux tells of a process");
        if own.uid() != 0 {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "sh", "-c", WITH_HOSTS, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_gcache")).args(args);
        start.spawn(command)
    }

    /// This many nodes and frontends, which are one cluster, and ready.
    pub(crate) async fn start(nodes: usize, frontends: usize) -> Self {
        Self::start_over("memory:rows.jsonl", nodes, frontends).await
    }

    /// The same, where the nodes load from `origin`.
    pub(crate) async fn start_over(origin: &str, nodes: usize, frontends: usize) -> Self {
        let mut grown = Self::new(nodes);
        grown.origin = origin.into();
        for node in 0..nodes {
            grown.run(node);
        }
        for _ in 0..frontends {
            grown.front();
        }
        grown.complete(nodes).await;
        for frontend in 0..frontends {
            grown.ready(frontend).await;
        }
        grown
    }

    /// Writes a file where commands run.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder().join(name), text).expect("the test's folder is writable");
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until a node's readiness says this.
    pub(crate) async fn tells(&self, node: usize, words: &str) {
        until(&format!("node {node} says {words:?}"), async || {
            let admin = (self.hosts[node], ADMIN).into();
            let answer = try_ask(admin, "GET", "/readyz?verbose").await;
            let text = answer.map_err(|error| error.to_string())?.text();
            if text.contains(words) {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
    }

    /// The addresses of all nodes or their name, as `--seeds` has them.
    pub(crate) fn seeds(&self) -> String {
        if let Some(name) = self.name {
            return name.to_owned();
        }
        let all = self.hosts.iter().chain(&self.more_seeds);
        all.map(Ipv4Addr::to_string).collect::<Vec<_>>().join(",")
    }

    /// Starts a node.
    pub(crate) fn run(&mut self, node: usize) {
        self.run_in("data", node, &[]);
    }

    /// Starts a node on a data directory, with more arguments.
    pub(crate) fn run_in(&mut self, data: &str, node: usize, more: &[&str]) {
        let (name, host) = (format!("n{}", node + 1), self.hosts[node].to_string());
        let seeds = self.seeds();
        let args = [
            &["node", "--id", &name, "--host", &host, "--data-dir", data][..],
            &["--seeds", &seeds, "--origin", &self.origin],
            &self.settings(),
            more,
        ]
        .concat();
        let start = Start {
            name: &name,
            dir: self.folder(),
            env: &self.env,
        };
        let process = self.gcache(&start, Some(self.hosts[node]), &args);
        self.nodes[node] = Some(process);
    }

    /// [`Grown::set`] as arguments.
    fn settings(&self) -> Vec<&str> {
        let set = self.set.iter();
        set.flat_map(|set| ["--set", set.as_str()]).collect()
    }

    /// Starts one more frontend.
    pub(crate) fn front(&mut self) {
        let number = self.frontends.len();
        let (name, at) = (format!("f{}", number + 1), self.frontend_host(number));
        let (host, seeds) = (at.to_string(), self.seeds());
        let start = Start {
            name: &name,
            dir: self.folder(),
            env: &[],
        };
        let args = ["frontend", "--host", &host, "--seeds", &seeds];
        let args = [&args[..], &self.settings()].concat();
        let process = self.gcache(&start, Some(at), &args);
        self.frontends.push(process);
    }

    pub(crate) fn kill(&mut self, node: usize) {
        let mut process = self.nodes[node].take().expect("the test started it");
        process.kill();
    }

    fn frontend_host(&self, frontend: usize) -> Ipv4Addr {
        match &self.network {
            Some(network) => network.frontend(frontend),
            None => self.block.frontend(frontend),
        }
    }

    pub(crate) fn http(&self, frontend: usize) -> SocketAddr {
        (self.frontend_host(frontend), HTTP).into()
    }

    /// Asks a frontend for a key.
    pub(crate) async fn get(&self, frontend: usize, path: &str) -> Answer {
        get(self.http(frontend), path).await
    }

    /// What a frontend's readiness says.
    pub(crate) async fn readiness(&self, frontend: usize) -> Result<Answer, String> {
        let admin = (self.frontend_host(frontend), ADMIN).into();
        let answer = try_ask(admin, "GET", "/readyz?verbose").await;
        answer.map_err(|error| error.to_string())
    }

    pub(crate) async fn ready(&self, frontend: usize) {
        until(&format!("frontend {frontend} is ready"), async || {
            let answer = self.readiness(frontend).await?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer.text())
            }
        })
        .await;
    }

    /// Somebody who runs operators' commands against all seeds, whatever the test does meanwhile.
    pub(crate) fn operator(&self) -> Operator {
        Operator {
            seeds: self.seeds(),
            folder: self.folder().to_owned(),
        }
    }

    /// Runs an operator's command against all seeds.
    pub(crate) async fn operate(&self, args: &[&str]) -> Ended {
        self.operate_at(&self.seeds(), args).await
    }

    /// Runs an operator's command against these seeds.
    pub(crate) async fn operate_at(&self, seeds: &str, args: &[&str]) -> Ended {
        let start = Start {
            name: "command",
            dir: self.folder(),
            env: &[("GCACHE_SEEDS", seeds)],
        };
        self.gcache(&start, None, args).ended().await
    }

    /// The state that a node has itself applied, whoever leads.
    pub(crate) async fn applied(&self, node: usize) -> Result<State, String> {
        let target = Target {
            host: self.hosts[node].to_string(),
            port: crate::testkit::address::GRPC,
            from: std::net::Ipv4Addr::UNSPECIFIED.into(),
        };
        let shown = control::shown(&target, Duration::from_secs(5)).await;
        shown.map_err(|error| error.to_string())
    }

    /// Waits until a node has itself applied a state in which this group has this generation.
    pub(crate) async fn applies(&self, node: usize, group: &str, generation: u32) {
        until(
            &format!("node {node} has {group} at {generation}"),
            async || {
                let state = self.applied(node).await?;
                let mut groups = state.groups().filter(|known| *known.name == *group);
                let known = groups.next().map(|group| group.generation.0);
                if known == Some(generation) {
                    Ok(())
                } else {
                    Err(format!("{known:?} at epoch {}", state.epoch()))
                }
            },
        )
        .await;
    }

    /// Runs an operator's command that must succeed; what it prints as JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let ended = self.operate(&[args, &["--json"]].concat()).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).expect("it is JSON")
    }

    /// Waits until `nodes` members are up and own everything, somebody stands by for everything, and enough
    /// of them vote.
    pub(crate) async fn complete(&self, nodes: usize) -> Value {
        until(&format!("{nodes} members are complete"), async || {
            let ended = self.operate(&["cluster", "status", "--json"]).await;
            let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let owns = |member: &Value| member["partitions"].as_u64() > Some(0);
            let is_complete = members.len() == nodes
                && members
                    .iter()
                    .all(|member| member["status"] == "up" && owns(member))
                && members
                    .iter()
                    .filter(|member| member["role"] != "learner")
                    .count()
                    >= nodes.min(3)
                && status["quorum"] == true
                && (nodes == 1 || self.stood_by().await == PARTITIONS);
            if is_complete {
                Ok(status)
            } else {
                Err(format!("{}{}", ended.stdout, ended.stderr))
            }
        })
        .await
    }

    /// How many partitions have a standby: the last that a cluster which forms is given.
    async fn stood_by(&self) -> usize {
        let ended = self.operate(&["ring", "show", "--json"]).await;
        let ring: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        let members = ring["members"].as_array().cloned().unwrap_or_default();
        let stood_by = members
            .iter()
            .filter_map(|member| member["standby"].as_u64());
        stood_by.sum::<u64>() as usize
    }

    /// The index of the node that leads.
    pub(crate) async fn leader(&self) -> usize {
        let status = self.json(&["cluster", "status"]).await;
        let leader = status["leader"]
            .as_str()
            .expect("somebody leads")
            .to_owned();
        let number: usize = leader[1..].parse().expect("nodes are numbered");
        number - 1
    }
}
