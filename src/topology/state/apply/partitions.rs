//! Changes of owners and standbys: at once, by moves, or because a member failed. Pure.
//!
//! Tenures only grow: each new tenure is the epoch of the command that makes it, and every tenure in the
//! table is of an earlier epoch.

use std::sync::Arc;

use super::epoch::{bump, check_epoch, next_epoch, next_tenure};
use crate::hash::PARTITIONS;
use crate::ids::{NodeId, Partition, Tenure};
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{
    AbortRun, ActivateRun, Assign, Change, FailOver, PrepareMoves, Run,
};
use crate::topology::model::member::MemberStatus;
use crate::topology::model::partitions::{Assignment, PartitionTable, PendingMove};
use crate::topology::state::State;

/// Gives partitions other owners or standbys, at once.
pub(super) fn assign(state: &mut State, assign: &Assign) -> Result<Change, Refusal> {
    check_epoch(state, assign.expected)?;
    let table = assigned(state, &state.table, &assign.runs)?;
    Ok(take(state, table))
}

/// The table `before`, changed by these runs.
fn assigned(
    state: &State,
    before: &Arc<PartitionTable>,
    runs: &[Run],
) -> Result<Arc<PartitionTable>, Refusal> {
    let (tenure, wanted) = (next_tenure(state), state.has_copies());
    let mut table = before.clone();
    let mut named = Named::default();
    for run in runs {
        for partition in named.run(run.first, run.count)? {
            let was = before[partition];
            if let Some(PendingMove { to, .. }) = was.move_to {
                return Err(Refusal::Moving { partition, to });
            }
            let standby = run.standby;
            let assignment = if run.owner == was.owner {
                Assignment { standby, ..was }
            } else {
                Assignment {
                    owner: run.owner,
                    standby,
                    tenure,
                    since: next_epoch(state),
                    inherits: inherited(partition, &state.table[partition], run)?,
                    ..Assignment::default()
                }
            };
            let assignment = assignment.with_copies(&was, next_epoch(state), wanted);
            check(state, partition, &was, &assignment)?;
            set(&mut table, partition, assignment);
        }
    }
    Ok(table)
}

/// The earlier tenure whose entries the new owner of a partition may serve too.
fn inherited(partition: Partition, was: &Assignment, run: &Run) -> Result<Option<Tenure>, Refusal> {
    match run.owner.filter(|_| run.is_inheriting) {
        None => Ok(None),
        // Entries that a move has brought have the stamp of the move's tenure.
        Some(id) if was.move_to.is_some_and(|moving| moving.to == id) => {
            Ok(was.move_to.map(|moving| moving.tenure))
        }
        // Only a standby that kept copies has received every delete.
        Some(id) => {
            let stamp = was.copies.stamp().filter(|_| was.standby == Some(id));
            stamp
                .map(Some)
                .ok_or(Refusal::NothingToInherit { partition, id })
        }
    }
}

/// Checks whether a partition may be assigned like this. A member that is not up may keep its part as owner
/// or standby, but may not get a new one.
fn check(
    state: &State,
    partition: Partition,
    was: &Assignment,
    assignment: &Assignment,
) -> Result<(), Refusal> {
    match (assignment.owner, assignment.standby) {
        (None, Some(_)) => return Err(Refusal::NoOwner(partition)),
        (Some(id), Some(standby)) if id == standby => {
            return Err(Refusal::OwnStandby { partition, id });
        }
        _ => {}
    }
    let parts = [
        (assignment.owner, was.owner),
        (assignment.standby, was.standby),
    ];
    for (id, before) in parts {
        if let Some(id) = id.filter(|_| id != before) {
            check_up(state, partition, id)?;
        }
    }
    Ok(())
}

/// Checks whether a member may be given a partition.
fn check_up(state: &State, partition: Partition, id: NodeId) -> Result<(), Refusal> {
    match state.known(id)?.status {
        MemberStatus::Up => Ok(()),
        status => Err(Refusal::NotUp {
            partition,
            id,
            status,
        }),
    }
}

/// Begins to move partitions.
pub(super) fn prepare(state: &mut State, prepare: &PrepareMoves) -> Result<Change, Refusal> {
    check_epoch(state, prepare.expected)?;
    let tenure = next_tenure(state);
    let mut table = state.table.clone();
    let mut named = Named::default();
    for run in &prepare.runs {
        for partition in named.run(run.first, run.count)? {
            let was = state.table[partition];
            let to = run.to;
            check_up(state, partition, to)?;
            match (was.owner, was.move_to) {
                (_, Some(PendingMove { to, .. })) => {
                    return Err(Refusal::Moving { partition, to });
                }
                (None, _) => return Err(Refusal::NoOwner(partition)),
                (Some(owner), _) if owner == to => {
                    return Err(Refusal::OwnsAlready { partition, id: to });
                }
                _ => {}
            }
            let move_to = Some(PendingMove { to, tenure });
            set(&mut table, partition, Assignment { move_to, ..was });
        }
    }
    Ok(take(state, table))
}

