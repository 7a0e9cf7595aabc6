//! From started nodes to a cluster that serves: what `dev` waits for before it says that it is ready.
//!
//! It asks the nodes over gRPC what anybody may ask them, and commits groups as an operator does. Every
//! wait here has the deadline of its caller.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::time::sleep;

use crate::admin::Probe;
use crate::ids::Epoch;
use crate::rpc::control::{commit, reach, settle, status, watch};
use crate::rpc::control_proto::WatchRequest;
use crate::rpc::control_proto::commit_reply::Outcome;
use crate::rpc::pipeline::Target;
use crate::topology::commands::{Command, SetGroups};
use crate::topology::model::group::GroupSpec;
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// How long a node of this very process may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Voters that there are to be where there are members enough.
const VOTERS: usize = 3;

/// What the revision of the groups is for.
const NOTE: &str = "gcache dev";

/// The nodes that are to be a cluster, all of which belong to this process.
pub(super) struct Forming<'a> {
    /// Where they answer, in the order of their numbers.
    pub(super) nodes: Vec<Target>,
    pub(super) data_dir: &'a Path,
}

/// What one node shows.
struct Shown {
    state: State,
    is_isolated: bool,
}

impl Forming<'_> {
    /// Waits until the first node leads a cluster of its own.
    pub(super) async fn founded(&self) -> anyhow::Result<()> {
        loop {
            if let Some(first) = self.nodes.first()
                && let Ok(status) = status(first, PATIENCE).await
            {
                if !status.ended.is_empty() {
                    bail!("node-1: {}", status.ended);
                }
                if status.leader != 0 {
                    return Ok(());
                }
            }
            sleep(POLL).await;
        }
    }

    /// Waits until the nodes are one cluster: all up, at their addresses, with a lease and their share.
    pub(super) async fn formed(&self) -> anyhow::Result<()> {
        while let Err(lack) = self.look().await {
            if let Lack::ForEver(why) = lack {
                bail!(why);
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Returns what is in the way of being ready, for a message.
    pub(super) async fn lacks(&self) -> String {
        match self.look().await {
            Ok(_) => "its frontend does not serve the cluster".to_owned(),
            Err(Lack::Yet(why) | Lack::ForEver(why)) => why,
        }
    }

    /// The state that all nodes show, if there is nothing to wait for.
    async fn look(&self) -> Result<State, Lack> {
        let asked = self.nodes.iter().map(shown);
        let shown = futures_util::future::join_all(asked).await;
        let mut all = Vec::new();
        for (number, shown) in (1..).zip(shown) {
            match shown {
                Ok(shown) => all.push(shown),
                Err(why) => return Err(self.silent(number, &why).await),
            }
        }
        let newest = all.iter().map(|shown| &shown.state);
        let newest = newest.max_by_key(|state| state.epoch());
        let newest = newest.ok_or_else(|| Lack::Yet("there are no nodes".into()))?;
        self.check_members(newest)?;
        for (number, shown) in (1..).zip(&all) {
            if shown.is_isolated || shown.state.epoch() != newest.epoch() {
                return Err(Lack::Yet(format!("{} is behind", name(number))));
            }
        }
        check_shares(newest, self.nodes.len())?;
        Ok(newest.clone())
    }

    /// Says why a node shows nothing.
    async fn silent(&self, number: u16, why: &str) -> Lack {
        let node = &self.nodes[usize::from(number - 1)];
        match status(node, PATIENCE).await {
            Ok(status) if !status.ended.is_empty() => {
                Lack::ForEver(format!("{}: {}", name(number), status.ended))
            }
            _ => Lack::Yet(format!(
                "{}: {why}; {} may be in use by another process",
                name(number),
                self.data_dir.display()
            )),
        }
    }

    /// Whether every node is up, and where it is now; and that none is missing here.
    fn check_members(&self, state: &State) -> Result<(), Lack> {
        for (number, node) in (1..).zip(&self.nodes) {
            let name = name(number);
            let member = state.members().find(|member| *member.name == *name);
            let is_here = |port| port == node.port;
            match member {
                Some(member) if !is_here(member.grpc_port) => {
                    return Err(Lack::Yet(format!("{name} has not said where it is")));
                }
                Some(member) if member.status == MemberStatus::Up => {}
                Some(member) => return Err(Lack::Yet(format!("{name} is {}", member.status))),
                None => return Err(Lack::Yet(format!("{name} is no member yet"))),
            }
        }
        let numbers = state
            .members()
            .filter_map(|member| member.name.strip_prefix("node-")?.parse::<usize>().ok());
        match numbers.max() {
            Some(most) if most > self.nodes.len() => Err(Lack::ForEver(format!(
                "the cluster in {} has {most} nodes: give --nodes {most}",
                self.data_dir.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Makes the groups what `wanted` says, as one revision; others stay.
    pub(super) async fn apply(
        &self,
        wanted: &[(String, GroupSpec)],
        at_unix_ms: u64,
    ) -> anyhow::Result<()> {
        loop {
            let Ok(state) = self.look().await else {
                sleep(POLL).await;
                continue;
            };
            let upserts = missing(&state, wanted);
            if upserts.is_empty() {
                return Ok(());
            }
            let command = Command::SetGroups(SetGroups {
                expected: state.revision(),
                upserts,
                removed: Vec::new(),
                at_unix_ms,
                note: NOTE.to_owned(),
            });
            let command = command.encode();
            for node in &self.nodes {
                let Ok(reply) = commit(node, command.clone(), PATIENCE).await else {
                    continue;
                };
                match reply.outcome {
                    Some(Outcome::Committed(_)) => break,
                    Some(Outcome::Refused(why)) => {
                        // An earlier attempt, whose answer did not come, may have been first.
                        let now = self.look().await.ok();
                        if now.is_some_and(|now| now.revision() == state.revision()) {
                            bail!("the groups are refused: {why}");
                        }
                        break;
                    }
                    // Another leads; or it is unknown, and the next look shows it.
                    Some(Outcome::Redirect(_) | Outcome::Unknown(_)) | None => {}
                }
            }
            sleep(POLL).await;
        }
    }

    /// Waits until all nodes act for what they own, and the frontend goes by the latest topology.
    pub(super) async fn served(&self, ready: &Probe) -> anyhow::Result<()> {
        loop {
            if let Ok(state) = self.look().await
                && self.is_settled(state.epoch()).await
                && self.is_followed(state.epoch()).await
                && ready().is_ready()
            {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    async fn is_settled(&self, epoch: Epoch) -> bool {
        for node in &self.nodes {
            let reply = settle(node, epoch, PATIENCE).await;
            if reply.is_ok_and(|reply| reply.redirect.is_none() && reply.is_settled) {
                return true;
            }
        }
        false
    }

    async fn is_followed(&self, epoch: Epoch) -> bool {
        let asked = self.nodes.iter().map(|node| reach(node, epoch, PATIENCE));
        let answers = futures_util::future::join_all(asked).await;
        let mut answers = answers.iter().flatten();
        answers.any(|answer| answer.reached > 0)
    }
}

/// The name of the node with this number.
pub(super) fn name(number: u16) -> String {
    format!("node-{number}")
}

/// Why there is no cluster to be used.
enum Lack {
    /// It may come about.
    Yet(String),
    /// It will not.
    ForEver(String),
}

/// The groups that are not as they are wanted.
fn missing(state: &State, wanted: &[(String, GroupSpec)]) -> Vec<(Arc<str>, GroupSpec)> {
    let is_there = |name: &str, spec: &GroupSpec| {
        let mut groups = state.groups();
        groups.any(|group| *group.name == *name && group.spec == *spec)
    };
    let missing = wanted.iter().filter(|(name, spec)| !is_there(name, spec));
    missing
        .map(|(name, spec)| (name.as_str().into(), spec.clone()))
        .collect()
}

/// Whether enough members vote and every member owns what it should.
fn check_shares(state: &State, nodes: usize) -> Result<(), Lack> {
    let quorum = state.quorum();
    let voters = if nodes < VOTERS { 1 } else { VOTERS };
    if quorum.is_joint() || quorum.voters.len() < voters {
        let now = quorum.voters.len();
        return Err(Lack::Yet(format!("{now} nodes vote, of {voters}")));
    }
    match state.plan_assign() {
        Some(_) => Err(Lack::Yet("the partitions are not shared out".into())),
        None => Ok(()),
    }
}

/// Asks a node what it shows by itself.
async fn shown(node: &Target) -> Result<Shown, String> {
    let request = WatchRequest {
        epoch: 0,
        linearizable: false,
    };
    let opened = watch(node, request, PATIENCE).await;
    let mut topologies = opened.map_err(|error| error.to_string())?;
    let first = tokio::time::timeout(PATIENCE, topologies.message()).await;
    let first = first.map_err(|_| "it sends nothing".to_owned())?;
    let first = first.map_err(|status| status.message().to_owned())?;
    let first = first.ok_or("it ends the stream")?;
    Ok(Shown {
        state: State::decode(&first.state).map_err(|error| error.to_string())?,
        is_isolated: first.is_isolated,
    })
}
