//! What must hold for the parts of a view, and how it is said when it does not. Pure.
//!
//! Called by [`View::new`](super::View::new). All mistakes are found in one run, each told once
//! however many partitions share it, so that their number is bounded by what was given.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::ids::{Epoch, GroupId, NodeId, Partition};
use crate::topology::model::group::Group;
use crate::topology::model::member::{MAX_MEMBERS, MAX_WEIGHT, Member};
use crate::topology::model::partitions::{Assignment, PartitionTable};

/// Everything that is wrong with the parts of a view. Whoever made the topology is at fault, and
/// trying again does not help.
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

/// One thing that is wrong with the parts of a view. Of partitions, the first and how many.
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
        /// How many more do.
        others: usize,
    },
    /// A partition breaks a rule that concerns it alone.
    #[error("partition {first} and {others} others: {rule}")]
    BrokenRule {
        /// What does not hold.
        rule: PartitionRule,
        /// The first partition for which it does not.
        first: Partition,
        /// For how many more it does not.
        others: usize,
    },
}

/// What must hold for each partition by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PartitionRule {
    /// A standby stands by for somebody else.
    #[error("the standby is the owner")]
    StandbyIsNotOwner,
    /// A standby stands by for somebody.
    #[error("there is a standby and no owner")]
    StandbyHasOwner,
    /// A tenure is the epoch of a command that was committed, and no ownership is older than its tenure.
    #[error("the tenure is newer than the ownership, or that than the epoch")]
    TenureWithinEpoch,
    /// What is inherited is older.
    #[error("the inherited tenure is not older than the tenure")]
    InheritsOlder,
    /// A move goes from an owner to somebody else.
    #[error("it moves to its owner, or has no owner")]
    MovesElsewhere,
    /// A move brings a tenure that is newer, of a command that was committed.
    #[error("the tenure of its move is not newer than the tenure, or newer than the epoch")]
    MoveTenureNewer,
    /// Copies are a standby's, since a command that was committed.
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

/// Whether these parts make a view. `members` and `groups` are sorted by id.
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
    // A partition that names the same stranger twice is one partition.
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
