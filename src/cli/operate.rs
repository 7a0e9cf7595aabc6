//! The operators' commands on a cluster and its ring.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{ClusterCommand, Reach, RingCommand};
use super::cluster_client::{Cluster, applied, target};
use super::explain::explain;
use super::failure::Failure;
use super::pause::set_paused;
use super::print::{plain, print_json, table, write};
use crate::ids::NodeId;
use crate::rpc::control_proto::{Member, StatusReply};
use crate::topology::state::State;

pub(super) async fn cluster(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status { reach } => status(&reach).await,
        ClusterCommand::Transfer { name, reach } => transfer(&name, &reach).await,
        ClusterCommand::Members(reach) => super::members::members(&reach).await,
        ClusterCommand::Remove(args) => super::members::remove(&args).await,
        ClusterCommand::Snapshot(args) => super::snapshot::snapshot(&args).await,
        ClusterCommand::Recover(args) => super::recover::recover(&args).await,
    }
}

pub(super) async fn ring(command: RingCommand) -> Result<(), Failure> {
    match command {
        RingCommand::Show { reach } => super::balance::show(&reach).await,
        RingCommand::Plan(args) => super::plan::plan(&args).await,
        RingCommand::Pause { reach } => set_paused(true, &reach).await,
        RingCommand::Resume { reach } => set_paused(false, &reach).await,
        RingCommand::Explain { group, key, reach } => explain(&group, &key, &reach).await,
    }
}

async fn transfer(name: &str, reach: &Reach) -> Result<(), Failure> {
    let cluster = Cluster::of(reach)?;
    let state = cluster.state().await?;
    let member = state.members().find(|member| *member.name == *name);
    let member = member.ok_or_else(|| Failure::Failed(format!("there is no member {name:?}")))?;
    cluster.transfer(member.id).await?;
    if reach.json {
        return print_json(&json!({ "leader": name }));
    }
    write(format!("{name} leads\n").as_bytes(), false)
}

async fn status(reach: &Reach) -> Result<(), Failure> {
    let cluster = Cluster::of(reach)?;
    let status = cluster.status().await?;
    // A state that was read after a quorum round shows that there is a quorum.
    let state = cluster.state().await.ok();
    let asked = status.members.iter().map(async |member| {
        let port = u16::try_from(member.grpc_port).unwrap_or_default();
        let applied = applied(&target(&member.host, port)).await?;
        Some(status.commit.saturating_sub(applied))
    });
    let lags = futures_util::future::join_all(asked).await;
    let leader = status
        .members
        .iter()
        .find(|member| member.id == status.leader);
    let answer = json!({
        "cluster_id": cluster_id(&status.cluster),
        "epoch": status.epoch,
        "term": status.term,
        "leader": leader.map(|member| &member.name),
        "quorum": state.is_some(),
        "paused": state.as_ref().map(State::is_paused),
        "members": members(&status, state.as_ref(), &lags),
    });
    if reach.json {
        return print_json(&answer);
    }
    let mut text = String::new();
    for field in ["cluster_id", "epoch", "term", "leader", "quorum", "paused"] {
        let _infallible = writeln!(text, "{field:<11} {}", plain(&answer[field]));
    }
    text.push('\n');
    let columns = [
        "id",
        "name",
        "role",
        "status",
        "zone",
        "host",
        "partitions",
        "lag",
    ];
    let members = answer["members"].as_array().cloned().unwrap_or_default();
    text.push_str(&table(&columns, &members));
    write(text.as_bytes(), false)
}

fn members(status: &StatusReply, state: Option<&State>, lags: &[Option<u64>]) -> Vec<Value> {
    let partitions = |id| state.map(|state| state.table().owned_by(NodeId(id)));
    let member = |(member, lag): (&Member, &Option<u64>)| {
        let role = match member.id == status.leader {
            true => "leader",
            false => &member.role,
        };
        json!({
            "name": member.name,
            "id": member.id,
            "role": role,
            "status": member.status,
            "zone": member.zone,
            "host": member.host,
            "partitions": partitions(member.id),
            "lag": lag,
        })
    };
    status.members.iter().zip(lags).map(member).collect()
}

fn cluster_id(bytes: &[u8]) -> Option<String> {
    let id = crate::rpc::control::from_wire(bytes)?;
    Some(crate::ids::ClusterId(id).to_string())
}
