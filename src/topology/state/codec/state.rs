//! The state as a message, and the checks of a state that was decoded. Pure.

use std::sync::Arc;

use super::error::{DecodeError, bad, malformed};
use super::group::{spec, spec_to_wire};
use super::member::{
    agreed, agreed_to_wire, quorum, quorum_to_wire, record, record_to_wire, tombstone,
    tombstone_to_wire,
};
use super::pb;
use super::table::{table, table_to_wire};
use crate::ids::{ClusterId, Epoch, Generation, GroupId, NodeId};
use crate::topology::model::group::{Group, GroupSpec};
use crate::topology::model::member::MemberStatus;
use crate::topology::state::apply::{MAX_NOTE_BYTES, check_set, check_spec};
use crate::topology::state::specs::{Pool, Specs};
use crate::topology::state::{KEPT_REVISIONS, KEPT_SUPERSEDED, KEPT_TOMBSTONES, Revision, State};

/// Counters of a state must be below this, so that none overflows in the life of any cluster.
const MAX_COUNTER: u64 = 1 << 62;

pub(super) fn to_wire(state: &State) -> pb::State {
    let mut pool = Pool::default();
    let mut revisions = Vec::new();
    for revision in &state.revisions {
        let places = revision.groups.iter();
        let places = places.map(|(name, spec)| pool.add(name, spec).0 as u32);
        revisions.push(pb::Revision {
            number: revision.number,
            at_unix_ms: revision.at_unix_ms,
            note: revision.note.to_string(),
            specs: places.collect(),
        });
    }
    let groups = state.groups.values().map(|group| pb::Group {
        id: group.id.0,
        generation: group.generation.0,
        copies_since: group.copies_since.0,
        spec: pool
            .place(&group.name, &group.spec)
            .expect("the latest revision has every group") as u32,
    });
    let groups = groups.collect();
    let bytes = |cluster: ClusterId| cluster.0.to_be_bytes().to_vec();
    pb::State {
        version: state.version,
        cluster: bytes(state.cluster),
        supersedes: state.supersedes.iter().copied().map(bytes).collect(),
        settings: Some(agreed_to_wire(&state.settings)),
        epoch: state.epoch.0,
        next_node: state.next_node.0,
        next_group: state.next_group.0,
        members: state.members.values().map(record_to_wire).collect(),
        tombstones: state.tombstones.iter().map(tombstone_to_wire).collect(),
        quorum: Some(quorum_to_wire(&state.quorum)),
        table: Some(table_to_wire(&state.table)),
        specs: pool
            .pairs()
            .iter()
            .map(|(name, spec)| spec_to_wire(name, spec))
            .collect(),
        groups,
        revisions,
        is_paused: state.is_paused,
    }
}

pub(super) fn from_wire(wire: pb::State) -> Result<State, DecodeError> {
    let specs = wire.specs.into_iter().map(spec);
    let specs = specs
        .map(|pair| pair.map(|(name, spec)| (name, Arc::new(spec))))
        .collect::<Result<Vec<_>, _>>()?;
    let members = wire.members.into_iter().map(record);
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let groups = wire.groups.iter().map(|wire| group(wire, &specs));
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    let revisions = wire.revisions.into_iter();
    Ok(State {
        version: wire.version,
        cluster: cluster(&wire.cluster)?,
        supersedes: wire
            .supersedes
            .iter()
            .map(|id| cluster(id))
            .collect::<Result<_, _>>()?,
        settings: agreed(wire.settings)?,
        epoch: Epoch(wire.epoch),
        next_node: NodeId(wire.next_node),
        next_group: GroupId(wire.next_group),
        members: members
            .into_iter()
            .map(|record| (record.id, record))
            .collect(),
        tombstones: wire.tombstones.into_iter().map(tombstone).collect(),
        quorum: quorum(wire.quorum)?,
        table: Arc::new(table(wire.table)?),
        groups: groups.into_iter().map(|group| (group.id, group)).collect(),
        revisions: revisions
            .map(|wire| revision(wire, &specs))
            .collect::<Result<_, _>>()?,
        is_paused: wire.is_paused,
    })
}

