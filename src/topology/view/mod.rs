//! The view: an immutable topology snapshot in memory, made for fast reads.
//!
//! Frontends route by it, and nodes decide by it whether they may answer. Pure: a process that follows the
//! topology builds a new view for every epoch and replaces the whole view; readers never lock.

pub mod fixed;

mod check;
mod standing;

use std::collections::HashMap;
use std::sync::Arc;

use crate::hash::KeyHash;
use crate::ids::{Epoch, GroupId, NodeId, Partition, Tenure};

use crate::topology::model::group::Group;
use crate::topology::model::member::{Member, MemberStatus};
use crate::topology::model::partitions::{Copies, PartitionTable, PendingMove, partitions};
use crate::topology::placement::rendezvous;

pub use check::{PartitionRule, ViewError, ViewMistake};
pub use standing::{Stamps, Standing};

/// The topology at one epoch.
#[derive(Debug)]
pub struct View {
    cluster: Arc<str>,
    epoch: Epoch,
    /// In ascending order of their ids.
    members: Box<[Member]>,
    slots: Box<[Slot]>,
    /// Separate from the slots, because frontends do not need them.
    copies: Box<[Copies]>,
    /// In ascending order of their partitions.
    moving: Box<[Moving]>,
    /// In ascending order of their ids.
    groups: Box<[Arc<Group>]>,
    groups_by_name: HashMap<Arc<str>, Arc<Group>>,
}

/// The index of a member in [`View::members`]: small and dense, so that a frontend can keep its data of each
/// member in a `Vec` beside the view. It has no meaning in any other view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberIndex(u16);

impl MemberIndex {
    /// The index into [`View::members`].
    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// The members that answer for a partition, and the stamps of valid entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The partition asked about.
    pub partition: Partition,
    /// The member that answers for it.
    pub owner: Option<MemberIndex>,
    /// The member that answers in place of an unreachable owner.
    pub standby: Option<MemberIndex>,
    /// Entries of this tenure are valid.
    pub tenure: Tenure,
    /// Entries of this earlier tenure are valid too.
    pub inherits: Option<Tenure>,
    /// Since when the owner owns it: later than the tenure if the partition was moved to it.
    pub since: Epoch,
}

/// A partition on its way to another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// The partition.
    pub partition: Partition,
    /// Its present owner.
    pub from: NodeId,
    /// Its next owner.
    pub to: NodeId,
    /// Its future tenure.
    pub tenure: Tenure,
}

/// The role of a member for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It answers for it.
    Owner,
    /// It answers in place of an unreachable owner.
    Standby,
    /// It answers `NotOwner`.
    Neither,
}

/// A [`Route`] as the view stores it: half a cache line, and never across two.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Slot {
    owner: Option<MemberIndex>,
    standby: Option<MemberIndex>,
    tenure: Tenure,
    /// 0 is none: no partition was owned before the first epoch.
    inherits: Tenure,
    since: Epoch,
}

const _: () = assert!(size_of::<Slot>() == 32);

impl View {
    /// The view of this topology.
    ///
    /// A member that is down may still own partitions here: its requests go to the standby until
    /// the topology says otherwise.
    ///
    /// # Errors
    ///
    /// All mistakes in the parts, at once.
    pub fn new(
        cluster: impl Into<Arc<str>>,
        epoch: Epoch,
        mut members: Vec<Member>,
        table: &PartitionTable,
        mut groups: Vec<Group>,
    ) -> Result<Self, ViewError> {
        members.sort_unstable_by_key(|member| member.id);
        groups.sort_unstable_by_key(|group| group.id);
        check::check(epoch, &members, table, &groups)?;
        let index = |id| index_of(&members, id);
        let slots = table
            .iter()
            .map(|(_, assignment)| Slot {
                owner: assignment.owner.and_then(index),
                standby: assignment.standby.and_then(index),
                tenure: assignment.tenure,
                inherits: assignment.inherits.unwrap_or_default(),
                since: assignment.since,
            })
            .collect();
        let copies = table.iter().map(|(_, assignment)| assignment.copies);
        let copies = copies.collect();
        let moving = table.iter().filter_map(|(partition, assignment)| {
            let PendingMove { to, tenure } = assignment.move_to?;
            Some(Moving {
                partition,
                from: assignment.owner?,
                to,
                tenure,
            })
        });
        let moving = moving.collect();
        let groups: Box<[_]> = groups.into_iter().map(Arc::new).collect();
        Ok(Self {
            cluster: cluster.into(),
            epoch,
            slots,
            copies,
            moving,
            members: members.into_boxed_slice(),
            groups_by_name: groups.iter().map(|g| (g.name.clone(), g.clone())).collect(),
            groups,
        })
    }

