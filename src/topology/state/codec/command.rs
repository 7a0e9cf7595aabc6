//! Commands as messages. Pure.

use super::error::{DecodeError, bad, malformed};
use super::group::{spec, spec_to_wire};
use super::member::{joiner, joiner_to_wire, maybe_id, maybe_number, status, status_to_wire};
use super::pb;
use super::pb::command_envelope::Command as Wire;
use super::pb::reset_group::Group as WireGroup;
use crate::ids::{Epoch, GroupId, Incarnation, NodeId, Partition, Tenure};
use crate::topology::commands::{
    AbortRun, ActivateRun, Assign, Command, CopiesRun, FailOver, GroupRef, MoveRun, PrepareMoves,
    Resume, Run, SetGroups, SetStatus,
};

pub(super) fn to_wire(command: &Command) -> pb::CommandEnvelope {
    let wire = match command {
        Command::Join(node) => Wire::Join(joiner_to_wire(node)),
        Command::Resume(resume) => Wire::Resume(pb::Resume {
            id: resume.id.0,
            node: Some(joiner_to_wire(&resume.node)),
        }),
        Command::SetStatus(set) => Wire::SetStatus(pb::SetStatus {
            id: set.id.0,
            status: status_to_wire(set.status),
            incarnation: set.incarnation.0,
        }),
        Command::Assign(assign) => Wire::Assign(pb::Assign {
            expected_epoch: assign.expected.0,
            runs: assign.runs.iter().map(run_to_wire).collect(),
        }),
        Command::PrepareMoves(prepare) => Wire::PrepareMoves(pb::PrepareMoves {
            expected_epoch: prepare.expected.0,
            runs: prepare.runs.iter().map(move_run_to_wire).collect(),
        }),
        Command::ActivateMoves(runs) => Wire::ActivateMoves(pb::ActivateMoves {
            runs: runs.iter().map(activate_run_to_wire).collect(),
        }),
        Command::AbortMoves(runs) => Wire::AbortMoves(pb::AbortMoves {
            runs: runs.iter().map(abort_run_to_wire).collect(),
        }),
        Command::FailOver(fail_over) => Wire::FailOver(pb::FailOver {
            expected_epoch: fail_over.expected.0,
            id: fail_over.id.0,
            incarnation: fail_over.incarnation.0,
            runs: fail_over.runs.iter().map(run_to_wire).collect(),
        }),
        Command::SetGroups(set) => Wire::SetGroups(set_groups_to_wire(set)),
        Command::ResetGroup(group) => Wire::ResetGroup(pb::ResetGroup {
            group: Some(match group {
                GroupRef::Name(name) => WireGroup::Name(name.to_string()),
                GroupRef::Id(id) => WireGroup::Id(id.0),
            }),
        }),
        Command::RemoveMember(id) => Wire::RemoveMember(pb::RemoveMember { id: id.0 }),
        Command::SetPaused(is_paused) => Wire::SetPaused(pb::SetPaused {
            is_paused: *is_paused,
        }),
        Command::SetCopies(runs) => Wire::SetCopies(pb::SetCopies {
            runs: runs.iter().map(copies_run_to_wire).collect(),
        }),
        Command::Finalize(_) => Wire::Finalize(pb::Finalize {}),
    };
    pb::CommandEnvelope {
        version: command.version(),
        command: Some(wire),
    }
}

pub(super) fn from_wire(envelope: pb::CommandEnvelope) -> Result<Command, DecodeError> {
    let version = envelope.version;
    let wire = envelope
        .command
        .ok_or_else(|| malformed("no command that this executable knows"))?;
    Ok(match wire {
        Wire::Join(node) => Command::Join(joiner(node)?),
        Wire::Resume(resume) => Command::Resume(Resume {
            id: NodeId(resume.id),
            node: joiner(resume.node.ok_or_else(|| bad("node"))?)?,
        }),
        Wire::SetStatus(set) => Command::SetStatus(SetStatus {
            id: NodeId(set.id),
            status: status(set.status)?,
            incarnation: Incarnation(set.incarnation),
        }),
        Wire::Assign(assign) => Command::Assign(Assign {
            expected: Epoch(assign.expected_epoch),
            runs: all(assign.runs, run)?,
        }),
        Wire::PrepareMoves(prepare) => Command::PrepareMoves(PrepareMoves {
            expected: Epoch(prepare.expected_epoch),
            runs: all(prepare.runs, move_run)?,
        }),
        Wire::ActivateMoves(activate) => Command::ActivateMoves(all(activate.runs, activate_run)?),
        Wire::AbortMoves(abort) => Command::AbortMoves(all(abort.runs, abort_run)?),
        Wire::FailOver(fail_over) => Command::FailOver(FailOver {
            expected: Epoch(fail_over.expected_epoch),
            id: NodeId(fail_over.id),
            incarnation: Incarnation(fail_over.incarnation),
            runs: all(fail_over.runs, run)?,
        }),
        Wire::SetGroups(set) => Command::SetGroups(set_groups(set)?),
        Wire::ResetGroup(reset) => {
            Command::ResetGroup(match reset.group.ok_or_else(|| bad("group"))? {
                WireGroup::Name(name) => GroupRef::Name(name.into()),
                WireGroup::Id(id) => GroupRef::Id(GroupId(id)),
            })
        }
        Wire::RemoveMember(remove) => Command::RemoveMember(NodeId(remove.id)),
        Wire::SetPaused(set) => Command::SetPaused(set.is_paused),
        Wire::SetCopies(set) => Command::SetCopies(all(set.runs, copies_run)?),
        Wire::Finalize(pb::Finalize {}) => Command::Finalize(version),
    })
}

