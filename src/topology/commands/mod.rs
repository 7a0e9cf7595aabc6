//! Commands: the changes of the state that an entry of the log asks for, and their outcomes. Pure.
//!
//! The leader plans and proposes; [`State::apply`](super::State::apply) only checks and carries out. So each
//! command contains its whole outcome and its preconditions, and none asks for a computation that a later
//! version might do in another way.

pub mod refusal;
pub(super) mod runs;

use std::sync::Arc;

use crate::hash::{HASH_NAME, PARTITIONS};
use crate::ids::{Epoch, Generation, GroupId, Incarnation, NodeId, Partition, Tenure};
use crate::topology::model::group::{GroupSpec, OnIsolated};
use crate::topology::model::member::{MemberStatus, Zone};

/// The highest version of a command that this executable can apply. 2: [`GroupSpec::on_isolated`],
/// [`GroupSpec::copies`], [`Command::SetPaused`] and [`Command::SetCopies`]. 3: [`Command::Finalize`].
///
/// An executable that is one release older must be able to follow until the operator says otherwise. So
/// commands above [`UNFINALIZED_VERSION`] are used only once the cluster is finalized at their version.
pub const COMMAND_VERSION: u32 = 3;

/// Commands up to this version are used as soon as every member knows them, without the operator's word: the
/// oldest release that later ones live with knows them.
pub const UNFINALIZED_VERSION: u32 = 2;

/// The version of the protocol between nodes and frontends.
const PROTOCOL: u32 = 1;

/// The seed of the hash.
const HASH_SEED: u64 = 0;

/// A change of the state, as an entry of the log carries it.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Gives an id to a node that has none. It becomes a member that is [`MemberStatus::Joining`].
    Join(Joiner),
    /// Records that a member has started again with its directory.
    Resume(Resume),
    /// Changes the status of a member.
    SetStatus(SetStatus),
    /// Gives partitions other owners or standbys, at once.
    Assign(Assign),
    /// Begins moves of partitions to other owners.
    PrepareMoves(PrepareMoves),
    /// Completes moves: the new owners own from now on.
    ActivateMoves(Vec<ActivateRun>),
    /// Gives moves up: the partitions stay with their owners.
    AbortMoves(Vec<AbortRun>),
    /// Takes a member down, and gives its partitions to others in the same step.
    FailOver(FailOver),
    /// Creates, changes and removes groups, as one revision.
    SetGroups(SetGroups),
    /// Resets a group: every entry of it becomes void.
    ResetGroup(GroupRef),
    /// Removes a member for ever.
    RemoveMember(NodeId),
    /// Pauses the ring, so that partitions stay with owners that live, or lets them move again.
    SetPaused(bool),
    /// Lets standbys keep copies from now on, or none.
    SetCopies(Vec<CopiesRun>),
    /// Takes this version into use, at the operator's word: commands of it are proposed from now on, and no
    /// older executable can join or resume.
    Finalize(u32),
}

/// A node's description of itself when it joins or resumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joiner {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// An IP address or a DNS name, without a port.
    pub host: Arc<str>,
    /// The port of its Raft listener.
    pub raft_port: u16,
    /// The port of its gRPC service.
    pub grpc_port: u16,
    /// The port of its metrics and admin listener; 0 if it has none.
    pub admin_port: u16,
    /// The zone where it runs.
    pub zone: Zone,
    /// Its share of the partitions relative to the shares of others.
    pub weight: u32,
    /// How often it has started with its directory.
    pub incarnation: Incarnation,
    /// The highest command version that its executable can apply: [`COMMAND_VERSION`].
    pub version: u32,
    /// The settings that all processes of a cluster must share.
    pub settings: Agreed,
    /// Drawn at random once for each directory. So a join that is sent twice, because the first answer was
    /// lost, counts as one. 0 is none: each join without a nonce counts separately.
    pub nonce: u64,
    /// Whether it is gone for ever when it is stopped: then another node, with another name, takes its place.
    pub leaves_on_term: bool,
}

/// Settings that all processes of a cluster must share, because the owner of a key depends on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The name of the hash.
    pub hash: Arc<str>,
    /// Its seed.
    pub hash_seed: u64,
    /// How many partitions there are.
    pub partitions: u32,
    /// The version of the protocol between nodes and frontends.
    pub protocol: u32,
}

impl Agreed {
    /// The settings of this executable.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            hash: HASH_NAME.into(),
            hash_seed: HASH_SEED,
            partitions: PARTITIONS as u32,
            protocol: PROTOCOL,
        }
    }
}

/// The restart of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The member's id.
    pub id: NodeId,
    /// The node's description of itself now. Its name must still be the same.
    pub node: Joiner,
}

/// A change of a member's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetStatus {
    /// The member.
    pub id: NodeId,
    /// Its new status.
    pub status: MemberStatus,
    /// The start of the member that is meant. The command is refused if there was a later one.
    pub incarnation: Incarnation,
}

