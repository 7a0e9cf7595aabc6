//! Changes of members: they join, start again, change their status and are removed. Pure.

use std::sync::Arc;

use super::epoch::bump;
use crate::ids::NodeId;
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{Agreed, Change, Joiner, Resume, SetStatus};
use crate::topology::model::member::{
    MAX_MEMBERS, MAX_WEIGHT, MemberRecord, MemberStatus, Tombstone,
};
use crate::topology::model::rules::{is_host, is_name};
use crate::topology::state::{KEPT_TOMBSTONES, State};

/// Checks whether a node's description of itself is valid.
pub(in crate::topology) fn check_joiner(joiner: &Joiner) -> Result<(), Refusal> {
    let name = "a name of 1 to 63 of a-z 0-9 . - with a letter or digit at both ends";
    let host = "an IP address or a DNS name";
    let port = "a port from 1 to 65535";
    let fields = [
        ("name", joiner.name.to_string(), is_name(&joiner.name), name),
        (
            "zone",
            joiner.zone.to_string(),
            is_name(joiner.zone.as_str()),
            name,
        ),
        ("host", joiner.host.to_string(), is_host(&joiner.host), host),
        (
            "raft_port",
            joiner.raft_port.to_string(),
            joiner.raft_port > 0,
            port,
        ),
        (
            "grpc_port",
            joiner.grpc_port.to_string(),
            joiner.grpc_port > 0,
            port,
        ),
    ];
    for (field, found, is_right, expects) in fields {
        if !is_right {
            return Err(Refusal::BadField {
                field,
                found,
                expects,
            });
        }
    }
    if !(1..=MAX_WEIGHT).contains(&joiner.weight) {
        return Err(Refusal::BadWeight(joiner.weight));
    }
    Ok(())
}

/// Checks whether a node has the settings of the cluster.
pub(in crate::topology) fn check_settings(ours: &Agreed, joiner: &Joiner) -> Result<(), Refusal> {
    let theirs = &joiner.settings;
    let number = |ours: u64, theirs: u64| (ours.to_string(), theirs.to_string());
    let settings = [
        ("hash", (ours.hash.to_string(), theirs.hash.to_string())),
        ("hash_seed", number(ours.hash_seed, theirs.hash_seed)),
        (
            "partitions",
            number(ours.partitions.into(), theirs.partitions.into()),
        ),
        (
            "protocol",
            number(ours.protocol.into(), theirs.protocol.into()),
        ),
    ];
    for (setting, (ours, theirs)) in settings {
        if ours != theirs {
            return Err(Refusal::SettingDiffers {
                setting,
                ours,
                theirs,
            });
        }
    }
    Ok(())
}

/// Checks whether a node may take part in this cluster at all.
fn check(state: &State, joiner: &Joiner) -> Result<(), Refusal> {
    check_joiner(joiner)?;
    check_settings(&state.settings, joiner)?;
    if joiner.version < state.version {
        return Err(Refusal::TooOld {
            ours: state.version,
            theirs: joiner.version,
        });
    }
    Ok(())
}

/// Gives a node an id. A member of the same name that is down loses its name to it.
pub(super) fn join(state: &mut State, joiner: &Joiner) -> Result<Change, Refusal> {
    check(state, joiner)?;
    let holder = holder(state, &joiner.name).map(|record| (record.id, record.clone()));
    if let Some((id, record)) = &holder {
        // This may be the same join again, because the first answer was lost. The node's address may have
        // changed since.
        let status = record.status;
        let is_same = joiner.nonce != 0
            && joiner.nonce == record.nonce
            && joiner.incarnation == record.incarnation;
        let again = joiner.record(*id, status);
        if is_same && again == *record {
            return Ok(Change::Joined(*id));
        }
        if is_same && status == MemberStatus::Joining {
            *state.record_mut(*id) = again;
            bump(state);
            return Ok(Change::Joined(*id));
        }
        if status != MemberStatus::Down {
            return Err(Refusal::NameTaken {
                name: joiner.name.clone(),
                holder: *id,
            });
        }
    }
    if state.members.len() >= MAX_MEMBERS {
        return Err(Refusal::TooManyMembers);
    }
    let id = state.next_node;
    if let Some((holder, _)) = holder {
        state.record_mut(holder).replaced_by = Some(id);
    }
    state.next_node = NodeId(id.0 + 1);
    state
        .members
        .insert(id, joiner.record(id, MemberStatus::Joining));
    bump(state);
    Ok(Change::Joined(id))
}