fn cluster(bytes: &[u8]) -> Result<ClusterId, DecodeError> {
    let bytes = bytes.try_into().map_err(|_| bad("cluster"))?;
    Ok(ClusterId(u128::from_be_bytes(bytes)))
}

type Pairs = [(Arc<str>, Arc<GroupSpec>)];

fn pair(pairs: &Pairs, place: u32) -> Result<&(Arc<str>, Arc<GroupSpec>), DecodeError> {
    let place = usize::try_from(place).ok();
    place
        .and_then(|place| pairs.get(place))
        .ok_or_else(|| bad("spec"))
}

fn group(wire: &pb::Group, pairs: &Pairs) -> Result<Group, DecodeError> {
    let (name, spec) = pair(pairs, wire.spec)?;
    Ok(Group {
        id: GroupId(wire.id),
        name: name.clone(),
        generation: Generation(wire.generation),
        copies_since: Epoch(wire.copies_since),
        spec: (**spec).clone(),
    })
}

fn revision(wire: pb::Revision, pairs: &Pairs) -> Result<Revision, DecodeError> {
    let specs = wire.specs.iter().map(|place| pair(pairs, *place).cloned());
    Ok(Revision {
        number: wire.number,
        at_unix_ms: wire.at_unix_ms,
        note: wire.note.into(),
        groups: Arc::new(specs.collect::<Result<Specs, _>>()?),
    })
}

/// Checks that commands can lead to this state.
pub(super) fn check(state: &State) -> Result<(), DecodeError> {
    let counters = [state.epoch.0, state.next_node.0, state.revision()];
    if state.epoch.0 == 0 || counters.into_iter().any(|counter| counter >= MAX_COUNTER) {
        return Err(bad("a counter"));
    }
    let is_given = |id: NodeId| id.0 > 0 && id < state.next_node;
    for record in state.members.values() {
        let is_right = record
            .replaced_by
            .is_none_or(|by| is_given(by) && by > record.id && record.status == MemberStatus::Down);
        if !is_given(record.id) || !is_right {
            return Err(bad("a member"));
        }
    }
    let is_grave = |id: NodeId| is_given(id) && !state.members.contains_key(&id);
    if !state
        .tombstones
        .iter()
        .all(|tombstone| is_grave(tombstone.id))
    {
        return Err(bad("a tombstone"));
    }
    if state.tombstones.len() > KEPT_TOMBSTONES || state.supersedes.len() > KEPT_SUPERSEDED {
        return Err(malformed(
            "there are too many tombstones or superseded clusters",
        ));
    }
    check_groups(state)?;
    state.view().map_err(malformed)?;
    Ok(())
}

/// Checks that the groups are those of the latest revision, and that all revisions are valid.
fn check_groups(state: &State) -> Result<(), DecodeError> {
    let numbers = state.revisions.iter().map(|revision| revision.number);
    if state.revisions.len() > KEPT_REVISIONS || !numbers.is_sorted_by(|a, b| a < b) {
        return Err(bad("a revision"));
    }
    for revision in &state.revisions {
        if revision.number == 0 || revision.note.len() > MAX_NOTE_BYTES {
            return Err(bad("a revision"));
        }
        check_set(&revision.groups).map_err(malformed)?;
        for (name, spec) in revision.groups.iter() {
            check_spec(name, spec).map_err(malformed)?;
        }
    }
    let latest = state.revisions.last().map(|revision| &*revision.groups);
    if latest.map_or(0, Specs::len) != state.groups.len() {
        return Err(bad("a group"));
    }
    for group in state.groups.values() {
        let spec = latest.and_then(|specs| specs.get(&group.name));
        let is_right = spec.is_some_and(|spec| **spec == group.spec);
        if !is_right || group.id.0 == 0 || group.id >= state.next_group {
            return Err(bad("a group"));
        }
    }
    Ok(())
}
