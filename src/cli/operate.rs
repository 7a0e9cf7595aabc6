//! The operators' commands: what a cluster is, and what its groups are to be.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Failure;
use super::args::{ClusterCommand, GroupCommand, GroupFile, Reach};
use super::commands::write;
use super::reach::{Cluster, applied, target};
use super::setup::groups_of;
use crate::ids::NodeId;
use crate::rpc::control_proto::{Member, StatusReply};
use crate::topology::command::{Command, GroupRef, SetGroups};
use crate::topology::group::{Group, GroupSpec};
use crate::topology::state::State;

pub(super) async fn cluster(command: ClusterCommand) -> Result<(), Failure> {
    let ClusterCommand::Status { reach } = command;
    status(&reach).await
}

pub(super) async fn group(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::Plan(args) => change(&args, false).await,
        GroupCommand::Apply(args) => change(&args, true).await,
        GroupCommand::List { reach } => list(&reach).await,
        GroupCommand::Reset { name, reach } => reset(&name, &reach).await,
    }
}

async fn status(reach: &Reach) -> Result<(), Failure> {
    let cluster = Cluster::of(reach)?;
    let status = cluster.status().await?;
    // Whoever can read after a quorum round has one.
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
    let told = json!({
        "cluster_id": cluster_id(&status.cluster),
        "epoch": status.epoch,
        "term": status.term,
        "leader": leader.map(|member| &member.name),
        "quorum": state.is_some(),
        "members": members(&status, state.as_ref(), &lags),
    });
    if reach.json {
        return print_json(&told);
    }
    let mut text = String::new();
    for field in ["cluster_id", "epoch", "term", "leader", "quorum"] {
        let _infallible = writeln!(text, "{field:<11} {}", plain(&told[field]));
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
    let members = told["members"].as_array().cloned().unwrap_or_default();
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

/// What a groups file would change.
struct Difference {
    upserts: Vec<(Arc<str>, GroupSpec)>,
    removed: Vec<Arc<str>>,
    told: Vec<Value>,
}

fn difference(state: &State, wanted: Vec<(String, GroupSpec)>, is_pruned: bool) -> Difference {
    let mut difference = Difference {
        upserts: Vec::new(),
        removed: Vec::new(),
        told: Vec::new(),
    };
    let named: BTreeSet<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
    for (name, spec) in wanted {
        let known = state.groups().find(|group| *group.name == *name);
        let change = match known {
            Some(group) if group.spec == spec => "same",
            Some(group) if group.spec.source == spec.source => "freshness",
            Some(_) => "statement",
            None => "new",
        };
        difference
            .told
            .push(json!({ "group": name, "change": change }));
        if change != "same" {
            difference.upserts.push((name.into(), spec));
        }
    }
    for group in state.groups().filter(|group| !named.contains(&*group.name)) {
        let change = if is_pruned { "removed" } else { "kept" };
        difference
            .told
            .push(json!({ "group": &*group.name, "change": change }));
        if is_pruned {
            difference.removed.push(group.name.clone());
        }
    }
    difference
}

async fn change(args: &GroupFile, is_applied: bool) -> Result<(), Failure> {
    let wanted = groups_of(&args.file)?;
    let cluster = Cluster::of(&args.reach)?;
    let state = cluster.state().await?;
    let difference = difference(&state, wanted, args.prune);
    let is_empty = difference.upserts.is_empty() && difference.removed.is_empty();
    let mut told = json!({
        "groups": difference.told,
        "revision": state.revision(),
        "epoch": state.epoch().0,
        "is_applied": false,
    });
    if is_applied && !is_empty {
        let command = Command::SetGroups(SetGroups {
            expected: state.revision(),
            upserts: difference.upserts,
            removed: difference.removed,
            at_unix_ms: unix_ms(),
            note: args.note.clone(),
        });
        let committed = cluster.commit(&command).await?;
        told["revision"] = json!(state.revision() + 1);
        told["epoch"] = json!(committed.epoch);
        told["is_applied"] = json!(true);
    }
    if args.reach.json {
        return print_json(&told);
    }
    let changes = told["groups"].as_array().cloned().unwrap_or_default();
    let mut text = table(&["change", "group"], &changes);
    let _infallible = match (is_empty, is_applied) {
        (true, _) => writeln!(text, "\nnothing to change"),
        (false, false) => writeln!(text, "\nnot applied"),
        (false, true) => writeln!(
            text,
            "\napplied as revision {}, epoch {}",
            told["revision"], told["epoch"]
        ),
    };
    write(text.as_bytes(), false)
}

/// The operator's time, which the revision keeps for people to read.
#[expect(
    clippy::disallowed_methods,
    reason = "people want to know the date of a revision; nothing is computed with it"
)]
fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, crate::clock::as_millis)
}

async fn list(reach: &Reach) -> Result<(), Failure> {
    let state = Cluster::of(reach)?.state().await?;
    let group = |group: &Group| {
        json!({
            "name": &*group.name,
            "id": group.id.0,
            "generation": group.generation.0,
            "ttl_ms": crate::clock::as_millis(group.spec.ttl),
            "content_type": group.spec.content_type,
        })
    };
    let groups: Vec<_> = state.groups().map(group).collect();
    if reach.json {
        return print_json(&json!({
            "revision": state.revision(),
            "epoch": state.epoch().0,
            "groups": groups,
        }));
    }
    let columns = ["name", "id", "generation", "ttl_ms", "content_type"];
    write(table(&columns, &groups).as_bytes(), false)
}

async fn reset(name: &str, reach: &Reach) -> Result<(), Failure> {
    let cluster = Cluster::of(reach)?;
    let command = Command::ResetGroup(GroupRef::Name(name.into()));
    let committed = cluster.commit(&command).await?;
    if reach.json {
        return print_json(&json!({ "group": name, "epoch": committed.epoch }));
    }
    let text = format!("{name} is void up to epoch {}\n", committed.epoch);
    write(text.as_bytes(), false)
}

fn print_json(value: &Value) -> Result<(), Failure> {
    write(format!("{value:#}\n").as_bytes(), false)
}

/// Rows as columns for people: as wide as the widest, with a headline.
fn table(columns: &[&str], rows: &[Value]) -> String {
    let cell = |row: &Value, column: &str| plain(&row[column]);
    let width = |column: &&str| {
        let widths = rows.iter().map(|row| cell(row, column).chars().count());
        widths.chain([column.len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let line = |cells: Vec<String>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let head = columns.iter().map(|column| column.to_uppercase());
    let mut text = line(head.collect());
    for row in rows {
        text.push_str(&line(
            columns.iter().map(|column| cell(row, column)).collect(),
        ));
    }
    text
}

/// A value without quotes; a dash for none.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