/// The member that has this name now.
fn holder<'a>(state: &'a State, name: &Arc<str>) -> Option<&'a MemberRecord> {
    state
        .members
        .values()
        .find(|record| record.replaced_by.is_none() && record.name == *name)
}

/// Records a member's new start with its new description. If it was down or leaving, it has to come up again.
pub(super) fn resume(state: &mut State, resume: &Resume) -> Result<Change, Refusal> {
    let Resume { id, ref node } = *resume;
    let record = state.known(id)?.clone();
    check(state, node)?;
    if let Some(by) = record.replaced_by {
        return Err(Refusal::Replaced { id, by });
    }
    if record.name != node.name {
        return Err(Refusal::Renamed {
            id,
            known: record.name,
            found: node.name.clone(),
        });
    }
    // The member keeps the nonce of its directory; the nonce in the command does not count.
    let status = match record.status {
        MemberStatus::Up => MemberStatus::Up,
        MemberStatus::Joining | MemberStatus::Leaving | MemberStatus::Down => MemberStatus::Joining,
    };
    let resumed = MemberRecord {
        nonce: record.nonce,
        ..node.record(id, status)
    };
    if node.incarnation <= record.incarnation {
        return Err(Refusal::OtherIncarnation {
            id,
            known: record.incarnation,
            found: node.incarnation,
        });
    }
    *state.record_mut(id) = resumed;
    Ok(bump(state))
}

/// Changes the status of a member.
pub(super) fn set_status(state: &mut State, set: &SetStatus) -> Result<Change, Refusal> {
    let SetStatus {
        id,
        status,
        incarnation,
    } = *set;
    let record = state.known_at(id, incarnation)?;
    if record.status == status {
        return Ok(Change::Nothing);
    }
    if status == MemberStatus::Joining {
        return Err(Refusal::CannotBeJoining);
    }
    if let Some(by) = record.replaced_by {
        return Err(Refusal::Replaced { id, by });
    }
    let record = state.record_mut(id);
    record.status = status;
    match status {
        MemberStatus::Leaving => record.has_left = true,
        MemberStatus::Up => record.has_left = false,
        MemberStatus::Joining | MemberStatus::Down => {}
    }
    Ok(bump(state))
}

/// Removes a member for ever.
pub(super) fn remove(state: &mut State, id: NodeId) -> Result<Change, Refusal> {
    let record = state.known(id)?;
    if state.quorum.contains(id) {
        return Err(Refusal::InQuorum(id));
    }
    let tombstone = Tombstone {
        id,
        name: record.name.clone(),
        incarnation: record.incarnation,
    };
    let count = |is_counted: fn(&crate::topology::Assignment, NodeId) -> bool| {
        let table = state.table.iter();
        table.filter(|(_, at)| is_counted(at, id)).count()
    };
    let owned = count(|at, id| at.owner == Some(id));
    let stood_by = count(|at, id| at.standby == Some(id));
    let moving = count(|at, id| at.move_to.is_some_and(|moving| moving.to == id));
    if owned + stood_by + moving > 0 {
        return Err(Refusal::HasPartitions {
            id,
            owned,
            stood_by,
            moving,
        });
    }
    state.members.remove(&id);
    state.tombstones.push(tombstone);
    let forgotten = state.tombstones.len().saturating_sub(KEPT_TOMBSTONES);
    state.tombstones.drain(..forgotten);
    Ok(bump(state))
}
