//! The partition table as a message: one column of short numbers for each field. Pure.
//!
//! Placement scatters owners over the circle, so runs alone would save nothing. Instead each partition names
//! its owner by an index into the few distinct owners, in one byte while these are fewer than 64. A value
//! that all partitions share, such as "no move", is one run.

use super::error::{DecodeError, bad};
use super::member::{maybe_id, maybe_number};
use super::pb;
use crate::hash::PARTITIONS;
use crate::ids::{Epoch, Tenure};
use crate::topology::model::partitions::{Assignment, Copies, PartitionTable, PendingMove};

pub(super) fn table_to_wire(table: &PartitionTable) -> pb::Table {
    let column = |pick: fn(&Assignment) -> u64| {
        let numbers: Vec<u64> = table.iter().map(|(_, at)| pick(at)).collect();
        Some(column_to_wire(&numbers))
    };
    pb::Table {
        owner: column(|at| maybe_number(at.owner)),
        standby: column(|at| maybe_number(at.standby)),
        tenure: column(|at| at.tenure.0),
        inherits: column(|at| at.inherits.map_or(0, |tenure| tenure.0)),
        move_to: column(|at| at.move_to.map_or(0, |moving| moving.to.0)),
        move_tenure: column(|at| at.move_to.map_or(0, |moving| moving.tenure.0)),
        // Left out if it equals the tenure everywhere.
        since: match table.iter().all(|(_, at)| at.since.0 == at.tenure.0) {
            true => None,
            false => column(|at| at.since.0),
        },
        copies_since: column(|at| at.copies.since.0).filter(is_not_all_zero),
        copies_kept: column(|at| at.copies.are_kept.into()).filter(is_not_all_zero),
    }
}

pub(super) fn table(wire: Option<pb::Table>) -> Result<PartitionTable, DecodeError> {
    let wire = wire.ok_or_else(|| bad("table"))?;
    let owners = column(wire.owner)?;
    let standbys = column(wire.standby)?;
    let tenures = column(wire.tenure)?;
    let inherits = column(wire.inherits)?;
    let targets = column(wire.move_to)?;
    let move_tenures = column(wire.move_tenure)?;
    let sinces = match wire.since {
        None => tenures.clone(),
        since => column(since)?,
    };
    // Left out if there never were copies.
    let copies = |wire: Option<pb::Column>| match wire {
        None => Ok(vec![0; PARTITIONS]),
        wire => column(wire),
    };
    let copies_since = copies(wire.copies_since)?;
    let copies_kept = copies(wire.copies_kept)?;
    Ok(PartitionTable::from_fn(|partition| {
        let at = usize::from(partition.0);
        Assignment {
            owner: maybe_id(owners[at]),
            standby: maybe_id(standbys[at]),
            tenure: Tenure(tenures[at]),
            since: Epoch(sinces[at]),
            inherits: (inherits[at] != 0).then_some(Tenure(inherits[at])),
            move_to: maybe_id(targets[at]).map(|to| PendingMove {
                to,
                tenure: Tenure(move_tenures[at]),
            }),
            copies: Copies {
                since: Epoch(copies_since[at]),
                are_kept: copies_kept[at] != 0,
            },
        }
    }))
}

fn is_not_all_zero(column: &pb::Column) -> bool {
    column.values != [0]
}

fn column_to_wire(numbers: &[u64]) -> pb::Column {
    let mut values = numbers.to_vec();
    // Deduplicated once before the sort, so that a column of one run costs no sorting.
    values.dedup();
    values.sort_unstable();
    values.dedup();
    let mut cells = Vec::new();
    for run in numbers.chunk_by(|a, b| a == b) {
        let place = values
            .binary_search(&run[0])
            .expect("every number is among the values");
        let is_long = run.len() > 1;
        cells.push(place as u32 * 2 + u32::from(is_long));
        if is_long {
            cells.push(run.len() as u32);
        }
    }
    pb::Column { values, cells }
}

/// The numbers of a column: exactly [`PARTITIONS`].
fn column(wire: Option<pb::Column>) -> Result<Vec<u64>, DecodeError> {
    let pb::Column { values, cells } = wire.ok_or_else(|| bad("column"))?;
    let mut numbers = Vec::with_capacity(PARTITIONS);
    let mut cells = cells.into_iter();
    while let Some(cell) = cells.next() {
        let place = usize::try_from(cell / 2).map_err(|_| bad("column"))?;
        let number = *values.get(place).ok_or_else(|| bad("column"))?;
        let count = match cell % 2 {
            0 => 1,
            _ => cells.next().ok_or_else(|| bad("column"))?,
        };
        let count = usize::try_from(count).map_err(|_| bad("column"))?;
        if count > PARTITIONS - numbers.len() {
            return Err(bad("column"));
        }
        numbers.extend(std::iter::repeat_n(number, count));
    }
    if numbers.len() != PARTITIONS {
        return Err(bad("column"));
    }
    Ok(numbers)
}
