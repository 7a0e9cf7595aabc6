//! `gcache ring explain`: which members answer for a key, and what they hold of it.
//!
//! The ring comes from the leader where there is one, else from the newest topology that any node
//! shows; what is cached is asked of the owner and the standby themselves. Nothing is loaded.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::args::Reach;
use super::cluster_client::{Cluster, target};
use super::failure::Failure;
use super::print::{plain, print_json, table, write};
use crate::hash::{KeyHash, MAX_KEY_BYTES};
use crate::ids::{GroupId, NodeId};
use crate::rpc::explain;
use crate::rpc::proto::{
    CachedEntry, EntryKind, EntryPhase, EntryStanding, ExplainReply, ExplainRequest,
};
use crate::topology::model::group::Group;
use crate::topology::model::member::MemberRecord;
use crate::topology::state::State;

/// How long to look for a leader: longer than an election takes.
const LEADER_PATIENCE: Duration = Duration::from_secs(4);

/// How long one node may take to connect, and again to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is printed of a key in lines, in this order.
const FIELDS: [&str; 10] = [
    "group",
    "key",
    "group_id",
    "generation",
    "partition",
    "epoch",
    "tenure",
    "inherits",
    "moves_to",
    "confirmed",
];

/// What is printed of each member that was asked, in this order.
const MEMBER_FIELDS: [&str; 18] = [
    "name",
    "zone",
    "status",
    "host",
    "reachable",
    "epoch",
    "cached",
    "kind",
    "phase",
    "age_ms",
    "ttl_left_ms",
    "bytes",
    "tenure",
    "generation",
    "stamps",
    "how",
    "error",
    "note",
];

pub(super) async fn explain(group: &str, key: &OsStr, reach: &Reach) -> Result<(), Failure> {
    let key = key.as_bytes();
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Failure::Usage(format!(
            "a key has 1 to {MAX_KEY_BYTES} bytes, this one has {}",
            key.len()
        )));
    }
    let cluster = Cluster::of(reach)?;
    let (state, is_confirmed) = state(&cluster).await?;
    let group = named(&state, group)?;
    let answer = as_json(&state, group, key, is_confirmed).await;
    if reach.json {
        return print_json(&answer);
    }
    let mut text = String::new();
    for field in FIELDS {
        let _infallible = writeln!(text, "{field:<11} {}", plain(&answer[field]));
    }
    text.push('\n');
    text.push_str(&side_by_side(&answer["members"]));
    write(text.as_bytes(), false)
}

/// The newest state that can be had, and whether it is as new as all that was acknowledged.
async fn state(cluster: &Cluster) -> Result<(State, bool), Failure> {
    let confirmed = timeout(LEADER_PATIENCE, cluster.state()).await;
    if let Ok(Ok(state)) = confirmed {
        return Ok((state, true));
    }
    Ok((cluster.newest().await?, false))
}

fn named<'a>(state: &'a State, name: &str) -> Result<&'a Group, Failure> {
    let group = state.groups().find(|group| *group.name == *name);
    group.ok_or_else(|| {
        let known: Vec<_> = state.groups().map(|group| &*group.name).collect();
        Failure::Failed(match known.is_empty() {
            true => format!("there is no group {name:?}, nor any other: see gcache group apply"),
            false => format!("there is no group {name:?}; there is {}", known.join(", ")),
        })
    })
}

/// Says everything about a key, the answers of its owner and its standby included.
async fn as_json(state: &State, group: &Group, key: &[u8], is_confirmed: bool) -> Value {
    let partition = KeyHash::of(group.id, key).partition();
    let assignment = state.table()[partition];
    let asked = [("owner", assignment.owner), ("standby", assignment.standby)];
    let members = asked.into_iter().filter_map(|(role, id)| {
        let record = state.member(id?)?;
        Some(ask(role, record, group.id, key))
    });
    let name = |id: NodeId| state.member(id).map(|member| member.name.to_string());
    json!({
        "group": &*group.name,
        "key": String::from_utf8_lossy(key),
        "group_id": group.id.0,
        "generation": group.generation.0,
        "partition": partition.0,
        "epoch": state.epoch().0,
        "tenure": assignment.tenure.0,
        "inherits": assignment.inherits.map(|tenure| tenure.0),
        "moves_to": assignment.move_to.and_then(|moving| name(moving.to)),
        "confirmed": is_confirmed,
        "members": join_all(members).await,
    })
}

