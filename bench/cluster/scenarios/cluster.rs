//! The cluster: node and frontend processes on loopback addresses of their own, and what the nodes agree on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use gcache::ids::NodeId;
use gcache::rpc::control;
use gcache::rpc::pipeline::Target;
use gcache::topology::model::member::MemberStatus;
use gcache::topology::state::State;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::place::Place;
use crate::process::{GCACHE, Process};
use crate::watch::Watch;

/// Nodes that others are told of: so many may be away at once without anybody being lost.
const SEEDS: usize = 3;

/// How long one node may take to show its state.
const SHOW_PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks at whether it has converged: every node is asked for all that it knows of 4096 partitions,
/// which costs it a millisecond, in the very moments whose latency is measured.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long anything of a cluster may take to come about; reached only if it never does.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one HTTP request may take.
const REQUEST_MAX: Duration = Duration::from_secs(2);

/// How the processes of a cluster are started.
pub(crate) struct Plan<'a> {
    /// Where files go.
    pub(crate) folder: &'a Path,
    /// Where nodes load from.
    pub(crate) origin: String,
    /// The cache of each node.
    pub(crate) memory: String,
    /// Zones that nodes and frontends are dealt to in turn.
    pub(crate) zones: usize,
    /// `section.key=value`, at every node.
    pub(crate) settings: Vec<String>,
    /// Where they are.
    pub(crate) place: Place,
    /// A node whose directory is not the others', and which.
    pub(crate) own_data: Option<(usize, &'static str)>,
}

/// Processes that are killed when it is dropped.
pub(crate) struct Cluster<'a> {
    plan: Plan<'a>,
    watch: &'a Watch,
    runtime: &'a Runtime,
    /// By index; none that is not running or was told to leave.
    nodes: Vec<Option<Process>>,
    frontends: Vec<Process>,
    /// Whose processes are stopped: they are not asked.
    frozen: Vec<usize>,
    /// Who is out of the others' reach.
    cut: Vec<usize>,
}

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

impl<'a> Cluster<'a> {
    /// None of whose processes is started.
    pub(crate) fn new(plan: Plan<'a>, watch: &'a Watch, runtime: &'a Runtime) -> Self {
        Self {
            plan,
            watch,
            runtime,
            nodes: Vec::new(),
            frontends: Vec::new(),
            frozen: Vec::new(),
            cut: Vec::new(),
        }
    }

    fn seeds(&self) -> String {
        let seeds = (0..SEEDS).map(|node| self.plan.place.node(node).to_string());
        seeds.collect::<Vec<_>>().join(",")
    }

    fn zone(&self, index: usize) -> String {
        format!("zone-{}", index % self.plan.zones)
    }

    /// Starts the node with this index.
    pub(crate) fn start(&mut self, node: usize) -> anyhow::Result<()> {
        let at = self.plan.place.node(node);
        let (name, host, zone) = (name(node), at.to_string(), self.zone(node));
        let seeds = self.seeds();
        let own_data = self.plan.own_data.filter(|(whose, _)| *whose == node);
        let data = own_data.map_or("data", |(_, data)| data);
        let Plan { origin, memory, .. } = &self.plan;
        let mut command = self.plan.place.command(at, GCACHE);
        command.args(["node", "--id", &name, "--host", &host, "--zone", &zone]);
        command.args(["--seeds", &seeds, "--data-dir", data]);
        command.args(["--origin", origin, "--memory", memory]);
        let settings = self.plan.settings.iter();
        command.args(settings.flat_map(|setting| ["--set", setting.as_str()]));
        let process = Process::start(self.plan.folder, &name, command)?;
        if self.nodes.len() <= node {
            self.nodes.resize_with(node + 1, || None);
        }
        self.nodes[node] = Some(process);
        Ok(())
    }

    /// Starts one more frontend.
    pub(crate) fn front(&mut self) -> anyhow::Result<()> {
        let index = self.frontends.len();
        let (name, zone) = (format!("f{}", index + 1), self.zone(index));
        let at = self.plan.place.frontend(index);
        let mut command = self.plan.place.command(at, GCACHE);
        command.args(["frontend", "--host", &at.to_string(), "--zone", &zone]);
        command.args(["--seeds", &self.seeds()]);
        let process = Process::start(self.plan.folder, &name, command)?;
        self.frontends.push(process);
        Ok(())
    }

