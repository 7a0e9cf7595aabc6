//! A cluster that serves: started ready-made, with its groups applied and everything at rest.
//!
//! Its nodes find each other by seeds, as everywhere; the first is told to found the cluster, so that
//! nobody waits until enough of them are there.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use gcache::rpc::control;
use gcache::topology::model::member::MemberStatus;
use gcache::topology::state::State;

use crate::harness::layout::Layout;
use crate::harness::metrics;
use crate::harness::setup::Setup;
use crate::testkit::http::{get, try_ask};
use crate::testkit::place::Place;
use crate::testkit::process::Process;
use crate::testkit::processes::Processes;
use crate::testkit::wait::{until, until_every};

/// How long a node may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at what all nodes have agreed on, which costs each of them milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// Voters that a cluster has once it is large enough for so many.
const VOTERS: usize = 3;

/// The processes, and who owned what when all of them were last at rest.
pub(crate) struct Cluster {
    processes: Processes,
    pub(crate) layout: Layout,
}

impl Deref for Cluster {
    type Target = Processes;

    fn deref(&self) -> &Processes {
        &self.processes
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Processes {
        &mut self.processes
    }
}

impl Cluster {
    /// Starts all processes and applies the groups; returns once the nodes are one cluster, act for what
    /// they own, and every frontend reaches every node and goes by the latest topology.
    pub(crate) async fn start(setup: Setup) -> Self {
        let mut processes = Processes::new(Place::loopback(), setup.nodes);
        processes.set.clone_from(&setup.set);
        processes.write("groups.toml", &setup.groups);
        processes.write("rows.jsonl", &setup.all_rows());
        for node in 0..setup.nodes {
            let founds: &[&str] = if node == 0 { &["--bootstrap"] } else { &[] };
            processes.run_with(node, founds);
        }
        for _ in 0..setup.frontends {
            processes.front();
        }
        let mut cluster = Self {
            processes,
            layout: Layout::none(),
        };
        for node in 0..setup.nodes {
            cluster.ready_node(node).await;
        }
        // Once all is shared out: the command returns when everybody acts for what it owns.
        cluster.complete().await;
        // Unchecked: some tests want groups that the origin lacks.
        cluster
            .must(&["group", "apply", "groups.toml", "--unchecked"])
            .await;
        // Now with the groups.
        cluster.complete().await;
        for frontend in 0..setup.frontends {
            let admin = cluster.frontend_admin(frontend);
            ready(&mut cluster.frontends[frontend], admin).await;
        }
        cluster.reached(setup.nodes).await;
        cluster
    }

    /// Runs an operator's command, which must succeed.
    pub(crate) async fn must(&self, args: &[&str]) {
        let ended = self.operate(args).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    }

    /// Waits until every node is up, owns its share and acts for it, and every frontend knows; then the
    /// layout is what it is now.
    pub(crate) async fn complete(&mut self) {
        let state = until_every(
            LOOK_EVERY,
            "the nodes are one cluster at rest",
            async || {
                let state = self.whole().await?;
                self.settled(&state).await?;
                Ok::<_, String>(state)
            },
        )
        .await;
        self.layout = Layout::of(&state);
    }

    /// The state that all nodes show, if it is one and there is nothing to be done in it.
    async fn whole(&self) -> Result<State, String> {
        let nodes = self.nodes.len();
        let mut states = Vec::new();
        for node in 0..nodes {
            states.push(self.applied(node, PATIENCE).await?);
        }
        let state = states.pop().ok_or("there are no nodes")?;
        let is_up = state
            .members()
            .all(|member| member.status == MemberStatus::Up);
        let voters = if nodes < VOTERS { 1 } else { VOTERS };
        let quorum = state.quorum();
        let is_whole = is_up
            && state.members().len() == nodes
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
        for node in 0..self.nodes.len() {
            let target = self.target(node);
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

    /// Starts a node that was killed, at its old address.
    pub(crate) async fn restart_node(&mut self, node: usize) {
        self.run(node);
        self.ready_node(node).await;
    }

    async fn ready_node(&mut self, node: usize) {
        let admin = self.node_admin(node);
        let process = self.nodes[node].as_mut().expect("it was started");
        ready(process, admin).await;
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
        for node in 0..self.nodes.len() {
            sum += metrics::sum(self.node_admin(node), name, labels).await;
        }
        sum
    }

    /// How many keys all living nodes have asked of the origin.
    pub(crate) async fn loaded_keys(&self) -> f64 {
        self.node_sum("gcache_origin_loaded_keys_total", &[]).await
    }

    /// How many of them were of this group.
    pub(crate) async fn loaded_in(&self, group: &str) -> f64 {
        let label = format!("group=\"{group}\"");
        self.node_sum("gcache_origin_loaded_keys_total", &[&label])
            .await
    }

    /// How many calls of this group all living nodes have had.
    pub(crate) async fn calls_in(&self, group: &str) -> f64 {
        let label = format!("group=\"{group}\"");
        self.node_sum("gcache_node_calls_total", &[&label]).await
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