/// Asks a member what it holds of a key.
async fn ask(role: &str, record: &MemberRecord, group: GroupId, key: &[u8]) -> Value {
    let request = ExplainRequest {
        group: group.0,
        key: Bytes::copy_from_slice(key),
    };
    let place = target(&record.host, record.grpc_port);
    let answer = explain::explain(&place, request, PATIENCE).await;
    let (answer, note) = match answer {
        Ok(answer) if answer.node != record.id.0 => {
            let note = format!("another node answers there, with id {}", answer.node);
            (None, Some(note))
        }
        Ok(answer) if !answer.has_group => {
            let note = "it does not know the group at its epoch".to_owned();
            (Some(answer), Some(note))
        }
        Ok(answer) => (Some(answer), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut row = json!({
        "role": role,
        "name": &*record.name,
        "id": record.id.0,
        "zone": record.zone.as_str(),
        "status": record.status.to_string(),
        "host": &*record.host,
        "reachable": answer.is_some(),
        "epoch": answer.as_ref().map(|answer| answer.epoch),
        "cached": answer.as_ref().map(|answer| answer.entry.is_some()),
        "note": note,
    });
    for (field, value) in entry(answer.as_ref()) {
        row[field] = value;
    }
    row
}

/// Returns what a member holds, in the fields that are there in any case.
fn entry(answer: Option<&ExplainReply>) -> [(&'static str, Value); 10] {
    let held = answer.and_then(|answer| answer.entry.as_ref());
    let of = |show: fn(&CachedEntry) -> Value| held.map_or(Value::Null, show);
    [
        ("kind", of(|held| kind(held.kind()).into())),
        ("phase", of(|held| phase(held.phase()).into())),
        ("age_ms", of(|held| held.age_ms.into())),
        ("ttl_left_ms", of(|held| held.ttl_ms.into())),
        ("bytes", of(|held| held.value_bytes.into())),
        ("tenure", of(|held| held.tenure.into())),
        ("generation", of(|held| held.generation.into())),
        ("stamps", of(|held| stamps(held.standing()).into())),
        ("how", of(|held| how(held).into())),
        (
            "error",
            of(|held| match held.kind() {
                EntryKind::Error => held.error.clone().into(),
                EntryKind::Value | EntryKind::Absent => Value::Null,
            }),
        ),
    ]
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Value => "value",
        EntryKind::Absent => "absent",
        EntryKind::Error => "error",
    }
}

fn phase(phase: EntryPhase) -> &'static str {
    match phase {
        EntryPhase::Fresh => "fresh",
        EntryPhase::Stale => "stale",
        EntryPhase::StaleOnError => "stale-on-error",
        EntryPhase::Ended => "ended",
    }
}

/// Whether the stamps let the member answer with it.
fn stamps(standing: EntryStanding) -> &'static str {
    match standing {
        EntryStanding::Valid => "valid",
        EntryStanding::Void => "void",
        EntryStanding::Unused => "unused",
    }
}

fn how(held: &CachedEntry) -> &'static str {
    match (held.is_copy, held.is_standby) {
        (true, _) => "a copy of the owner's",
        (false, true) => "kept as standby",
        (false, false) => "loaded as owner",
    }
}

/// A line for each field, a column for each member: there are many fields and at most two members.
fn side_by_side(members: &Value) -> String {
    let members = members.as_array().map(Vec::as_slice).unwrap_or_default();
    let roles = members.iter().filter_map(|member| member["role"].as_str());
    let columns: Vec<&str> = ["member"].into_iter().chain(roles).collect();
    let row = |field: &&str| {
        let mut row = json!({ "member": field });
        for member in members {
            row[member["role"].as_str().unwrap_or_default()] = member[*field].clone();
        }
        row
    };
    let rows: Vec<Value> = MEMBER_FIELDS.iter().map(row).collect();
    table(&columns, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_side_by_side() {
        let members = json!([
            { "role": "owner", "name": "n1", "cached": true, "age_ms": 7 },
            { "role": "standby", "name": "n2", "cached": false, "age_ms": null },
        ]);
        let text = side_by_side(&members);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["MEMBER", "OWNER", "STANDBY"]);
        assert!(lines.contains(&vec!["name", "n1", "n2"]), "{text}");
        assert!(lines.contains(&vec!["cached", "true", "false"]), "{text}");
        assert!(lines.contains(&vec!["age_ms", "7", "-"]), "{text}");
        assert_eq!(lines.len(), 1 + MEMBER_FIELDS.len());
    }

    #[test]
    fn a_member_without_an_answer_has_every_field_and_no_entry() {
        assert!(entry(None).iter().all(|(_, value)| value.is_null()));
        let held = CachedEntry {
            kind: EntryKind::Absent.into(),
            phase: EntryPhase::StaleOnError.into(),
            standing: EntryStanding::Void.into(),
            is_standby: true,
            ttl_ms: -5,
            ..CachedEntry::default()
        };
        let answer = ExplainReply {
            entry: Some(held),
            ..ExplainReply::default()
        };
        let shown: Value = entry(Some(&answer))
            .into_iter()
            .map(|(f, v)| (f.to_owned(), v))
            .collect();
        let expected = json!({
            "kind": "absent", "phase": "stale-on-error", "age_ms": 0, "ttl_left_ms": -5, "bytes": 0,
            "tenure": 0, "generation": 0, "stamps": "void", "how": "kept as standby", "error": null,
        });
        assert_eq!(shown, expected);
    }
}
