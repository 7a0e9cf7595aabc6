//! What an entry of the log asks of the state, and what comes of it. Pure.
//!
//! The leader plans and proposes; [`State::apply`](super::State::apply) only checks and does. So each
//! command carries its whole outcome and what must still hold for it, and none asks for a computation
//! that a later version might do in another way.

pub mod refusal;
pub(super) mod runs;

use std::sync::Arc;

use crate::hash::{HASH_NAME, PARTITIONS};
use crate::ids::{Epoch, Generation, GroupId, Incarnation, NodeId, Partition, Tenure};
use crate::topology::model::group::{GroupSpec, OnIsolated};
use crate::topology::model::member::{MemberStatus, Zone};

/// The highest version of a command that this executable can apply. 2: [`GroupSpec::on_isolated`],
/// [`GroupSpec::copies`], [`Command::SetPaused`] and [`Command::SetCopies`].
pub const COMMAND_VERSION: u32 = 2;

/// The version of what nodes and frontends say to each other.
const PROTOCOL: u32 = 1;

/// The seed of the hash.
const HASH_SEED: u64 = 0;

/// A change of the state, as an entry of the log carries it.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A node that has no id asks for one. It becomes a member that is [`MemberStatus::Joining`].
    Join(Joiner),
    /// A member has started again on its directory.
    Resume(Resume),
    /// A member is of another status from now on.
    SetStatus(SetStatus),
    /// Partitions get other owners or standbys, at once.
    Assign(Assign),
    /// Partitions begin to move to other owners.
    PrepareMoves(PrepareMoves),
    /// Moves are over: their targets own.
    ActivateMoves(Vec<ActivateRun>),
    /// Moves are given up: their targets get nothing.
    AbortMoves(Vec<AbortRun>),
    /// A member is down, and others take its partitions in the same step.
    FailOver(FailOver),
    /// Groups are made, changed and removed, as one revision.
    SetGroups(SetGroups),
    /// Every entry of a group is void.
    ResetGroup(GroupRef),
    /// A member is gone for ever.
    RemoveMember(NodeId),
    /// Partitions stay with owners that live, or may move again.
    SetPaused(bool),
    /// Standbys keep copies from now on, or none.
    SetCopies(Vec<CopiesRun>),
}

/// What a node says of itself when it joins or resumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joiner {
    /// What the operator calls it.
    pub name: Arc<str>,
    /// An IP address or a DNS name, without a port.
    pub host: Arc<str>,
    /// The port of its Raft listener.
    pub raft_port: u16,
    /// The port of its gRPC service.
    pub grpc_port: u16,
    /// The port of its metrics and admin listener; 0 if it has none.
    pub admin_port: u16,
    /// Where it runs.
    pub zone: Zone,
    /// Its share of the partitions relative to the others'.
    pub weight: u32,
    /// How often it has started on its directory.
    pub incarnation: Incarnation,
    /// The highest command version that its executable can apply: [`COMMAND_VERSION`].
    pub version: u32,
    /// What all processes of a cluster have in common.
    pub settings: Agreed,
    /// Drawn at random once for a directory, so that a join that is sent twice, because the first
    /// answer was lost, is one join. 0 is none: every such join is another.
    pub nonce: u64,
    /// Whether it goes for ever when it is stopped: another takes its place, under another name.
    pub leaves_on_term: bool,
}

/// Settings that all processes of a cluster must have in common: they decide who owns a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The name of the hash.
    pub hash: Arc<str>,
    /// Its seed.
    pub hash_seed: u64,
    /// How many partitions there are.
    pub partitions: u32,
    /// The version of what nodes and frontends say to each other.
    pub protocol: u32,
}

impl Agreed {
    /// Those of this executable.
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

/// A member has started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The id that it was given.
    pub id: NodeId,
    /// What it says of itself now. Its name is still the same.
    pub node: Joiner,
}

/// A member is of another status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetStatus {
    /// The member.
    pub id: NodeId,
    /// What it is from now on.
    pub status: MemberStatus,
    /// The start of the member that is meant; refused if there was a later one.
    pub incarnation: Incarnation,
}

