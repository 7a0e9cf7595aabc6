//! Placement: chooses the owner and the standby of each partition. Pure and deterministic.
//!
//! Called where a table is planned: by a leader, a founder, a recovery. The same members and the same
//! current table give the same table everywhere: integers only, members in order of their ids, and
//! choices among partitions by a frozen hash.
//!
//! It makes an explicit table of equal arcs, as in Dynamo (DeCandia et al. 2007, §6.2, strategy 3), instead
//! of random tokens: so quotas are exact, and only what must move moves.

mod quota;
pub mod rendezvous;
mod ring;
mod rounding;
mod standby;

use self::quota::apportion;
use self::ring::{OWNER, Ring, draw, rank};
use self::standby::place_standbys;
use crate::hash::PARTITIONS;
use crate::ids::{Epoch, Partition, Tenure};
use crate::topology::model::member::Member;
use crate::topology::model::partitions::{Assignment, PartitionTable, partitions};

/// Assigns every partition to an owner and a standby among the `members` that may own, changing as
/// little of `current` as fairness allows.
///
/// Owners. Every member owns its exact share by weight, rounded down or up, so it is off by less than one
/// partition. Among all such tables the result moves the fewest partitions from `current`. Hence a join takes
/// from each member only what it has above its new quota, a leave spreads the leaver's partitions, and a
/// change of weight moves the difference. (With unequal weights the rounding itself can shift: then a few
/// partitions more move than the change asks for, fewer than there are members. No method that stays within
/// one partition of the exact share avoids this: Balinski and Young 1982.) A partition that needs an owner
/// goes to its standby as long as that is below its quota, because the standby may hold copies. The
/// partitions that move are spread over the whole circle.
///
/// Standbys. The standby is never the owner, and is in another zone than the owner if a member that may own
/// is in another zone. The members that are allowed as standbys of an owner share its partitions in
/// proportion to their weights, each within one partition, so that they share its load evenly when it dies.
/// The sum over all owners is within one of the exact sum for every member. So zones of equal weight carry
/// equal standby load, and a zone that is lighter than the others carries more for its weight (and so do
/// members, where there is only one zone). A standby stays unless it is not allowed or above its share.
///
/// A partition whose owner changed starts the tenure `at` and inherits nothing; all others keep both. Copies
/// are not touched. `at` is the epoch of the command that places, newer than every tenure in `current`.
///
/// The order of `members` does not matter. Their ids must differ, and there may be at most
/// [`MAX_MEMBERS`](crate::topology::model::member::MAX_MEMBERS). If no member may own, nothing is assigned.
///
/// # Panics
///
/// If two members have the same id.
#[must_use]
pub fn place(members: &[Member], current: Option<&PartitionTable>, at: Epoch) -> PartitionTable {
    let ring = Ring::of(members);
    let owners = place_owners(&ring, current);
    let standbys = place_standbys(&ring, &owners, current);
    PartitionTable::from_fn(|partition| {
        let index = usize::from(partition.0);
        let owner = owners[index].map(|seat| ring.id(seat));
        let standby = standbys[index].map(|seat| ring.id(seat));
        match current.map(|table| table[partition]) {
            Some(before) if before.owner == owner => Assignment { standby, ..before },
            _ => Assignment {
                owner,
                standby,
                tenure: Tenure(at.0),
                since: at,
                ..Assignment::default()
            },
        }
    })
}

/// The seat that owns each partition.
fn place_owners(ring: &Ring<'_>, current: Option<&PartitionTable>) -> Vec<Option<usize>> {
    if ring.len() == 0 {
        return vec![None; PARTITIONS];
    }
    let mut owned = vec![Vec::new(); ring.len()];
    let mut ownerless = Vec::new();
    let owners = ring.seats(current, |assignment| assignment.owner);
    for (partition, owner) in partitions().zip(owners) {
        owner
            .map_or(&mut ownerless, |seat| &mut owned[seat])
            .push(partition);
    }
    let prefers = |seat: usize, floor: u64| owned[seat].len() as u64 > floor;
    let quotas = apportion(PARTITIONS as u64, &ring.weights(), prefers);

    for (seat, owned) in owned.iter_mut().enumerate() {
        let excess = owned.len().saturating_sub(quotas[seat] as usize);
        ownerless.extend(draw(owned, excess, |partition| {
            rank(OWNER, partition, ring.id(seat))
        }));
    }
    deal(ring, &quotas, &mut owned, ownerless, current);

    let mut owners = vec![None; PARTITIONS];
    for (seat, owned) in owned.iter().enumerate() {
        for partition in owned {
            owners[usize::from(partition.0)] = Some(seat);
        }
    }
    owners
}

/// Fills every seat in `owned` up to its quota from `ownerless`, which has exactly as many partitions: first
/// with those that the seat is the standby of, then with any.
fn deal(
    ring: &Ring<'_>,
    quotas: &[u64],
    owned: &mut [Vec<Partition>],
    mut ownerless: Vec<Partition>,
    current: Option<&PartitionTable>,
) {
    let standbys = ring.seats(current, |assignment| assignment.standby);
    let mut stood_by = vec![Vec::new(); ring.len()];
    ownerless.retain(|partition| match standbys[usize::from(partition.0)] {
        Some(seat) => {
            stood_by[seat].push(*partition);
            false
        }
        None => true,
    });
    let mut fill = |seat: usize, from: &mut Vec<Partition>| {
        let wanted = quotas[seat] as usize - owned[seat].len();
        owned[seat].extend(draw(from, wanted, |partition| {
            rank(OWNER, partition, ring.id(seat))
        }));
    };
    for (seat, mut stood_by) in stood_by.into_iter().enumerate() {
        fill(seat, &mut stood_by);
        ownerless.append(&mut stood_by);
    }
    for seat in 0..ring.len() {
        fill(seat, &mut ownerless);
    }
    debug_assert!(
        ownerless.is_empty(),
        "quotas sum to the number of partitions"
    );
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