/// Reads all of `wires`, or returns the first error.
fn all<W, T>(
    wires: Vec<W>,
    read: impl Fn(W) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    wires.into_iter().map(read).collect()
}

/// The first partition of a run and its length. `apply` checks whether they exist.
fn span(first: u32, count: u32) -> Result<(Partition, u16), DecodeError> {
    let first = u16::try_from(first).map_err(|_| bad("partition"))?;
    let count = u16::try_from(count).map_err(|_| bad("partition"))?;
    Ok((Partition(first), count))
}

fn run_to_wire(run: &Run) -> pb::Run {
    pb::Run {
        first: run.first.0.into(),
        count: run.count.into(),
        owner: maybe_number(run.owner),
        standby: maybe_number(run.standby),
        is_inheriting: run.is_inheriting,
    }
}

fn run(wire: pb::Run) -> Result<Run, DecodeError> {
    let (first, count) = span(wire.first, wire.count)?;
    Ok(Run {
        first,
        count,
        owner: maybe_id(wire.owner),
        standby: maybe_id(wire.standby),
        is_inheriting: wire.is_inheriting,
    })
}

fn move_run_to_wire(run: &MoveRun) -> pb::MoveRun {
    pb::MoveRun {
        first: run.first.0.into(),
        count: run.count.into(),
        to: run.to.0,
    }
}

fn move_run(wire: pb::MoveRun) -> Result<MoveRun, DecodeError> {
    let (first, count) = span(wire.first, wire.count)?;
    let to = NodeId(wire.to);
    Ok(MoveRun { first, count, to })
}

fn activate_run_to_wire(run: &ActivateRun) -> pb::ActivateRun {
    pb::ActivateRun {
        first: run.first.0.into(),
        count: run.count.into(),
        tenure: run.tenure.0,
        standby: maybe_number(run.standby),
    }
}

fn activate_run(wire: pb::ActivateRun) -> Result<ActivateRun, DecodeError> {
    let (first, count) = span(wire.first, wire.count)?;
    Ok(ActivateRun {
        first,
        count,
        tenure: Tenure(wire.tenure),
        standby: maybe_id(wire.standby),
    })
}

fn abort_run_to_wire(run: &AbortRun) -> pb::AbortRun {
    pb::AbortRun {
        first: run.first.0.into(),
        count: run.count.into(),
        tenure: run.tenure.0,
    }
}

fn abort_run(wire: pb::AbortRun) -> Result<AbortRun, DecodeError> {
    let (first, count) = span(wire.first, wire.count)?;
    let tenure = Tenure(wire.tenure);
    Ok(AbortRun {
        first,
        count,
        tenure,
    })
}

fn copies_run_to_wire(run: &CopiesRun) -> pb::CopiesRun {
    pb::CopiesRun {
        first: run.first.0.into(),
        count: run.count.into(),
        since: run.since.0,
        are_kept: run.are_kept,
    }
}

fn copies_run(wire: pb::CopiesRun) -> Result<CopiesRun, DecodeError> {
    let (first, count) = span(wire.first, wire.count)?;
    Ok(CopiesRun {
        first,
        count,
        since: Epoch(wire.since),
        are_kept: wire.are_kept,
    })
}

fn set_groups_to_wire(set: &SetGroups) -> pb::SetGroups {
    let upserts = set.upserts.iter();
    pb::SetGroups {
        expected_revision: set.expected,
        upserts: upserts
            .map(|(name, spec)| spec_to_wire(name, spec))
            .collect(),
        removed: set.removed.iter().map(ToString::to_string).collect(),
        at_unix_ms: set.at_unix_ms,
        note: set.note.clone(),
    }
}

fn set_groups(wire: pb::SetGroups) -> Result<SetGroups, DecodeError> {
    Ok(SetGroups {
        expected: wire.expected_revision,
        upserts: all(wire.upserts, spec)?,
        removed: wire.removed.into_iter().map(Into::into).collect(),
        at_unix_ms: wire.at_unix_ms,
        note: wire.note,
    })
}