/// Consecutive partitions that get the same owner and standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub first: Partition,
    /// How many.
    pub count: u16,
    /// Who answers for them.
    pub owner: Option<NodeId>,
    /// Who answers in place of an unreachable owner.
    pub standby: Option<NodeId>,
    /// Whether entries of the tenure before stay valid: the new owner stood by with copies. Means
    /// nothing where the owner stays.
    pub is_inheriting: bool,
}

/// Other owners and standbys, at once.
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
    /// Who will own them.
    pub to: NodeId,
}

/// Partitions begin to move. The epoch that this makes is the tenure that they will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareMoves {
    /// The epoch that the plan was made for.
    pub expected: Epoch,
    /// The partitions that move.
    pub runs: Vec<MoveRun>,
}

/// Consecutive partitions whose moves are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivateRun {
    /// The first of them.
    pub first: Partition,
    /// How many.
    pub count: u16,
    /// The tenure of the moves, so that no later move is meant.
    pub tenure: Tenure,
    /// Who stands by for the new owner.
    pub standby: Option<NodeId>,
}

/// Consecutive partitions whose moves are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortRun {
    /// The first of them.
    pub first: Partition,
    /// How many.
    pub count: u16,
    /// The tenure of the moves, so that no later move is meant.
    pub tenure: Tenure,
}

/// Consecutive partitions whose standbys keep copies from now on, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiesRun {
    /// The first of them.
    pub first: Partition,
    /// How many.
    pub count: u16,
    /// Since when the copies are as they are, so that no later ones are meant.
    pub since: Epoch,
    /// Whether they are kept.
    pub are_kept: bool,
}

/// A member is down, and others take its partitions. Every move from it or to it is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailOver {
    /// The epoch that the plan was made for.
    pub expected: Epoch,
    /// The member that is down.
    pub id: NodeId,
    /// The start of the member that is meant.
    pub incarnation: Incarnation,
    /// Who takes what it owned and what it stood by for.
    pub runs: Vec<Run>,
}

/// A new revision of the groups.
#[derive(Clone, Debug, PartialEq)]
pub struct SetGroups {
    /// The number of the revision that this one follows; 0 is none.
    pub expected: u64,
    /// Groups that are made or changed, by name.
    pub upserts: Vec<(Arc<str>, GroupSpec)>,
    /// Names of groups that are removed.
    pub removed: Vec<Arc<str>>,
    /// The proposer's time, in milliseconds since 1970: data for operators, never compared.
    pub at_unix_ms: u64,
    /// What the operator says of it.
    pub note: String,
}

/// A group, by what somebody knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRef {
    /// The group that has this name now.
    Name(Arc<str>),
    /// The group of this id, and no later one of its name.
    Id(GroupId),
}

/// What came of a command. The epoch is one more than before, but for [`Change::Nothing`].
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
    /// Who votes changed; the epoch is the same.
    Quorum,
    /// All was as the command wants it; the epoch is the same.
    Nothing,
}

/// What came of [`Command::SetGroups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsChange {
    /// The epoch of the topology.
    pub epoch: Epoch,
    /// The number of the new revision.
    pub revision: u64,
    /// The groups that were made or changed, in the order of their names.
    pub groups: Vec<(Arc<str>, GroupId, Generation)>,
}

impl Command {
    /// The lowest [`COMMAND_VERSION`] whose executables can apply this command.
    ///
    /// The leader proposes none above what every member knows.
    #[must_use]
    pub fn version(&self) -> u32 {
        match self {
            // An older executable would read such a group as one that says nothing of it.
            Self::SetGroups(set) if set.upserts.iter().any(|(_, spec)| is_newer(spec)) => 2,
            Self::SetPaused(_) | Self::SetCopies(_) => 2,
            _ => 1,
        }
    }
}

/// Whether a group says something that executables of version 1 do not know.
fn is_newer(spec: &GroupSpec) -> bool {
    spec.on_isolated != OnIsolated::Serve || spec.copies != 1
}
