//! Members, joiners and the quorum as messages. Pure.

use super::error::{DecodeError, bad};
use super::pb;
use crate::ids::{Incarnation, NodeId};
use crate::topology::commands::{Agreed, Joiner};
use crate::topology::model::member::{MemberRecord, MemberStatus, Tombstone, Zone};
use crate::topology::model::quorum::Quorum;

/// The id of a member; 0 is none.
pub(super) fn maybe_id(id: u64) -> Option<NodeId> {
    (id != 0).then_some(NodeId(id))
}

/// The number for an id; 0 for none.
pub(super) fn maybe_number(id: Option<NodeId>) -> u64 {
    id.map_or(0, |id| id.0)
}

fn port(number: u32) -> Result<u16, DecodeError> {
    u16::try_from(number).map_err(|_| bad("port"))
}

pub(super) fn agreed_to_wire(agreed: &Agreed) -> pb::Agreed {
    pb::Agreed {
        hash: agreed.hash.to_string(),
        hash_seed: agreed.hash_seed,
        partitions: agreed.partitions,
        protocol: agreed.protocol,
    }
}

pub(super) fn agreed(wire: Option<pb::Agreed>) -> Result<Agreed, DecodeError> {
    let wire = wire.ok_or_else(|| bad("settings"))?;
    Ok(Agreed {
        hash: wire.hash.into(),
        hash_seed: wire.hash_seed,
        partitions: wire.partitions,
        protocol: wire.protocol,
    })
}

pub(super) fn joiner_to_wire(joiner: &Joiner) -> pb::Joiner {
    pb::Joiner {
        name: joiner.name.to_string(),
        host: joiner.host.to_string(),
        raft_port: joiner.raft_port.into(),
        grpc_port: joiner.grpc_port.into(),
        admin_port: joiner.admin_port.into(),
        zone: joiner.zone.to_string(),
        weight: joiner.weight,
        incarnation: joiner.incarnation.0,
        version: joiner.version,
        settings: Some(agreed_to_wire(&joiner.settings)),
        nonce: joiner.nonce,
        leaves_on_term: joiner.leaves_on_term,
    }
}

pub(super) fn joiner(wire: pb::Joiner) -> Result<Joiner, DecodeError> {
    Ok(Joiner {
        name: wire.name.into(),
        host: wire.host.into(),
        raft_port: port(wire.raft_port)?,
        grpc_port: port(wire.grpc_port)?,
        admin_port: port(wire.admin_port)?,
        zone: Zone::new(wire.zone),
        weight: wire.weight,
        incarnation: Incarnation(wire.incarnation),
        version: wire.version,
        settings: agreed(wire.settings)?,
        nonce: wire.nonce,
        leaves_on_term: wire.leaves_on_term,
    })
}

pub(super) fn status_to_wire(status: MemberStatus) -> i32 {
    let wire = match status {
        MemberStatus::Joining => pb::MemberStatus::Joining,
        MemberStatus::Up => pb::MemberStatus::Up,
        MemberStatus::Leaving => pb::MemberStatus::Leaving,
        MemberStatus::Down => pb::MemberStatus::Down,
    };
    wire.into()
}

pub(super) fn status(wire: i32) -> Result<MemberStatus, DecodeError> {
    match pb::MemberStatus::try_from(wire) {
        Ok(pb::MemberStatus::Joining) => Ok(MemberStatus::Joining),
        Ok(pb::MemberStatus::Up) => Ok(MemberStatus::Up),
        Ok(pb::MemberStatus::Leaving) => Ok(MemberStatus::Leaving),
        Ok(pb::MemberStatus::Down) => Ok(MemberStatus::Down),
        Ok(pb::MemberStatus::Unspecified) | Err(_) => Err(bad("status")),
    }
}

pub(super) fn record_to_wire(record: &MemberRecord) -> pb::Member {
    pb::Member {
        id: record.id.0,
        name: record.name.to_string(),
        host: record.host.to_string(),
        raft_port: record.raft_port.into(),
        grpc_port: record.grpc_port.into(),
        admin_port: record.admin_port.into(),
        zone: record.zone.to_string(),
        weight: record.weight,
        incarnation: record.incarnation.0,
        version: record.version,
        nonce: record.nonce,
        leaves_on_term: record.leaves_on_term,
        has_left: record.has_left,
        status: status_to_wire(record.status),
        replaced_by: maybe_number(record.replaced_by),
    }
}

pub(super) fn record(wire: pb::Member) -> Result<MemberRecord, DecodeError> {
    Ok(MemberRecord {
        id: NodeId(wire.id),
        name: wire.name.into(),
        host: wire.host.into(),
        raft_port: port(wire.raft_port)?,
        grpc_port: port(wire.grpc_port)?,
        admin_port: port(wire.admin_port)?,
        zone: Zone::new(wire.zone),
        weight: wire.weight,
        incarnation: Incarnation(wire.incarnation),
        version: wire.version,
        nonce: wire.nonce,
        leaves_on_term: wire.leaves_on_term,
        has_left: wire.has_left,
        status: status(wire.status)?,
        replaced_by: maybe_id(wire.replaced_by),
    })
}

pub(super) fn tombstone_to_wire(tombstone: &Tombstone) -> pb::Tombstone {
    pb::Tombstone {
        id: tombstone.id.0,
        name: tombstone.name.to_string(),
        incarnation: tombstone.incarnation.0,
    }
}

pub(super) fn tombstone(wire: pb::Tombstone) -> Tombstone {
    Tombstone {
        id: NodeId(wire.id),
        name: wire.name.into(),
        incarnation: Incarnation(wire.incarnation),
    }
}

pub(super) fn quorum_to_wire(quorum: &Quorum) -> pb::Quorum {
    let Quorum {
        voters,
        outgoing,
        learners,
        learners_next,
    } = quorum;
    let [voters, outgoing, learners, learners_next] =
        [voters, outgoing, learners, learners_next].map(|ids| ids.iter().map(|id| id.0).collect());
    pb::Quorum {
        voters,
        outgoing,
        learners,
        learners_next,
    }
}

pub(super) fn quorum(wire: Option<pb::Quorum>) -> Result<Quorum, DecodeError> {
    let wire = wire.ok_or_else(|| bad("quorum"))?;
    let [voters, outgoing, learners, learners_next] = [
        wire.voters,
        wire.outgoing,
        wire.learners,
        wire.learners_next,
    ]
    .map(|ids| ids.into_iter().map(NodeId).collect());
    Ok(Quorum {
        voters,
        outgoing,
        learners,
        learners_next,
    })
}
