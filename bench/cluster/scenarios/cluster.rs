//! The cluster that something happens to, who of it is to belong to it at the moment, and whether it has converged.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use anyhow::{Context, bail};
use gcache::topology::state::State;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::testkit::asked::is_shared_out;
use crate::testkit::http::ask_blocking;
use crate::testkit::process::{Bond, Process};
use crate::testkit::processes::{Processes, name};
use crate::watch::Watch;

/// Nodes that others are told of: so many may be away at once without anybody being lost.
pub(super) const SEEDS: usize = 3;

/// All processes end with the thread that carries a scenario out, and with this program however that ends.
pub(super) const BOND: Bond = Bond::Thread(Signal::SIGKILL);

/// How long one node may take to show its state.
const SHOW_PATIENCE: Duration = Duration::from_millis(500);

/// Between two looks at whether it has converged: every node is asked for all that it knows of 4096 partitions,
/// which costs it a millisecond, in the very moments whose latency is measured.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long anything of a cluster may take to come about; reached only if it never does.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one HTTP request may take.
pub(super) const REQUEST_MAX: Duration = Duration::from_secs(2);

/// Its processes, by index: none that is not running or was told to leave.
pub(super) struct Cluster<'a> {
    processes: Processes,
    watch: &'a Watch,
    runtime: &'a Runtime,
    /// Whose processes are stopped: they are not asked.
    frozen: Vec<usize>,
    /// Who is out of the others' reach.
    cut: Vec<usize>,
}

impl Deref for Cluster<'_> {
    type Target = Processes;

    fn deref(&self) -> &Processes {
        &self.processes
    }
}

impl DerefMut for Cluster<'_> {
    fn deref_mut(&mut self) -> &mut Processes {
        &mut self.processes
    }
}

impl<'a> Cluster<'a> {
    /// None of whose processes is started.
    pub(super) fn new(processes: Processes, watch: &'a Watch, runtime: &'a Runtime) -> Self {
        Self {
            processes,
            watch,
            runtime,
            frozen: Vec::new(),
            cut: Vec::new(),
        }
    }

    /// Starts the node with this index, which may be the next.
    pub(super) fn start(&mut self, node: usize) {
        if node == self.nodes.len() {
            self.another();
        }
        self.run(node);
    }

    /// The indices of the nodes that run and are not frozen.
    pub(super) fn answering(&self) -> Vec<usize> {
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

    /// Says which nodes are out of the others' reach.
    pub(super) fn part(&mut self, cut: &[usize]) {
        self.cut = cut.to_vec();
    }

    /// Whether a node has ended by itself: then it is none of those that run any more.
    pub(super) fn has_ended(&mut self, node: usize) -> bool {
        let has_ended = self.nodes[node]
            .as_mut()
            .is_none_or(|node| node.status().is_some());
        if has_ended {
            self.nodes[node] = None;
        }
        has_ended
    }

    /// The processes that run, by what they are.
    pub(super) fn ids(&self) -> (Vec<u32>, Vec<u32>) {
        let nodes = self.nodes.iter().flatten().map(Process::id).collect();
        (nodes, self.frontends.iter().map(Process::id).collect())
    }

    /// Asks a node to stop; its process, which has not ended yet.
    pub(super) fn ask_to_stop(&mut self, node: usize) -> anyhow::Result<Process> {
        let process = self.nodes[node].take().context("the node runs")?;
        process.signal(Signal::SIGTERM);
        Ok(process)
    }

    /// Stops a node's process, which keeps all its connections and answers nothing.
    pub(super) fn freeze(&mut self, node: usize) {
        self.process(node).signal(Signal::SIGSTOP);
        self.frozen.push(node);
    }

    /// Lets it go on.
    pub(super) fn thaw(&mut self, node: usize) {
        self.process(node).signal(Signal::SIGCONT);
        self.frozen.retain(|frozen| *frozen != node);
    }

    /// The newest state that any node shows.
    pub(super) fn state(&self) -> anyhow::Result<State> {
        let mut states = Vec::new();
        for node in self.answering() {
            let shown = self.applied(node, SHOW_PATIENCE);
            states.extend(self.runtime.block_on(shown));
        }
        let newest = states.into_iter().max_by_key(State::epoch);
        newest.context("no node shows a state")
    }

    /// That every node that runs and can be reached is a member that owns its share, nobody else owns anything,
    /// and nothing moves; else what is lacking.
    pub(super) fn converged(&self) -> anyhow::Result<State> {
        let state = self.state()?;
        let names: Vec<_> = self.belonging().into_iter().map(name).collect();
        is_shared_out(&state, &names).map_err(anyhow::Error::msg)?;
        Ok(state)
    }

    /// Waits for [`Cluster::converged`].
    pub(super) fn converge(&self) -> anyhow::Result<State> {
        let claim = "the cluster converges";
        self.watch
            .until_every(LOOK_EVERY, claim, PATIENCE, || self.converged())
    }

    /// The index of the node that leads.
    pub(super) fn leader(&self) -> anyhow::Result<usize> {
        self.watch.until("somebody leads", PATIENCE, || {
            let status: Value =
                serde_json::from_str(&self.must(&["cluster", "status", "--json"])?)?;
            let name = status["leader"].as_str().context("nobody leads")?;
            Ok(name[1..].parse::<usize>()? - 1)
        })
    }

    /// Runs an operator's command that must succeed.
    pub(super) fn must(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.operator().run(args)?;
        if !output.status.success() {
            bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until every frontend answers for the first key.
    pub(super) fn serves(&self) -> anyhow::Result<()> {
        for http in self.all_http() {
            self.watch.until("a frontend serves", PATIENCE, || {
                match ask_blocking(http, "GET", "/v1/rows/1", REQUEST_MAX)? {
                    (200, _) => Ok(()),
                    (_, answer) => bail!("{answer}"),
                }
            })?;
        }
        Ok(())
    }
}
