//! Checks the parts of a view, and describes their mistakes. Pure.
//!
//! Called by [`View::new`](super::View::new). One run finds all mistakes. Each is reported once, even if many
//! partitions share it, so their number is bounded by the input.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::ids::{Epoch, GroupId, NodeId, Partition};
use crate::topology::model::group::Group;
use crate::topology::model::member::{MAX_MEMBERS, MAX_WEIGHT, Member};
use crate::topology::model::partitions::{Assignment, PartitionTable};

/// All mistakes in the parts of a view. The maker of the topology is at fault, and a retry does not help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ViewError {
    /// At least one.
    pub mistakes: Vec<ViewMistake>,
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a topology: ")?;
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

/// One mistake in the parts of a view. For partitions it has the first, and the number of others.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ViewMistake {
    /// More than [`MAX_MEMBERS`].
    #[error("{0} members, more than {MAX_MEMBERS}")]
    TooManyMembers(usize),
    /// Two members share an id.
    #[error("member id {0} occurs twice")]
    DuplicateMemberId(NodeId),
    /// Two members share a name.
    #[error("member name {0:?} occurs twice")]
    DuplicateMemberName(Arc<str>),
    /// A weight of 0 or above [`MAX_WEIGHT`].
    #[error("member {id} has weight {weight}, not 1 to {MAX_WEIGHT}")]
    WeightOutOfRange {
        /// The member.
        id: NodeId,
        /// Its weight.
        weight: u32,
    },
    /// Two groups share an id.
    #[error("group id {0} occurs twice")]
    DuplicateGroupId(GroupId),
    /// Two groups share a name.
    #[error("group name {0:?} occurs twice")]
    DuplicateGroupName(Arc<str>),
    /// An owner or a standby is no member.
    #[error("partition {first} and {others} others name member {id}, which does not exist")]
    UnknownMember {
        /// The id that no member has.
        id: NodeId,
        /// The first partition that names it.
        first: Partition,
        /// How many more name it.
        others: usize,
    },
    /// A partition breaks a rule that concerns it alone.
    #[error("partition {first} and {others} others: {rule}")]
    BrokenRule {
        /// The rule.
        rule: PartitionRule,
        /// The first partition that breaks it.
        first: Partition,
        /// How many more break it.
        others: usize,
    },
}

/// A rule for each partition by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PartitionRule {
    /// The standby is another member than the owner.
    #[error("the standby is the owner")]
    StandbyIsNotOwner,
    /// Where there is a standby, there is an owner.
    #[error("there is a standby and no owner")]
    StandbyHasOwner,
    /// A tenure is the epoch of a command that was committed, and no ownership is older than its tenure.
    #[error("the tenure is newer than the ownership, or that than the epoch")]
    TenureWithinEpoch,
    /// An inherited tenure is older than the tenure.
    #[error("the inherited tenure is not older than the tenure")]
    InheritsOlder,
    /// A move goes from an owner to another member.
    #[error("it moves to its owner, or has no owner")]
    MovesElsewhere,
    /// The tenure of a move is newer than the tenure, and is the epoch of a command that was committed.
    #[error("the tenure of its move is not newer than the tenure, or newer than the epoch")]
    MoveTenureNewer,
    /// Where there are copies, there is a standby; they count from a command that was committed.
    #[error("it has copies and no standby, or copies of a later epoch")]
    CopiesWithStandby,
}

impl PartitionRule {
    const ALL: [Self; 7] = [
        Self::StandbyIsNotOwner,
        Self::StandbyHasOwner,
        Self::TenureWithinEpoch,
        Self::InheritsOlder,
        Self::MovesElsewhere,
        Self::MoveTenureNewer,
        Self::CopiesWithStandby,
    ];

