//! Why a command was refused, in words for an operator. Pure.

use std::sync::Arc;

use thiserror::Error;

use crate::ids::{Epoch, GroupId, Incarnation, NodeId, Partition, Tenure};
use crate::topology::model::member::{MAX_MEMBERS, MAX_WEIGHT, MemberStatus};
use crate::topology::model::rules::MAX_GROUPS;

/// Why a command was refused. It changed nothing.
///
/// A refusal is the same on every node, for all have the same state. Whether trying again helps is
/// for the proposer to see: a stale plan is made anew, anything else waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Raft itself cannot make this change of the quorum.
    #[error("raft cannot make this change of the quorum: {0}")]
    Quorum(String),
    /// No member has this id, and none had.
    #[error("there is no member {0}")]
    UnknownMember(NodeId),
    /// The member of this id was removed.
    #[error("member {0} was removed, and its id is never given again")]
    Removed(NodeId),
    /// A member that is not down has the name.
    #[error("the name {name:?} is held by member {holder}, which is not down")]
    NameTaken {
        /// The name asked for.
        name: Arc<str>,
        /// Who has it.
        holder: NodeId,
    },
    /// Another member took the name while this one was down.
    #[error("member {by} took the name of member {id}, which was down")]
    Replaced {
        /// The member that was down.
        id: NodeId,
        /// The one that has its name now.
        by: NodeId,
    },
    /// A node resumed under another name.
    #[error("member {id} is called {known:?} and cannot resume as {found:?}")]
    Renamed {
        /// The member.
        id: NodeId,
        /// Its name.
        known: Arc<str>,
        /// The name that it resumed under.
        found: Arc<str>,
    },
    /// As many members as there may be.
    #[error("there are {MAX_MEMBERS} members, and no more may join")]
    TooManyMembers,
    /// A setting that all must share differs.
    #[error("{setting} is {theirs} there and {ours} in this cluster")]
    SettingDiffers {
        /// The setting.
        setting: &'static str,
        /// What the cluster has.
        ours: String,
        /// What the joiner has.
        theirs: String,
    },
    /// The executable is older than what the log has in use.
    #[error("the executable knows commands up to version {theirs}, and version {ours} is in use")]
    TooOld {
        /// The version in use.
        ours: u32,
        /// The joiner's.
        theirs: u32,
    },
    /// A field of a joiner is not what it may be.
    #[error("{field} {found:?} is not {expects}")]
    BadField {
        /// The field.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expects: &'static str,
    },
    /// A weight out of range.
    #[error("a weight is 1 to {MAX_WEIGHT}, not {0}")]
    BadWeight(u32),
    /// The member has started again since.
    #[error("member {id} is at start {known}, not {found}")]
    OtherIncarnation {
        /// The member.
        id: NodeId,
        /// What the state has.
        known: Incarnation,
        /// What the command means.
        found: Incarnation,
    },
    /// The plan was made for another epoch.
    #[error("the plan is for epoch {expected}, and the topology is at {found}")]
    StaleEpoch {
        /// What the plan was made for.
        expected: Epoch,
        /// What the topology is at.
        found: Epoch,
    },
    /// Partitions that do not exist, or a run of none.
    #[error("a run of {count} partitions from {first} on is none or ends beyond the last")]
    OutOfRange {
        /// Where the run begins.
        first: Partition,
        /// How long it is.
        count: u16,
    },
    /// One command names a partition twice.
    #[error("partition {0} is named twice")]
    NamedTwice(Partition),
    /// A partition's owner would stand by for itself.
    #[error("member {id} cannot own partition {partition} and stand by for it")]
    OwnStandby {
        /// The partition.
        partition: Partition,
        /// The member.
        id: NodeId,
    },
    /// A partition would have a standby and no owner.
    #[error("partition {0} would have a standby and no owner")]
    NoOwner(Partition),
    /// A member that may not be given partitions would be given one.
    #[error("member {id} is {status} and cannot be given partition {partition}")]
    NotUp {
        /// The partition.
        partition: Partition,
        /// The member.
        id: NodeId,
        /// What it is.
        status: MemberStatus,
    },
    /// A new owner would inherit entries of which it can have no copies.
    #[error("member {id} did not stand by for partition {partition} and has nothing to inherit")]
    NothingToInherit {
        /// The partition.
        partition: Partition,
        /// The new owner.
        id: NodeId,
    },
    /// The copies meant are not those that there are.
    #[error("the copies of partition {partition} are of epoch {found}, not {expected}")]
    OtherCopies {
        /// The partition.
        partition: Partition,
        /// Those that are meant.
        expected: Epoch,
        /// Those that there are.
        found: Epoch,
    },
    /// A partition would have copies that has no standby, or no group of two copies.
    #[error("partition {0} has no standby, or no group of two copies")]
    NobodyCopies(Partition),
    /// The partition is moving.
    #[error("partition {partition} is moving to member {to}")]
    Moving {
        /// The partition.
        partition: Partition,
        /// Who will own it.
        to: NodeId,
    },
    /// The move that is meant is not there.
    #[error("partition {partition} has no move of tenure {tenure}")]
    NoSuchMove {
        /// The partition.
        partition: Partition,
        /// The move's tenure.
        tenure: Tenure,
    },
    /// A move to the owner.
    #[error("member {id} owns partition {partition} already")]
    OwnsAlready {
        /// The partition.
        partition: Partition,
        /// Its owner.
        id: NodeId,
    },
    /// A failed member would be given a partition.
    #[error("member {id} is to fail over and cannot be given partition {partition}")]
    FailedOver {
        /// The partition.
        partition: Partition,
        /// The member.
        id: NodeId,
    },
    /// The status is not one that can be set.
    #[error("a member becomes joining by joining or resuming, and in no other way")]
    CannotBeJoining,
    /// The member gets the log.
    #[error("member {0} is in the quorum")]
    InQuorum(NodeId),
    /// The member has partitions.
    #[error(
        "member {id} still owns {owned} partitions, stands by for {stood_by} and is to get {moving}"
    )]
    HasPartitions {
        /// The member.
        id: NodeId,
        /// How many it owns.
        owned: usize,
        /// How many it stands by for.
        stood_by: usize,
        /// How many are moving to it.
        moving: usize,
    },
    /// The groups have changed since.
    #[error("the change is for revision {expected} of the groups, and they are at {found}")]
    StaleRevision {
        /// What the change was made for.
        expected: u64,
        /// The latest revision.
        found: u64,
    },
    /// No group has this name.
    #[error("there is no group {0:?}")]
    UnknownGroup(Arc<str>),
    /// No group has this id.
    #[error("there is no group of id {0}")]
    UnknownGroupId(GroupId),
    /// One command names a group twice.
    #[error("the group {0:?} is named twice")]
    GroupNamedTwice(Arc<str>),
    /// A name that no group may have.
    #[error("{0:?} cannot be the name of a group: 1 to 64 of a-z 0-9 _ - beginning with a letter")]
    BadGroupName(Arc<str>),
    /// A field of a group is not what the groups file allows.
    #[error("{field} of the group {group:?} is not what a groups file may say")]
    BadGroup {
        /// The group.
        group: Arc<str>,
        /// The field.
        field: &'static str,
    },
    /// More groups than there may be.
    #[error("there would be {0} groups, more than {MAX_GROUPS}")]
    TooManyGroups(usize),
    /// More text in the groups than there may be.
    #[error("the groups would have {found} bytes of text, more than {most}")]
    GroupsTooLarge {
        /// How many they would have.
        found: usize,
        /// How many they may have.
        most: usize,
    },
    /// A note that is too long.
    #[error("the note has {found} bytes, more than {most}")]
    NoteTooLong {
        /// How many it has.
        found: usize,
        /// How many it may have.
        most: usize,
    },
    /// Ids or generations ran out.
    #[error("there are no more {0} to give")]
    Exhausted(&'static str),
    /// A member occurs twice in a change of the quorum.
    #[error("member {0} is named twice")]
    MemberNamedTwice(NodeId),
    /// A change of the quorum is under way.
    #[error("the quorum is changing already")]
    QuorumIsChanging,
    /// There is no change of the quorum to end.
    #[error("the quorum is not changing")]
    QuorumIsNotChanging,
    /// Nobody would vote.
    #[error("nobody would vote")]
    NoVoter,
}
