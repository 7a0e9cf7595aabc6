//! The partition table: each partition's owner, since when it owns, and its standby. Pure data.
//!
//! [`place`](crate::topology::placement::place) writes it, the log keeps it, and a
//! [`View`](crate::topology::view::View) gives access to it.

use std::collections::BTreeMap;
use std::ops::Index;

use thiserror::Error;

use crate::hash::PARTITIONS;
use crate::ids::{Epoch, NodeId, Partition, Tenure};

/// The members that answer for one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The member that answers for it; `None` only while no member may own.
    pub owner: Option<NodeId>,
    /// The member that answers in place of an unreachable owner. Never the owner itself; `None`
    /// only while no second member may own.
    pub standby: Option<NodeId>,
    /// The epoch of the command that created this ownership: the one that assigned the partition, or the one
    /// that prepared its move.
    pub tenure: Tenure,
    /// The epoch since when the owner owns: the same as the tenure, or later if the partition was moved.
    pub since: Epoch,
    /// An earlier tenure whose entries stay valid.
    pub inherits: Option<Tenure>,
    /// The move to another owner, while there is one.
    pub move_to: Option<PendingMove>,
    /// Whether the standby keeps copies.
    pub copies: Copies,
}

/// Whether a standby keeps copies of the groups that have two, and since when.
///
/// Copies are stamped with that epoch, as a tenure. The epoch changes with the owner, with the standby and
/// with the groups that are copied. So an entry that a standby kept from an earlier time never counts as a
/// copy: the standby received no deletes in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// The epoch of the command that set `are_kept`.
    pub since: Epoch,
    /// Whether the standby keeps copies. If not, the owner need not send its deletes to the standby.
    pub are_kept: bool,
}

impl Copies {
    /// The stamp of copies; none if there are none.
    #[must_use]
    pub fn stamp(self) -> Option<Tenure> {
        self.are_kept.then_some(Tenure(self.since.0))
    }
}

impl Assignment {
    /// The epoch that all members must know before the owner acknowledges deletes by itself: before it,
    /// another member may have owned the partition or kept copies.
    #[must_use]
    pub fn acts_since(&self) -> Epoch {
        self.since.max(self.copies.since)
    }

    /// This assignment, made at `at`, with the copies that it has after `was`: the same copies if owner and
    /// standby are the same; otherwise new ones if they are `wanted`, else none.
    #[must_use]
    pub(in crate::topology) fn with_copies(self, was: &Self, at: Epoch, wanted: bool) -> Self {
        let is_same = (was.owner, was.standby) == (self.owner, self.standby);
        let are_kept = wanted && self.standby.is_some();
        let copies = match is_same || !(are_kept || was.copies.are_kept) {
            true => was.copies,
            false => Copies {
                since: at,
                are_kept,
            },
        };
        Self { copies, ..self }
    }
}

/// A partition on its way to another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingMove {
    /// The next owner. Never the present one.
    pub to: NodeId,
    /// Its future tenure: the epoch of the command that prepared the move. Newer than the present tenure.
    pub tenure: Tenure,
}

/// One [`Assignment`] for each of the [`PARTITIONS`] partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionTable(Box<[Assignment]>);

/// A partition table with other than [`PARTITIONS`] entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a partition table has {PARTITIONS} assignments, not {0}")]
pub struct WrongLength(pub usize);

impl PartitionTable {
    /// A table of the assignments that `assign` returns for each partition, called in ascending order.
    #[must_use]
    pub fn from_fn(assign: impl FnMut(Partition) -> Assignment) -> Self {
        Self(partitions().map(assign).collect())
    }