/// Consecutive partitions that get the same owner and standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub first: Partition,
    /// How many.
    pub count: u16,
    /// The member that answers for them.
    pub owner: Option<NodeId>,
    /// The member that answers in place of an unreachable owner.
    pub standby: Option<NodeId>,
    /// Whether entries of the previous tenure stay valid, because the new owner was the standby and has
    /// copies. Meaningless where the owner stays.
    pub is_inheriting: bool,
}

/// A change of owners and standbys at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    /// The epoch that the plan was made for.
    pub expected: Epoch,
    /// The partitions that change.
    pub runs: Vec<Run>,
}

/// Consecutive partitions that begin to move to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveRun {
    /// The first of them.
    pub first: Partition,
    /// How many.
    pub count: u16,
    /// Their next owner.
    pub to: NodeId,
}

/// The beginning of moves. The epoch that this command makes is the future tenure of the partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareMoves {
    /// The epoch that the plan was made for.
    pub expected: Epoch,
    /// The partitions that move.
    pub runs: Vec<MoveRun>,
}

/// Consecutive partitions whose moves are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivateRun {
    /// The first of them.
    pub first: Partition,
    /// How many.
    pub count: u16,
    /// The tenure of the moves: a later move is not meant.
    pub tenure: Tenure,
    /// The standby for the new owner.
    pub standby: Option<NodeId>,
}

/// Consecutive partitions whose moves are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortRun {
    /// The first of them.
    pub first: Partition,
    /// How many.
    pub count: u16,
    /// The tenure of the moves: a later move is not meant.
    pub tenure: Tenure,
}

/// Consecutive partitions whose standbys keep copies from now on, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiesRun {
    /// The first of them.
    pub first: Partition,
    /// How many.
    pub count: u16,
    /// The `since` of the copies that are meant: later copies are not.
    pub since: Epoch,
    /// Whether copies are kept from now on.
    pub are_kept: bool,
}

/// The fail-over of a member: it goes down, and others take its partitions. Every move from it or to it is
/// given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailOver {
    /// The epoch that the plan was made for.
    pub expected: Epoch,
    /// The member that is down.
    pub id: NodeId,
    /// The start of the member that is meant.
    pub incarnation: Incarnation,
    /// The new owners and standbys of the partitions that it owned or was the standby of.
    pub runs: Vec<Run>,
}

/// A new revision of the groups.
#[derive(Clone, Debug, PartialEq)]
pub struct SetGroups {
    /// The number of the revision that this one follows; 0 is none.
    pub expected: u64,
    /// Groups that are created or changed, by name.
    pub upserts: Vec<(Arc<str>, GroupSpec)>,
    /// Names of groups that are removed.
    pub removed: Vec<Arc<str>>,
    /// The proposer's time, in milliseconds since 1970: data for operators, never compared.
    pub at_unix_ms: u64,
    /// The operator's note on it.
    pub note: String,
}

/// A group, by its name or by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRef {
    /// The group that has this name now.
    Name(Arc<str>),
    /// The group of this id, and no later one of its name.
    Id(GroupId),
}

/// The outcome of a command. The epoch is one more than before, unless a variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The joiner is the member of this id. The epoch is the same if the join was sent twice.
    Joined(NodeId),
    /// The groups changed.
    Groups(GroupsChange),
    /// Every entry of the group that is older than this generation is void.
    Reset(GroupId, Generation),
    /// The topology changed, and this is its epoch.
    Epoch(Epoch),
    /// This version is in use from now on; the epoch is the same.
    Finalized(u32),
    /// The quorum changed; the epoch is the same.
    Quorum,
    /// The state was already as the command wants it; the epoch is the same.
    Nothing,
}

/// The outcome of [`Command::SetGroups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsChange {
    /// The epoch of the topology.
    pub epoch: Epoch,
    /// The number of the new revision.
    pub revision: u64,
    /// The groups that were created or changed, in the order of their names.
    pub groups: Vec<(Arc<str>, GroupId, Generation)>,
}

impl Command {
    /// The lowest [`COMMAND_VERSION`] whose executables can apply this command.
    ///
    /// The leader proposes no command of a higher version than every member knows.
    #[must_use]
    pub fn version(&self) -> u32 {
        match self {
            // An older executable would read such a group without the new fields.
            Self::SetGroups(set) if set.upserts.iter().any(|(_, spec)| is_newer(spec)) => 2,
            Self::SetPaused(_) | Self::SetCopies(_) => 2,
            // Whoever carries it out has to know all of the version.
            Self::Finalize(version) => *version,
            _ => 1,
        }
    }
}

/// Whether a group uses a field that executables of version 1 do not know.
fn is_newer(spec: &GroupSpec) -> bool {
    spec.on_isolated != OnIsolated::Serve || spec.copies != 1
}
