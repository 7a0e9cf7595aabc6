//! `cluster members` and `cluster remove`: the members, and the end of one.

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::args::Reach;
use super::cluster_client::Cluster;
use super::failure::Failure;
use super::print::{print_json, table, write};
use crate::ids::NodeId;
use crate::topology::model::member::{MemberRecord, Tombstone};
use crate::topology::state::State;

/// The arguments of `cluster remove`.
#[derive(Debug, ClapArgs)]
pub(super) struct Remove {
    /// The member's name, or its id
    member: String,
    #[command(flatten)]
    reach: Reach,
}

/// Prints everything that is known of every member, from the leader's state.
pub(super) async fn members(reach: &Reach) -> Result<(), Failure> {
    let state = Cluster::of(reach)?.state().await?;
    let members: Vec<_> = state.members().map(|record| row(&state, record)).collect();
    if reach.json {
        let tombstones: Vec<_> = state.tombstones().iter().map(grave).collect();
        return print_json(&json!({
            "cluster_id": state.cluster().to_string(),
            "epoch": state.epoch().0,
            "members": members,
            "tombstones": tombstones,
        }));
    }
    let columns = [
        "id",
        "name",
        "status",
        "role",
        "zone",
        "weight",
        "host",
        "raft_port",
        "grpc_port",
        "admin_port",
        "incarnation",
        "command_version",
        "replaced_by",
    ];
    write(table(&columns, &members).as_bytes(), false)
}

fn row(state: &State, record: &MemberRecord) -> Value {
    json!({
        "id": record.id.0,
        "name": &*record.name,
        "status": record.status.to_string(),
        "role": state.quorum().role_of(record.id),
        "zone": record.zone.as_str(),
        "weight": record.weight,
        "host": &*record.host,
        "raft_port": record.raft_port,
        "grpc_port": record.grpc_port,
        "admin_port": record.admin_port,
        "incarnation": record.incarnation.0,
        "command_version": record.version,
        "replaced_by": record.replaced_by.map(|by| by.0),
    })
}

fn grave(tombstone: &Tombstone) -> Value {
    json!({
        "id": tombstone.id.0,
        "name": &*tombstone.name,
        "incarnation": tombstone.incarnation.0,
    })
}

/// Removes a member whose node is gone, for ever.
pub(super) async fn remove(args: &Remove) -> Result<(), Failure> {
    let Remove { member, reach } = args;
    let cluster = Cluster::of(reach)?;
    let state = cluster.state().await.map_err(with_way_out)?;
    let id = named(&state, member).map_err(Failure::Failed)?;
    let removed = cluster.remove(id).await.map_err(with_way_out)?;
    if reach.json {
        return print_json(&json!({
            "id": id.0,
            "was_gone": removed.was_gone,
            "done": removed.done,
            "epoch": removed.epoch,
        }));
    }
    let mut text = String::new();
    for done in &removed.done {
        text.push_str(&format!("{done}\n"));
    }
    text.push_str(&match removed.was_gone {
        true => format!("{member} is gone already\n"),
        false => format!("{member} is gone for ever\n"),
    });
    write(text.as_bytes(), false)
}

/// Adds what helps where there is no quorum: a cluster that is to lose a member may have lost too many.
fn with_way_out(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(why) if why.starts_with("no quorum") => Failure::Failed(format!(
            "{why}; members are removed by a majority of the voters: start enough of them, or if they are gone \
             for good, use gcache cluster recover"
        )),
        other => other,
    }
}

/// The id of the member, or of the one that was removed, that `text` names: by its name, else by its id.
/// Of a name that several had, it is that of the one that has it now.
fn named(state: &State, text: &str) -> Result<NodeId, String> {
    let of_name = || state.members().filter(|record| *record.name == *text);
    if let Some(holder) = of_name().find(|record| record.replaced_by.is_none()) {
        return Ok(holder.id);
    }
    let mut replaced = of_name();
    if let Some(record) = replaced.next() {
        return Ok(record.id);
    }
    if let Ok(id) = text.parse().map(NodeId)
        && (state.member(id).is_some() || state.is_tombstone(id))
    {
        return Ok(id);
    }
    let graves = state.tombstones().iter().rev();
    let mut graves = graves.filter(|tombstone| *tombstone.name == *text);
    if let Some(grave) = graves.next() {
        return Ok(grave.id);
    }
    let known: Vec<_> = state
        .members()
        .map(|record| format!("{} ({})", record.name, record.id))
        .collect();
    Err(format!(
        "there is no member {text:?}: there are {}",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
    use crate::topology::commands::{Agreed, Command};
    use crate::topology::fixtures;
    use crate::topology::state::Founding;

    #[test]
    fn a_member_is_named_by_its_name_or_its_id_also_when_it_is_gone() {
        let mut state = State::found(Founding {
            cluster: ClusterId(1),
            supersedes: Vec::new(),
            settings: Agreed::ours(),
            first: fixtures::named("n1"),
        });
        for name in ["n2", "n3", "1"] {
            state.apply(&Command::Join(fixtures::named(name))).unwrap();
        }
        let down = state.plan_fail_over(NodeId(2)).unwrap();
        state.apply(&down).unwrap();
        state.apply(&Command::Join(fixtures::named("n2"))).unwrap();
        state.apply(&Command::RemoveMember(NodeId(3))).unwrap();
        let ids = [
            ("n1", 1),
            // The one that has the name now, and the one that lost it.
            ("n2", 5),
            ("2", 2),
            ("n3", 3),
            ("3", 3),
            // A name before an id.
            ("1", 4),
        ];
        for (text, id) in ids {
            assert_eq!(named(&state, text), Ok(NodeId(id)), "{text}");
        }
        for unknown in ["n9", "9", "0", ""] {
            let reason = named(&state, unknown).unwrap_err();
            assert!(reason.contains("n1 (1), n2 (2), 1 (4), n2 (5)"), "{reason}");
        }
    }
}