    /// Every partition with its assignment, in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Partition, &Assignment)> {
        self.0
            .iter()
            .enumerate()
            .map(|(index, assignment)| (Partition(index as u16), assignment))
    }

    /// Sets the assignment of `partition`, which is below [`PARTITIONS`].
    pub(in crate::topology) fn set(&mut self, partition: Partition, assignment: Assignment) {
        self.0[usize::from(partition.0)] = assignment;
    }

    /// The latest [`acts_since`](Assignment::acts_since) among the partitions that `member` owns; 0 if it
    /// owns none.
    #[must_use]
    pub fn latest_since(&self, member: NodeId) -> Epoch {
        let owned = self.0.iter().filter(|at| at.owner == Some(member));
        owned.map(Assignment::acts_since).max().unwrap_or_default()
    }

    /// The same for each owner.
    #[must_use]
    pub fn latest_sinces(&self) -> BTreeMap<NodeId, Epoch> {
        let mut sinces = BTreeMap::new();
        for assignment in &self.0 {
            if let Some(owner) = assignment.owner {
                let latest = sinces.entry(owner).or_insert(Epoch(0));
                *latest = assignment.acts_since().max(*latest);
            }
        }
        sinces
    }

    /// Whether any partition is moving.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.0.iter().any(|at| at.move_to.is_some())
    }

    /// How many partitions `member` owns.
    #[must_use]
    pub fn owned_by(&self, member: NodeId) -> usize {
        self.0
            .iter()
            .filter(|assignment| assignment.owner == Some(member))
            .count()
    }
}

impl TryFrom<Vec<Assignment>> for PartitionTable {
    type Error = WrongLength;

    /// The table of these assignments; the first is for partition 0.
    fn try_from(assignments: Vec<Assignment>) -> Result<Self, WrongLength> {
        if assignments.len() != PARTITIONS {
            return Err(WrongLength(assignments.len()));
        }
        Ok(Self(assignments.into_boxed_slice()))
    }
}

impl Index<Partition> for PartitionTable {
    type Output = Assignment;

    /// # Panics
    ///
    /// If `partition` is not below [`PARTITIONS`].
    fn index(&self, partition: Partition) -> &Assignment {
        &self.0[usize::from(partition.0)]
    }
}

/// A change of one partition's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub partition: Partition,
    /// Its owner before; `None` if it had none.
    pub from: Option<NodeId>,
    /// Its owner after; `None` if it has none.
    pub to: Option<NodeId>,
}

/// The partitions whose owner differs between two tables, in ascending order.
#[must_use]
pub fn moves(from: &PartitionTable, to: &PartitionTable) -> Vec<Move> {
    from.iter()
        .zip(to.0.iter())
        .filter(|((_, before), after)| before.owner != after.owner)
        .map(|((partition, before), after)| Move {
            partition,
            from: before.owner,
            to: after.owner,
        })
        .collect()
}

/// Every partition, in ascending order.
pub fn partitions() -> impl ExactSizeIterator<Item = Partition> {
    const LAST: u16 = (PARTITIONS - 1) as u16;
    (0..LAST + 1).map(Partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_another_length_is_refused() {
        for length in [0, PARTITIONS - 1, PARTITIONS + 1] {
            let assignments = vec![Assignment::default(); length];
            assert_eq!(
                PartitionTable::try_from(assignments),
                Err(WrongLength(length))
            );
        }
        assert!(PartitionTable::try_from(vec![Assignment::default(); PARTITIONS]).is_ok());
    }

    #[test]
    fn moves_are_the_partitions_whose_owner_differs() {
        let before = PartitionTable::from_fn(|partition| Assignment {
            owner: Some(NodeId(u64::from(partition.0 % 2))),
            ..Assignment::default()
        });
        let after = PartitionTable::from_fn(|partition| Assignment {
            owner: match partition.0 {
                7 => Some(NodeId(9)),
                8 => None,
                _ => before[partition].owner,
            },
            // A new standby alone is no move.
            standby: Some(NodeId(5)),
            ..Assignment::default()
        });
        let expected = [
            Move {
                partition: Partition(7),
                from: Some(NodeId(1)),
                to: Some(NodeId(9)),
            },
            Move {
                partition: Partition(8),
                from: Some(NodeId(0)),
                to: None,
            },
        ];
        assert_eq!(moves(&before, &after), expected);
        assert_eq!(moves(&after, &after), []);
        assert_eq!(before.owned_by(NodeId(1)), PARTITIONS / 2);
    }
}
