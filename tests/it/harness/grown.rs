//! A cluster that found itself: nodes and frontends that were given seeds and nothing else, whose groups an operator
//! applies.

use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use gcache::hash::PARTITIONS;
use gcache::topology::model::member::MemberStatus;
use gcache::topology::state::State;
use serde_json::Value;

use crate::harness::setup::Setup;
use crate::testkit::http::{Answer, get, try_ask};
use crate::testkit::network::Network;
use crate::testkit::place::Place;
use crate::testkit::processes::{Processes, Seeds};
use crate::testkit::wait::{until, until_every};

/// How long a node may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at what the nodes have agreed on, which costs who leads them milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// Voters that a cluster has once it is large enough for so many.
const VOTERS: usize = 3;

/// Its processes.
pub(crate) struct Grown(Processes);

impl Deref for Grown {
    type Target = Processes;

    fn deref(&self) -> &Processes {
        &self.0
    }
}

impl DerefMut for Grown {
    fn deref_mut(&mut self) -> &mut Processes {
        &mut self.0
    }
}

impl Grown {
    /// The files for this many nodes, none of which is started.
    pub(crate) fn new(nodes: usize) -> Self {
        Self::at(Place::loopback(), nodes)
    }

    /// The same, with one DNS name for the seeds. It has no address before [`Processes::resolve`].
    pub(crate) fn named(nodes: usize) -> Self {
        let mut grown = Self::new(nodes);
        grown.seeds = Seeds::Name("nodes.test");
        grown.resolve(&[]);
        grown
    }

    /// The same, where each process has a host of its own in a network that can be cut. The thread that
    /// calls it is at home there from now on, and so is what it starts.
    pub(crate) fn apart(nodes: usize, frontends: usize) -> Self {
        Self::at(Place::apart(nodes, frontends), nodes)
    }

    fn at(place: Place, nodes: usize) -> Self {
        let grown = Self(Processes::new(place, nodes));
        grown.write("rows.jsonl", &Setup::default().all_rows());
        grown
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

    /// The links of a cluster that was made [`apart`](Self::apart).
    pub(crate) fn network(&self) -> &Network {
        self.place.network().expect("it was made apart")
    }

    /// Where the node with this index is after a move.
    pub(crate) fn elsewhere(&self, node: usize) -> Ipv4Addr {
        self.place.moved(node)
    }

    /// Waits until a node's readiness says this.
    pub(crate) async fn tells(&self, node: usize, words: &str) {
        until(&format!("node {node} says {words:?}"), async || {
            let answer = try_ask(self.node_admin(node), "GET", "/readyz?verbose").await;
            let text = answer.map_err(|error| error.to_string())?.text();
            if text.contains(words) {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
    }

    /// Asks a frontend for a key.
    pub(crate) async fn get(&self, frontend: usize, path: &str) -> Answer {
        get(self.http(frontend), path).await
    }

    /// What a frontend's readiness says.
    pub(crate) async fn readiness(&self, frontend: usize) -> Result<Answer, String> {
        let answer = try_ask(self.frontend_admin(frontend), "GET", "/readyz?verbose").await;
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

    /// Waits until a node has itself applied a state in which this group has this generation.
    pub(crate) async fn applies(&self, node: usize, group: &str, generation: u32) {
        until(
            &format!("node {node} has {group} at {generation}"),
            async || {
                let state = self.applied(node, PATIENCE).await?;
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
    pub(crate) async fn complete(&self, nodes: usize) {
        let claim = format!("{nodes} members are complete");
        until_every(LOOK_EVERY, &claim, async || {
            let state = self.agreed(PATIENCE).await?;
            is_complete(&state, nodes)
                .then_some(())
                .ok_or_else(|| format!("{state:?}"))
        })
        .await;
    }

    /// The same; what an operator is told then.
    pub(crate) async fn completed(&self, nodes: usize) -> Value {
        self.complete(nodes).await;
        self.json(&["cluster", "status"]).await
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

fn is_complete(state: &State, nodes: usize) -> bool {
    let (table, quorum) = (state.table(), state.quorum());
    let is_well = |id| table.owned_by(id) > 0;
    let mut members = state.members();
    let voters = state.members().filter(|member| quorum.is_voter(member.id));
    // The last that a cluster which forms is given.
    let stood_by = table.iter().filter(|(_, it)| it.standby.is_some());
    state.members().len() == nodes
        && members.all(|member| member.status == MemberStatus::Up && is_well(member.id))
        && voters.count() >= nodes.min(VOTERS)
        && (nodes == 1 || stood_by.count() == PARTITIONS)
}