/// Completes moves: their targets own, under the tenure that was prepared.
pub(super) fn activate(state: &mut State, runs: &[ActivateRun]) -> Result<Change, Refusal> {
    let mut table = state.table.clone();
    let wanted = state.has_copies();
    let mut named = Named::default();
    for run in runs {
        for partition in named.run(run.first, run.count)? {
            let was = state.table[partition];
            let to = moving(partition, &was, run.tenure)?;
            let assignment = Assignment {
                owner: Some(to),
                standby: run.standby,
                tenure: run.tenure,
                since: next_epoch(state),
                ..Assignment::default()
            };
            let assignment = assignment.with_copies(&was, next_epoch(state), wanted);
            check(state, partition, &was, &assignment)?;
            set(&mut table, partition, assignment);
        }
    }
    Ok(take(state, table))
}

/// Gives moves up: owners and tenures stay, and the entries that the targets have received are void by their
/// stamps.
pub(super) fn abort(state: &mut State, runs: &[AbortRun]) -> Result<Change, Refusal> {
    let mut table = state.table.clone();
    let mut named = Named::default();
    for run in runs {
        for partition in named.run(run.first, run.count)? {
            let was = state.table[partition];
            moving(partition, &was, run.tenure)?;
            let move_to = None;
            set(&mut table, partition, Assignment { move_to, ..was });
        }
    }
    Ok(take(state, table))
}

/// The next owner of a partition, if its move has this tenure.
fn moving(partition: Partition, was: &Assignment, tenure: Tenure) -> Result<NodeId, Refusal> {
    was.move_to
        .filter(|moving| moving.tenure == tenure)
        .map(|moving| moving.to)
        .ok_or(Refusal::NoSuchMove { partition, tenure })
}

/// Takes a member down and gives its partitions to others, in one step.
pub(super) fn fail_over(state: &mut State, fail_over: &FailOver) -> Result<Change, Refusal> {
    let FailOver {
        expected,
        id,
        incarnation,
        ref runs,
    } = *fail_over;
    check_epoch(state, expected)?;
    state.known_at(id, incarnation)?;
    for run in runs {
        if run.owner == Some(id) || run.standby == Some(id) {
            let partition = run.first;
            return Err(Refusal::FailedOver { partition, id });
        }
    }
    let mut table = state.table.clone();
    for (partition, assignment) in state.table.iter() {
        let is_its = |moving: PendingMove| moving.to == id || assignment.owner == Some(id);
        if assignment.move_to.is_some_and(is_its) {
            let move_to = None;
            let assignment = *assignment;
            set(
                &mut table,
                partition,
                Assignment {
                    move_to,
                    ..assignment
                },
            );
        }
    }
    let table = assigned(state, &table, runs)?;
    let was_down = state.known(id)?.status == MemberStatus::Down;
    state.record_mut(id).status = MemberStatus::Down;
    let change = take(state, table);
    if change == Change::Nothing && !was_down {
        return Ok(bump(state));
    }
    Ok(change)
}

/// Makes `table` the state's table, with a new epoch if it differs.
pub(super) fn take(state: &mut State, table: Arc<PartitionTable>) -> Change {
    if state.table == table {
        return Change::Nothing;
    }
    state.table = table;
    bump(state)
}

fn set(table: &mut Arc<PartitionTable>, partition: Partition, assignment: Assignment) {
    Arc::make_mut(table).set(partition, assignment);
}

/// The partitions that a command has named so far.
pub(super) struct Named(Box<[bool; PARTITIONS]>);

impl Default for Named {
    fn default() -> Self {
        Self(Box::new([false; PARTITIONS]))
    }
}

impl Named {
    /// Marks the partitions of a run as named. Returns them if they exist and none was named before.
    pub(super) fn run(
        &mut self,
        first: Partition,
        count: u16,
    ) -> Result<impl Iterator<Item = Partition> + use<>, Refusal> {
        let end = usize::from(first.0) + usize::from(count);
        let run = self.0.get_mut(usize::from(first.0)..end);
        let Some(run) = run.filter(|run| !run.is_empty()) else {
            return Err(Refusal::OutOfRange { first, count });
        };
        if let Some(at) = run.iter().position(|is_named| *is_named) {
            return Err(Refusal::NamedTwice(Partition(first.0 + at as u16)));
        }
        run.fill(true);
        Ok((first.0..first.0 + count).map(Partition))
    }
}
