//! The standby half of placement: chooses the member that answers for a partition when its owner cannot.
//! Pure.
//!
//! Called by `placement` once the owners are chosen. The rules and bounds are explained at
//! [`place`](crate::topology::placement::place).

use super::quota::apportion;
use super::ring::{Ring, STANDBY, draw, rank};
use super::rounding::{ONE, round};
use crate::hash::PARTITIONS;
use crate::ids::Partition;
use crate::topology::model::partitions::{PartitionTable, partitions};

/// One owner's partitions, by their present standby if that may remain one.
struct Row {
    /// For each seat, the partitions that it is the standby of.
    stood_by: Vec<Vec<Partition>>,
    /// The partitions that need another standby.
    bare: Vec<Partition>,
    /// For each seat, its weight as a standby of this owner; 0 if it may not be one.
    weights: Vec<u32>,
}

impl Row {
    /// How many partitions the owner owns.
    fn owned(&self) -> usize {
        self.bare.len() + self.stood_by.iter().map(Vec::len).sum::<usize>()
    }
}

/// Chooses the seat of each partition's standby, given the seat of its owner.
pub(super) fn place_standbys(
    ring: &Ring<'_>,
    owners: &[Option<usize>],
    current: Option<&PartitionTable>,
) -> Vec<Option<usize>> {
    let mut rows = rows(ring, owners, current);
    let quotas = quotas(&rows);
    let mut standbys = vec![None; PARTITIONS];
    for (row, quotas) in rows.iter_mut().zip(&quotas) {
        settle(ring, row, quotas);
        for (seat, stood_by) in row.stood_by.iter().enumerate() {
            for partition in stood_by {
                standbys[usize::from(partition.0)] = Some(seat);
            }
        }
    }
    standbys
}

fn rows(ring: &Ring<'_>, owners: &[Option<usize>], current: Option<&PartitionTable>) -> Vec<Row> {
    let row = |owner| Row {
        stood_by: vec![Vec::new(); ring.len()],
        bare: Vec::new(),
        weights: ring.standby_weights(owner),
    };
    let mut rows: Vec<Row> = (0..ring.len()).map(row).collect();
    let standbys = ring.seats(current, |assignment| assignment.standby);
    for ((partition, owner), standby) in partitions().zip(owners).zip(standbys) {
        let Some(owner) = *owner else { continue };
        let row = &mut rows[owner];
        match standby {
            Some(seat) if row.weights[seat] > 0 => row.stood_by[seat].push(partition),
            _ => row.bare.push(partition),
        }
    }
    rows
}

/// For each owner and seat, how many of the owner's partitions the seat should be the standby of: the exact
/// shares by weight, rounded so that every pair and every seat's sum stay within one.
fn quotas(rows: &[Row]) -> Vec<Vec<u64>> {
    // The exact shares have different denominators, one for each zone or member. In units of 2⁻³² a row still
    // sums exactly, and no share is off by more than one such unit.
    let shares: Vec<Vec<u64>> = rows
        .iter()
        .map(|row| apportion(row.owned() as u64 * ONE, &row.weights, |_, _| false))
        .collect();
    round(&shares, |owner, seat, floor| {
        rows[owner].stood_by[seat].len() as u64 > floor
    })
}

/// Takes partitions from the seats above their quota and gives them to those below. An owner for which no
/// seat may be standby has quotas of 0, and its partitions stay bare.
fn settle(ring: &Ring<'_>, row: &mut Row, quotas: &[u64]) {
    let Row { stood_by, bare, .. } = row;
    let by_rank = |seat| move |partition| rank(STANDBY, partition, ring.id(seat));
    for (seat, stood_by) in stood_by.iter_mut().enumerate() {
        let kept = draw(stood_by, quotas[seat] as usize, by_rank(seat));
        bare.append(stood_by);
        *stood_by = kept;
    }
    for (seat, stood_by) in stood_by.iter_mut().enumerate() {
        let wanted = quotas[seat] as usize - stood_by.len();
        stood_by.extend(draw(bare, wanted, by_rank(seat)));
    }
}
