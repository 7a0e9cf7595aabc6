//! What the nodes of a cluster say of it over their control service, asked from here and not by a command: a look
//! costs no process. Nothing here waits: each question is one look, which who waits repeats.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::select_ok;
use gcache::ids::NodeId;
use gcache::rpc::control;
use gcache::rpc::control_proto::{StatusReply, WatchRequest};
use gcache::rpc::pipeline::Target;
use gcache::topology::model::member::MemberStatus;
use gcache::topology::state::State;

use super::address::GRPC;
use super::processes::Processes;

impl Processes {
    /// The gRPC service of a node.
    pub(crate) fn target(&self, node: usize) -> Target {
        Target {
            host: self.hosts[node].to_string(),
            port: GRPC,
            from: Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// What a node says of itself.
    pub(crate) async fn status(
        &self,
        node: usize,
        patience: Duration,
    ) -> Result<StatusReply, String> {
        let answer = control::status(&self.target(node), patience).await;
        answer.map_err(|error| error.to_string())
    }

    /// The state that a node has itself applied, whoever leads, and however old.
    pub(crate) async fn applied(&self, node: usize, patience: Duration) -> Result<State, String> {
        let shown = control::shown(&self.target(node), patience).await;
        shown.map_err(|error| error.to_string())
    }

    /// The state as the leader has it, which a quorum confirms: as new as everything that was acknowledged. Nodes that
    /// do not answer cost nothing if the leader does.
    pub(crate) async fn agreed(&self, patience: Duration) -> Result<State, String> {
        let running = self.running();
        if running.is_empty() {
            return Err("no node runs".into());
        }
        let targets = running.into_iter().map(|node| self.target(node));
        let asked = targets.map(|target| Box::pin(agreed(target, patience)));
        select_ok(asked).await.map(|(state, _)| state)
    }
}

/// The state that the node at `target` shows as the leader.
async fn agreed(target: Target, patience: Duration) -> Result<State, String> {
    let request = WatchRequest {
        epoch: 0,
        linearizable: true,
    };
    let opened = control::watch(&target, request, patience).await;
    let mut topologies = opened.map_err(|error| error.to_string())?;
    let first = tokio::time::timeout(patience, topologies.message()).await;
    let first = first.map_err(|error| error.to_string())?;
    let first = first.map_err(|status| status.message().to_owned())?;
    let first = first.ok_or("it ends the stream")?;
    if first.redirect.is_some() {
        return Err(format!("{target} does not lead"));
    }
    State::decode(&first.state).map_err(|error| error.to_string())
}

/// Whether all of these and nobody else own the partitions, each its share, and nothing moves; else what is lacking.
pub(crate) fn is_shared_out(state: &State, names: &[String]) -> Result<(), String> {
    let is_up = |id: NodeId| {
        let record = state.member(id);
        record.is_some_and(|record| {
            record.status == MemberStatus::Up && names.iter().any(|name| *name == *record.name)
        })
    };
    let members = state.members().map(|record| record.id);
    let members: Vec<_> = members.filter(|id| is_up(*id)).collect();
    if members.len() != names.len() {
        return Err(format!("{} of {} nodes are up", members.len(), names.len()));
    }
    let fair = state.table().iter().len() / members.len();
    for id in &members {
        let owned = state.table().owned_by(*id);
        if owned != fair && owned != fair + 1 {
            return Err(format!(
                "node {id} owns {owned} partitions, its share is {fair}"
            ));
        }
    }
    for (partition, assignment) in state.table().iter() {
        if !assignment.owner.is_some_and(is_up) || assignment.move_to.is_some() {
            return Err(format!("partition {} has not settled", partition.0));
        }
    }
    Ok(())
}
