//! The operators' commands on a cluster and its ring.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{ClusterCommand, Reach, RingCommand};
use super::cluster_client::{Cluster, Look, standing, target};
use super::explain::explain;
use super::failure::Failure;
use super::finalize::finalize;
use super::pause::set_paused;
use super::print::{plain, print_json, table, write};
use crate::ids::NodeId;
use crate::rpc::control_proto::StatusReply;
use crate::topology::losses::{Losses, losses};
use crate::topology::model::member::MemberRecord;
use crate::topology::state::State;

pub(super) async fn cluster(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status { reach } => status(&reach).await,
        ClusterCommand::Transfer { name, reach } => transfer(&name, &reach).await,
        ClusterCommand::Finalize { dry_run, reach } => finalize(dry_run, &reach).await,
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
    let look = cluster.look().await?;
    let state = &look.state;
    let asked = state
        .members()
        .map(async |member| standing(&target(&member.host, member.grpc_port)).await);
    let standings = futures_util::future::join_all(asked).await;
    let known = standings.iter().flatten().filter(|said| said.leader != 0);
    // The latest term has the leader, if there is one.
    let led = known.max_by_key(|said| said.term);
    let led = led.filter(|_| look.old.is_none());
    let leader = led.map(|said| NodeId(said.leader));
    let answers = |id: NodeId| {
        let all = state.members().zip(&standings);
        let own = all.filter(|(member, _)| member.id == id);
        own.into_iter().any(|(_, said)| said.is_some())
    };
    let losses = losses(state, answers);
    let term = standings.iter().flatten().map(|said| said.term).max();
    let answer = json!({
        "cluster_id": state.cluster().to_string(),
        "epoch": state.epoch().0,
        "term": term,
        "leader": leader.and_then(|id| state.member(id)).map(|member| &*member.name),
        "quorum": look.old.is_none(),
        "paused": state.is_paused(),
        "may_be_old": look.json(),
        "may_lose": { "voters": losses.voters, "lines": losses.lines },
        "members": members(state, leader, &standings),
    });
    let shown = match reach.json {
        true => print_json(&answer),
        false => write(drawn(&look, &answer, &losses).as_bytes(), false),
    };
    shown?;
    match look.old {
        None => Ok(()),
        Some(old) => Err(Failure::Failed(old.to_string())),
    }
}

fn drawn(look: &Look, answer: &Value, losses: &Losses) -> String {
    let mut text = look.mark();
    for field in ["cluster_id", "epoch", "term", "leader", "quorum", "paused"] {
        let _infallible = writeln!(text, "{field:<11} {}", plain(&answer[field]));
    }
    for (line, name) in losses
        .lines
        .iter()
        .zip(["may lose"].into_iter().chain(std::iter::repeat("")))
    {
        let _infallible = writeln!(text, "{name:<11} {line}");
    }
    text.push('\n');
    let columns = [
        "id",
        "name",
        "role",
        "status",
        "answers",
        "zone",
        "host",
        "partitions",
        "lag",
    ];
    let members = answer["members"].as_array().cloned().unwrap_or_default();
    text.push_str(&table(&columns, &members));
    text
}

fn members(state: &State, leader: Option<NodeId>, standings: &[Option<StatusReply>]) -> Vec<Value> {
    // Of the nodes that answer, one has what is committed.
    let commit = standings.iter().flatten().map(|said| said.commit).max();
    let member = |(member, said): (&MemberRecord, &Option<StatusReply>)| {
        let role = match leader == Some(member.id) {
            true => "leader",
            false => state.quorum().role_of(member.id),
        };
        let lag = said.as_ref().zip(commit);
        let lag = lag.map(|(said, commit)| commit.saturating_sub(said.applied));
        json!({
            "name": &*member.name,
            "id": member.id.0,
            "role": role,
            "status": member.status.to_string(),
            "answers": said.is_some(),
            "zone": member.zone.as_str(),
            "host": &*member.host,
            "partitions": state.table().owned_by(member.id),
            "lag": lag,
        })
    };
    state.members().zip(standings).map(member).collect()
}
