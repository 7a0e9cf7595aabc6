//! The members among which owners and standbys are chosen, and the frozen order of the choices. Pure.

use crate::hash::PARTITIONS;
use crate::ids::{NodeId, Partition};
use crate::topology::model::member::Member;
use crate::topology::model::partitions::{Assignment, PartitionTable};

/// The members that may own, in ascending order of their ids. A *seat* is an index into this list.
pub(super) struct Ring<'a>(Vec<&'a Member>);

impl<'a> Ring<'a> {
    pub(super) fn of(members: &'a [Member]) -> Self {
        let mut ring: Vec<&Member> = members.iter().filter(|member| member.may_own()).collect();
        ring.sort_unstable_by_key(|member| member.id);
        assert!(
            ring.is_sorted_by(|a, b| a.id < b.id),
            "a member id occurs twice"
        );
        Self(ring)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn id(&self, seat: usize) -> NodeId {
        self.0[seat].id
    }

    pub(super) fn seat_of(&self, id: NodeId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |member| member.id).ok()
    }

    /// The seat that `pick` names for each partition of `current`; `None` where it names no member, or one
    /// that may not own.
    pub(super) fn seats(
        &self,
        current: Option<&PartitionTable>,
        pick: impl Fn(&Assignment) -> Option<NodeId>,
    ) -> Vec<Option<usize>> {
        let seat = |assignment| pick(assignment).and_then(|id| self.seat_of(id));
        current.map_or(vec![None; PARTITIONS], |table| {
            table
                .iter()
                .map(|(_, assignment)| seat(assignment))
                .collect()
        })
    }

    pub(super) fn weights(&self) -> Vec<u32> {
        self.0.iter().map(|member| member.weight).collect()
    }

    /// For each seat, its weight if it may be the standby of `owner`, else 0. All members of other zones may
    /// be, or all other members if there is no other zone.
    pub(super) fn standby_weights(&self, owner: usize) -> Vec<u32> {
        let zone = &self.0[owner].zone;
        let alone = self.0.iter().all(|member| member.zone == *zone);
        let allowed =
            |seat: usize, member: &Member| seat != owner && (alone || member.zone != *zone);
        let weight = |(seat, member): (usize, &&Member)| {
            if allowed(seat, member) {
                member.weight
            } else {
                0
            }
        };
        self.0.iter().enumerate().map(weight).collect()
    }
}

/// Salt of [`rank`] for choices among owners.
pub(super) const OWNER: u64 = 0;
/// Salt of [`rank`] for choices among standbys, so that they are independent of those among owners.
pub(super) const STANDBY: u64 = 1;

/// The rank of a partition for a member, lowest first: random, yet the same everywhere. Frozen.
///
/// `xxh3_64(partition as 2 little-endian bytes ‖ member id as 8, seed = salt)`.
pub(super) fn rank(salt: u64, partition: Partition, member: NodeId) -> u64 {
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&partition.0.to_le_bytes());
    bytes[2..].copy_from_slice(&member.0.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, salt)
}

/// Takes the `count` partitions with the lowest ranks out of `from`, or all if there are fewer.
///
/// The set is deterministic, its order is not. Of equal ranks the lower partition is taken.
pub(super) fn draw(
    from: &mut Vec<Partition>,
    count: usize,
    rank: impl Fn(Partition) -> u64,
) -> Vec<Partition> {
    if count >= from.len() {
        return std::mem::take(from);
    }
    if count == 0 {
        return Vec::new();
    }
    let mut ranked: Vec<_> = from
        .iter()
        .map(|&partition| (rank(partition), partition))
        .collect();
    ranked.select_nth_unstable(count);
    let mut order = ranked.into_iter().map(|(_, partition)| partition);
    let drawn = order.by_ref().take(count).collect();
    *from = order.collect();
    drawn
}