    /// The name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The version of the topology.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Every member, up or down, in ascending order of their ids.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of this id.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.index_of(id).map(|index| self.at(index))
    }

    /// The index of the member of this id in [`members`](Self::members). A binary search.
    #[must_use]
    pub fn index_of(&self, id: NodeId) -> Option<MemberIndex> {
        index_of(&self.members, id)
    }

    /// The member at an index that this view returned.
    ///
    /// # Panics
    ///
    /// May panic on an index from another view.
    #[must_use]
    #[inline]
    pub fn at(&self, index: MemberIndex) -> &Member {
        &self.members[index.get()]
    }

    /// Every group, in ascending order of their ids.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Arc<Group>> {
        self.groups.iter()
    }

    /// The group of this id. A binary search.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&Arc<Group>> {
        let place = self
            .groups
            .binary_search_by_key(&id, |group| group.id)
            .ok()?;
        Some(&self.groups[place])
    }

    /// The group of this name.
    #[must_use]
    pub fn group_by_name(&self, name: &str) -> Option<&Arc<Group>> {
        self.groups_by_name.get(name)
    }

    /// The members that answer for a key: one load from an array.
    #[must_use]
    #[inline]
    pub fn route(&self, hash: KeyHash) -> Route {
        self.route_of(hash.partition())
    }

    /// The members that answer for a partition.
    ///
    /// # Panics
    ///
    /// If `partition` is not below [`PARTITIONS`](crate::hash::PARTITIONS).
    #[must_use]
    #[inline]
    pub fn route_of(&self, partition: Partition) -> Route {
        let Slot {
            owner,
            standby,
            tenure,
            inherits,
            since,
        } = self.slots[usize::from(partition.0)];
        Route {
            partition,
            owner,
            standby,
            tenure,
            inherits: (inherits != Tenure(0)).then_some(inherits),
            since,
        }
    }

    /// Whether the standby of a partition keeps copies, and since when.
    ///
    /// # Panics
    ///
    /// If `partition` is not below [`PARTITIONS`](crate::hash::PARTITIONS).
    #[must_use]
    #[inline]
    pub fn copies_of(&self, partition: Partition) -> Copies {
        self.copies[usize::from(partition.0)]
    }

    /// The partitions that are moving, in ascending order.
    #[must_use]
    pub fn moving(&self) -> &[Moving] {
        &self.moving
    }

    /// Every partition's route, in ascending order.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = Route> {
        partitions().map(|partition| self.route_of(partition))
    }

    /// Among the partitions that `node` owns, the latest epoch since when it owns one, or since when the
    /// copies of one count; 0 if it owns none.
    #[must_use]
    pub fn latest_since(&self, node: NodeId) -> Epoch {
        let Some(own) = self.index_of(node) else {
            return Epoch::default();
        };
        let both = self.slots.iter().zip(&self.copies);
        let owned = both.filter(|(slot, _)| slot.owner == Some(own));
        let since = owned.map(|(slot, copies)| slot.since.max(copies.since));
        since.max().unwrap_or_default()
    }

    /// Whether `node` owns `partition`; panics as [`route_of`](Self::route_of) does.
    #[must_use]
    pub fn is_owner(&self, node: NodeId, partition: Partition) -> bool {
        self.role_of(node, partition) == Role::Owner
    }

    /// The role of `node` for `partition`; panics as [`route_of`](Self::route_of) does.
    #[must_use]
    pub fn role_of(&self, node: NodeId, partition: Partition) -> Role {
        self.role_by(node, &self.route_of(partition))
    }

    #[inline]
    fn role_by(&self, node: NodeId, route: &Route) -> Role {
        let is_node = |index: Option<MemberIndex>| index.is_some_and(|i| self.at(i).id == node);
        if is_node(route.owner) {
            Role::Owner
        } else if is_node(route.standby) {
            Role::Standby
        } else {
            Role::Neither
        }
    }

    /// The member that loads a key when its owner and its standby are both unreachable. Of the members that
    /// `is_reachable` accepts, it is the one with the highest [score](rendezvous::score); members that are up
    /// come before all others.
    ///
    /// A member that is not up is asked all the same if no other is reachable: a frontend on its side of a
    /// network partition reaches it first, and values that a last resort loads are never kept.
    ///
    /// The owner and the standby are not left out: only the caller knows that they are unreachable, so
    /// `is_reachable` must reject them. It is called for few members, in no particular order.
    #[must_use]
    pub fn last_resort(
        &self,
        hash: KeyHash,
        is_reachable: impl Fn(NodeId) -> bool,
    ) -> Option<&Member> {
        let mut best = None;
        for member in self.members.iter() {
            let is_up = member.status == MemberStatus::Up;
            let rank = (is_up, rendezvous::score(hash, member.id));
            // Members come in ascending order, so of equal scores the lower id wins.
            let is_better = best.is_none_or(|(highest, _)| rank > highest);
            if is_better && is_reachable(member.id) {
                best = Some((rank, member));
            }
        }
        best.map(|(_, member)| member)
    }
}

/// The index of `id` in `members`, which are sorted by id and at most
/// [`MAX_MEMBERS`](crate::topology::model::member::MAX_MEMBERS).
fn index_of(members: &[Member], id: NodeId) -> Option<MemberIndex> {
    let place = members.binary_search_by_key(&id, |member| member.id).ok()?;
    Some(MemberIndex(
        u16::try_from(place).expect("a view has at most MAX_MEMBERS members"),
    ))
}

#[cfg(test)]
mod tests;
