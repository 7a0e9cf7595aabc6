//! The reasons why a command is refused, in words for an operator. Pure.

use std::sync::Arc;

use thiserror::Error;

use crate::ids::{Epoch, GroupId, Incarnation, NodeId, Partition, Tenure};
use crate::topology::model::member::{MAX_MEMBERS, MAX_WEIGHT, MemberStatus};
use crate::topology::model::rules::MAX_GROUPS;

/// The reason why a command was refused. A refused command changes nothing.
///
/// A refusal is the same on every node, because all have the same state. The proposer decides whether to try
/// again: it makes a stale plan anew; anything else waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Raft itself cannot make this change of the quorum.
    #[error("raft cannot make this change of the quorum: {0}")]
    Quorum(String),
    /// No member has this id, and none ever had.
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
        /// The member that has it.
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
    /// There are as many members as are allowed.
    #[error("there are {MAX_MEMBERS} members, and no more may join")]
    TooManyMembers,
    /// A setting that all processes must share differs.
    #[error("{setting} is {theirs} there and {ours} in this cluster")]
    SettingDiffers {
        /// The setting.
        setting: &'static str,
        /// What the cluster has.
        ours: String,
        /// What the joiner has.
        theirs: String,
    },
    /// The executable is older than a command version that is in use.
    #[error("the executable knows commands up to version {theirs}, and version {ours} is in use")]
    TooOld {
        /// The version in use.
        ours: u32,
        /// The joiner's.
        theirs: u32,
    },
    /// A member does not know the command.
    #[error(
        "the command needs version {needs}, and a member knows versions up to {known}: upgrade all nodes first"
    )]
    NotKnown {
        /// The version of the command.
        needs: u32,
        /// The highest version that every member knows.
        known: u32,
    },
    /// The operator has not taken the version of the command into use.
    #[error(
        "the command needs version {needs}, and the cluster is at version {in_use}: run gcache cluster finalize first"
    )]
    NotFinalized {
        /// The version of the command.
        needs: u32,
        /// The version in use.
        in_use: u32,
    },
    /// The version is in use without that.
    #[error("version {0} needs no finalizing")]
    NeedsNoFinalizing(u32),
    /// A field of a joiner is not valid.
    #[error("{field} {found:?} is not {expects}")]
    BadField {
        /// The field.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expects: &'static str,
    },
    /// A weight out of range.
    #[error("a weight is 1 to {MAX_WEIGHT}, not {0}")]
    BadWeight(u32),
    /// The member has started again since the command was made.
    #[error("member {id} is at start {known}, not {found}")]
    OtherIncarnation {
        /// The member.
        id: NodeId,
        /// What the state has.
        known: Incarnation,
        /// The start that the command is for.
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
    /// A run contains partitions that do not exist, or none at all.
    #[error("a run of {count} partitions from {first} on is none or ends beyond the last")]
    OutOfRange {
        /// Where the run begins.
        first: Partition,
        /// How long it is.
        count: u16,
    },
    /// A command names a partition twice.
    #[error("partition {0} is named twice")]
    NamedTwice(Partition),
    /// A partition's owner would be its own standby.
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
    /// A member that may not get partitions would get one.
    #[error("member {id} is {status} and cannot be given partition {partition}")]
    NotUp {
        /// The partition.
        partition: Partition,
        /// The member.
        id: NodeId,
        /// What it is.
        status: MemberStatus,
    },
    /// A new owner would inherit entries that it cannot have copies of.
    #[error("member {id} did not stand by for partition {partition} and has nothing to inherit")]
    NothingToInherit {
        /// The partition.
        partition: Partition,
        /// The new owner.
        id: NodeId,
    },
    /// The copies that the command is for are not the present ones.
    #[error("the copies of partition {partition} are of epoch {found}, not {expected}")]
    OtherCopies {
        /// The partition.
        partition: Partition,
        /// The epoch of the copies that the command is for.
        expected: Epoch,
        /// The epoch of the present copies.
        found: Epoch,
    },
    /// A partition would have copies, but has no standby, or there is no group of two copies.
    #[error("partition {0} has no standby, or no group of two copies")]
    NobodyCopies(Partition),
    /// The partition is moving.
    #[error("partition {partition} is moving to member {to}")]
    Moving {
        /// The partition.
        partition: Partition,
        /// Its next owner.
        to: NodeId,
    },
    /// The move that the command is for does not exist.
    #[error("partition {partition} has no move of tenure {tenure}")]
    NoSuchMove {
        /// The partition.
        partition: Partition,
        /// The move's tenure.
        tenure: Tenure,
    },
    /// A partition would move to its owner.
    #[error("member {id} owns partition {partition} already")]
    OwnsAlready {
        /// The partition.
        partition: Partition,
        /// Its owner.
        id: NodeId,
    },
    /// A partition would be given to the member that fails over.
    #[error("member {id} is failing over and cannot be given partition {partition}")]
    FailedOver {
        /// The partition.
        partition: Partition,
        /// The member.
        id: NodeId,
    },
    /// The status cannot be set by a command.
    #[error("a member becomes joining by joining or resuming, and in no other way")]
    CannotBeJoining,
    /// The member is still in the quorum.
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
        /// How many it is the standby of.
        stood_by: usize,
        /// How many are moving to it.
        moving: usize,
    },
    /// The groups have changed since the command was made.
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
    /// A command names a group twice.
    #[error("the group {0:?} is named twice")]
    GroupNamedTwice(Arc<str>),
    /// The name is not valid for a group.
    #[error("{0:?} cannot be the name of a group: 1 to 64 of a-z 0-9 _ - beginning with a letter")]
    BadGroupName(Arc<str>),
    /// A field of a group is not valid.
    #[error("{field} of the group {group:?} is not valid")]
    BadGroup {
        /// The group.
        group: Arc<str>,
        /// The field.
        field: &'static str,
    },
    /// There would be more groups than are allowed.
    #[error("there would be {0} groups, more than {MAX_GROUPS}")]
    TooManyGroups(usize),
    /// The groups would have more text than is allowed.
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
    /// No voter would be left.
    #[error("no voter would be left")]
    NoVoter,
}