    fn holds(self, assignment: &Assignment, epoch: Epoch) -> bool {
        let Assignment {
            owner,
            standby,
            tenure,
            inherits,
            move_to,
            since,
            copies,
        } = *assignment;
        match self {
            Self::StandbyIsNotOwner => standby.is_none() || standby != owner,
            Self::StandbyHasOwner => standby.is_none() || owner.is_some(),
            Self::TenureWithinEpoch => tenure.0 <= since.0 && since.0 <= epoch.0,
            Self::InheritsOlder => inherits.is_none_or(|inherited| inherited < tenure),
            Self::MovesElsewhere => {
                move_to.is_none_or(|moving| owner.is_some_and(|owner| owner != moving.to))
            }
            Self::MoveTenureNewer => {
                move_to.is_none_or(|moving| tenure < moving.tenure && moving.tenure.0 <= epoch.0)
            }
            Self::CopiesWithStandby => {
                copies.since <= epoch && (standby.is_some() || !copies.are_kept)
            }
        }
    }
}

/// Checks whether these parts make a view. `members` and `groups` are sorted by id.
pub(super) fn check(
    epoch: Epoch,
    members: &[Member],
    table: &PartitionTable,
    groups: &[Group],
) -> Result<(), ViewError> {
    let mut mistakes = Vec::new();
    if members.len() > MAX_MEMBERS {
        mistakes.push(ViewMistake::TooManyMembers(members.len()));
    }
    let ids = members.iter().map(|member| member.id);
    let names = members.iter().map(|member| member.name.clone());
    mistakes.extend(
        repeated(ids)
            .into_iter()
            .map(ViewMistake::DuplicateMemberId),
    );
    mistakes.extend(
        repeated(names)
            .into_iter()
            .map(ViewMistake::DuplicateMemberName),
    );
    for &Member { id, weight, .. } in members {
        if !(1..=MAX_WEIGHT).contains(&weight) {
            mistakes.push(ViewMistake::WeightOutOfRange { id, weight });
        }
    }
    let ids = groups.iter().map(|group| group.id);
    let names = groups.iter().map(|group| group.name.clone());
    mistakes.extend(repeated(ids).into_iter().map(ViewMistake::DuplicateGroupId));
    mistakes.extend(
        repeated(names)
            .into_iter()
            .map(ViewMistake::DuplicateGroupName),
    );
    check_partitions(epoch, members, table, &mut mistakes);
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(ViewError { mistakes })
    }
}

fn check_partitions(
    epoch: Epoch,
    members: &[Member],
    table: &PartitionTable,
    mistakes: &mut Vec<ViewMistake>,
) {
    for rule in PartitionRule::ALL {
        let mut broken = table
            .iter()
            .filter(|(_, assignment)| !rule.holds(assignment, epoch));
        if let Some((first, _)) = broken.next() {
            mistakes.push(ViewMistake::BrokenRule {
                rule,
                first,
                others: broken.count(),
            });
        }
    }
    let is_unknown = |id: &NodeId| {
        members
            .binary_search_by_key(id, |member| member.id)
            .is_err()
    };
    let mut unknown = Vec::new();
    for (partition, assignment) in table.iter() {
        let target = assignment.move_to.map(|moving| moving.to);
        let named = [assignment.owner, assignment.standby, target];
        for id in named.into_iter().flatten().filter(is_unknown) {
            unknown.push((id, partition));
        }
    }
    unknown.sort_unstable();
    // A partition that names the same unknown member twice counts once.
    unknown.dedup();
    for same in unknown.chunk_by(|(a, _), (b, _)| a == b) {
        let (id, first) = same[0];
        mistakes.push(ViewMistake::UnknownMember {
            id,
            first,
            others: same.len() - 1,
        });
    }
}

/// The values that occur more than once, each of them once, in ascending order.
fn repeated<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let mut repeated = Vec::new();
    let mut values = values.into_iter().peekable();
    while let Some(value) = values.next() {
        if values.next_if_eq(&value).is_some() {
            while values.next_if_eq(&value).is_some() {}
            repeated.push(value);
        }
    }
    repeated
}