    /// The indices of the nodes that run, frozen ones included.
    pub(crate) fn running(&self) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        let running = nodes.filter(|(_, process)| process.is_some());
        running.map(|(node, _)| node).collect()
    }

    /// The indices of the nodes that run and are not frozen.
    pub(crate) fn answering(&self) -> Vec<usize> {
        let mut nodes = self.running();
        nodes.retain(|node| !self.frozen.contains(node));
        nodes
    }

    /// Those that should be members: neither frozen nor out of the others' reach.
    fn belonging(&self) -> Vec<usize> {
        let mut nodes = self.answering();
        nodes.retain(|node| !self.cut.contains(node));
        nodes
    }

    /// Where everything is.
    pub(crate) fn place(&self) -> &Place {
        &self.plan.place
    }

    /// The process of a node that runs.
    pub(crate) fn process_id(&self, node: usize) -> anyhow::Result<u32> {
        let process = self.nodes[node].as_ref().context("the node runs")?;
        Ok(process.id())
    }

    /// Says which nodes are out of the others' reach.
    pub(crate) fn part(&mut self, cut: &[usize]) {
        self.cut = cut.to_vec();
    }

    /// Whether a node has ended by itself: then it is none of those that run any more.
    pub(crate) fn has_ended(&mut self, node: usize) -> bool {
        let has_ended = self.nodes[node]
            .as_mut()
            .is_none_or(|node| !node.is_running());
        if has_ended {
            self.nodes[node] = None;
        }
        has_ended
    }

    /// The processes that run, by what they are.
    pub(crate) fn ids(&self) -> (Vec<u32>, Vec<u32>) {
        let nodes = self.nodes.iter().flatten().map(Process::id).collect();
        (nodes, self.frontends.iter().map(Process::id).collect())
    }

    /// Asks a node to stop; its process, which has not ended yet.
    pub(crate) fn ask_to_stop(&mut self, node: usize) -> anyhow::Result<Process> {
        let process = self.nodes[node].take().context("the node runs")?;
        process.signal(Signal::SIGTERM)?;
        Ok(process)
    }

    /// Kills nodes, all at once.
    pub(crate) fn kill(&mut self, nodes: &[usize]) -> anyhow::Result<()> {
        let nodes: Vec<_> = nodes.iter().filter_map(|&n| self.nodes[n].take()).collect();
        for process in &nodes {
            process.signal(Signal::SIGKILL)?;
        }
        Ok(())
    }

    /// Stops a node's process, which keeps all its connections and answers nothing.
    pub(crate) fn freeze(&mut self, node: usize) -> anyhow::Result<()> {
        let process = self.nodes[node].as_ref().context("the node runs")?;
        process.signal(Signal::SIGSTOP)?;
        self.frozen.push(node);
        Ok(())
    }

    /// Lets it go on.
    pub(crate) fn thaw(&mut self, node: usize) -> anyhow::Result<()> {
        let process = self.nodes[node].as_ref().context("the node runs")?;
        process.signal(Signal::SIGCONT)?;
        self.frozen.retain(|frozen| *frozen != node);
        Ok(())
    }

    /// The newest state that any node shows.
    pub(crate) fn state(&self) -> anyhow::Result<State> {
        let mut states = Vec::new();
        for node in self.answering() {
            let (host, port) = self.plan.place.grpc(node);
            let from = self.plan.place.asker();
            let target = Target { host, port, from };
            let shown = control::shown(&target, SHOW_PATIENCE);
            states.extend(self.runtime.block_on(shown));
        }
        let newest = states.into_iter().max_by_key(State::epoch);
        newest.context("no node shows a state")
    }

    /// That every node that runs and can be reached is a member that owns its share, nobody else owns anything,
    /// and nothing moves; else what is lacking.
    pub(crate) fn converged(&self) -> anyhow::Result<State> {
        let state = self.state()?;
        let running: Vec<_> = self.belonging().into_iter().map(name).collect();
        let up = |id: NodeId| {
            let record = state.member(id)?;
            let is_up =
                record.status == MemberStatus::Up && running.contains(&(*record.name).into());
            is_up.then_some(&record.name)
        };
        let members = state.members().filter(|record| up(record.id).is_some());
        let members: Vec<_> = members.map(|record| record.id).collect();
        if members.len() != running.len() {
            bail!("{} of {} nodes are up", members.len(), running.len());
        }
        let fair = state.table().iter().len() / members.len();
        for id in &members {
            let owned = state.table().owned_by(*id);
            if owned != fair && owned != fair + 1 {
                bail!("node {id} owns {owned} partitions, its share is {fair}");
            }
        }
        for (partition, assignment) in state.table().iter() {
            let is_owned = assignment.owner.is_some_and(|owner| up(owner).is_some());
            if !is_owned || assignment.move_to.is_some() {
                bail!("partition {} has not settled", partition.0);
            }
        }
        Ok(state)
    }

    /// Waits for [`Cluster::converged`].
    pub(crate) fn converge(&self) -> anyhow::Result<State> {
        let claim = "the cluster converges";
        self.watch
            .until_every(LOOK_EVERY, claim, PATIENCE, || self.converged())
    }

    /// The index of the node that leads.
    pub(crate) fn leader(&self) -> anyhow::Result<usize> {
        self.watch.until("somebody leads", PATIENCE, || {
            let status: Value =
                serde_json::from_str(&self.operate(&["cluster", "status", "--json"])?)?;
            let name = status["leader"].as_str().context("nobody leads")?;
            Ok(name[1..].parse::<usize>()? - 1)
        })
    }

    /// Runs an operator's command that must succeed.
    pub(crate) fn operate(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(GCACHE)
            .args(args)
            .env("GCACHE_SEEDS", self.seeds())
            .current_dir(self.plan.folder)
            .output()?;
        if !output.status.success() {
            bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until every frontend answers for the first key.
    pub(crate) fn serves(&self) -> anyhow::Result<()> {
        for frontend in 0..self.frontends.len() {
            self.watch.until("a frontend serves", PATIENCE, || {
                let answer = get(self.plan.place.http(frontend), "/v1/rows/1")?;
                match answer.starts_with("HTTP/1.1 200") {
                    true => Ok(()),
                    false => bail!("{answer}"),
                }
            })?;
        }
        Ok(())
    }
}

/// The whole answer to a GET.
pub(crate) fn get(server: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, REQUEST_MAX)?;
    stream.set_read_timeout(Some(REQUEST_MAX))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
