//! The state that the log replicates: one value, which is the same on every node at the same entry. Pure.
//!
//! `raft` owns it: it applies each committed command, puts the encoded state in its snapshots and compares
//! hashes with other nodes. All others read it. `apply` has the effect of each command, `codec` the encoding.

pub(super) mod apply;
pub mod codec;
pub mod recover;
pub mod snapshot_file;
mod specs;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{ClusterId, Epoch, GroupId, Incarnation, NodeId};
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{Agreed, Joiner};
use crate::topology::model::group::{Group, GroupSpec};
use crate::topology::model::member::{Member, MemberRecord, MemberStatus, Tombstone};
use crate::topology::model::partitions::PartitionTable;
use crate::topology::model::quorum::{Quorum, QuorumChange, QuorumRole};
use crate::topology::placement::place;
use crate::topology::view::{View, ViewError};

/// The most removed members whose names are kept. Of earlier ones only the id stays reserved.
pub const KEPT_TOMBSTONES: usize = 64;

/// The most revisions of the groups that are kept; fewer if their text is too long.
pub const KEPT_REVISIONS: usize = 16;

/// The most superseded clusters that are kept: each stands for one recovery after the loss of everything.
pub const KEPT_SUPERSEDED: usize = 64;

/// The founder's id. Later members get the ids after it.
const FOUNDER: NodeId = NodeId(1);

/// The version of a state that nobody has written anything into.
const FIRST_VERSION: u32 = 1;

/// The description of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Drawn at random.
    pub cluster: ClusterId,
    /// The clusters that this one continues, the oldest first. If there are more than [`KEPT_SUPERSEDED`],
    /// the oldest are forgotten.
    pub supersedes: Vec<ClusterId>,
    /// The settings that all processes must share.
    pub settings: Agreed,
    /// The founder, which becomes member 1.
    pub first: Joiner,
}

/// One revision of the groups: the complete description by the operator at that time.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Counts from 1.
    pub number: u64,
    /// The proposer's time, in milliseconds since 1970. Data for operators, never compared.
    pub at_unix_ms: u64,
    /// The operator's note.
    pub note: Arc<str>,
    /// Every group by name.
    pub groups: Arc<BTreeMap<Arc<str>, Arc<GroupSpec>>>,
}

/// The replicated state. Equal states have equal bytes, on every platform.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The version in use.
    pub(super) version: u32,
    pub(super) cluster: ClusterId,
    /// The oldest first, at most [`KEPT_SUPERSEDED`].
    pub(super) supersedes: Vec<ClusterId>,
    pub(super) settings: Agreed,
    pub(super) epoch: Epoch,
    /// The id of the next member. Every lower id was given.
    pub(super) next_node: NodeId,
    /// The id of the next group. Every lower id was given.
    pub(super) next_group: GroupId,
    pub(super) members: BTreeMap<NodeId, MemberRecord>,
    /// In the order of their removal, the latest last; at most [`KEPT_TOMBSTONES`].
    pub(super) tombstones: Vec<Tombstone>,
    pub(super) quorum: Quorum,
    /// Shared with clones until one of them changes it, so that a clone is cheap.
    pub(super) table: Arc<PartitionTable>,
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// The latest last, at most [`KEPT_REVISIONS`].
    pub(super) revisions: Vec<Revision>,
    /// Whether an operator has paused the ring: partitions stay with owners that live until the operator
    /// resumes it.
    pub(super) is_paused: bool,
}

impl State {
    /// The state of a new cluster: one member, which is up, votes and owns every partition.
    ///
    /// If [`Founding::check`] refuses the founder, the state has no [`view`](Self::view).
    #[must_use]
    pub fn found(founding: Founding) -> Self {
        let Founding {
            cluster,
            mut supersedes,
            settings,
            first,
        } = founding;
        supersedes.drain(..supersedes.len().saturating_sub(KEPT_SUPERSEDED));
        let epoch = Epoch(1);
        // A new cluster has nobody to wait for.
        let version = first.version.max(FIRST_VERSION);
        let founder = first.record(FOUNDER, MemberStatus::Up);
        let table = place(&[founder.member()], None, epoch);
        Self {
            version,
            cluster,
            supersedes,
            settings,
            epoch,
            next_node: NodeId(FOUNDER.0 + 1),
            next_group: GroupId(1),
            members: [(FOUNDER, founder)].into(),
            tombstones: Vec::new(),
            quorum: Quorum {
                voters: [FOUNDER].into(),
                ..Quorum::default()
            },
            table: Arc::new(table),
            groups: BTreeMap::new(),
            revisions: Vec::new(),
            is_paused: false,
        }
    }

    /// The state of a node of `cluster` before its first snapshot: no members, and no partition has an owner.
    #[must_use]
    pub fn unknown(cluster: ClusterId) -> Self {
        Self {
            version: FIRST_VERSION,
            cluster,
            supersedes: Vec::new(),
            settings: Agreed::ours(),
            epoch: Epoch(0),
            next_node: FOUNDER,
            next_group: GroupId(1),
            members: BTreeMap::new(),
            tombstones: Vec::new(),
            quorum: Quorum::default(),
            table: Arc::new(place(&[], None, Epoch(0))),
            groups: BTreeMap::new(),
            revisions: Vec::new(),
            is_paused: false,
        }
    }

    /// Gives the ids of removed members out again: a mistake, for the simulator to find.
    #[cfg(feature = "simulation")]
    pub fn forget_ids(&mut self) {
        let last = self.members.keys().next_back().copied().unwrap_or(FOUNDER);
        self.next_node = NodeId(last.0 + 1);
    }

    /// Makes this the state of a cluster in which an earlier version is in use.
    #[cfg(feature = "simulation")]
    pub fn set_version(&mut self, version: u32) {
        self.version = version;
    }

    /// Takes the quorum over as raft has applied it. The epoch stays, because the quorum is no part of the
    /// topology.
    pub fn set_quorum(&mut self, quorum: Quorum) {
        self.quorum = quorum;
    }

    /// The quorum.
    #[must_use]
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// Checks whether raft may make this change: its members exist, each is named once, there is a voter
    /// afterwards, and no other change is under way.
    ///
    /// # Errors
    /// Why it may not.
    pub fn may_change_quorum(&self, change: &QuorumChange) -> Result<(), Refusal> {
        if change.changes.is_empty() {
            return match self.quorum.is_joint() {
                true => Ok(()),
                false => Err(Refusal::QuorumIsNotChanging),
            };
        }
        if self.quorum.is_joint() {
            return Err(Refusal::QuorumIsChanging);
        }
        let mut named: Vec<NodeId> = change.changes.iter().map(|(id, _)| *id).collect();
        named.sort_unstable();
        if let Some(twice) = named.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Refusal::MemberNamedTwice(twice[0]));
        }
        for &(id, role) in &change.changes {
            let record = self.known(id)?;
            if let (Some(by), true) = (record.replaced_by, role != QuorumRole::Removed) {
                return Err(Refusal::Replaced { id, by });
            }
        }
        if self.quorum.voters_after(change).is_empty() {
            return Err(Refusal::NoVoter);
        }
        Ok(())
    }

    /// The id of the cluster, which never changes.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The clusters that this one continues, the oldest first.
    #[must_use]
    pub fn supersedes(&self) -> &[ClusterId] {
        &self.supersedes
    }

    /// The version of the topology.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The version in use: the founder's, or the highest version of a command that was applied since. An
    /// executable that knows only lower versions cannot join.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The highest version of a command that every member can apply. The leader proposes no command above it.
    #[must_use]
    pub fn known_version(&self) -> u32 {
        let versions = self.members.values().map(|record| record.version);
        versions.min().unwrap_or(self.version)
    }

    /// Every member of any status, in ascending order of the ids.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &MemberRecord> {
        self.members.values()
    }

    /// The member of this id.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&MemberRecord> {
        self.members.get(&id)
    }

    /// Whether member `id` is [`MemberStatus::Up`].
    #[must_use]
    pub fn is_up(&self, id: NodeId) -> bool {
        let member = self.member(id);
        member.is_some_and(|member| member.status == MemberStatus::Up)
    }

    /// Whether `id` belonged to a member that was removed.
    #[must_use]
    pub fn is_tombstone(&self, id: NodeId) -> bool {
        (FOUNDER..self.next_node).contains(&id) && !self.members.contains_key(&id)
    }

    /// The members that were removed last, the latest last: at most [`KEPT_TOMBSTONES`].
    #[must_use]
    pub fn tombstones(&self) -> &[Tombstone] {
        &self.tombstones
    }

    /// The id that the next member gets. Every lower id was given.
    #[must_use]
    pub fn next_node(&self) -> NodeId {
        self.next_node
    }

    /// The partition table: each partition's owner and standby.
    #[must_use]
    pub fn table(&self) -> &PartitionTable {
        &self.table
    }

    /// Every group, in ascending order of the ids.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> {
        self.groups.values()
    }

    /// Whether any group has two copies, so that standbys keep copies.
    #[must_use]
    pub fn has_copies(&self) -> bool {
        self.groups.values().any(|group| group.spec.copies > 1)
    }

    /// The latest revisions of the groups, the latest last: at most [`KEPT_REVISIONS`].
    #[must_use]
    pub fn revisions(&self) -> &[Revision] {
        &self.revisions
    }

    /// The number of the latest revision of the groups; 0 if there is none.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revisions.last().map_or(0, |revision| revision.number)
    }

    /// Whether an operator has paused the ring: partitions stay with owners that live, and no member is
    /// removed. Members still join and fail over.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The settings that all processes must share.
    #[must_use]
    pub fn settings(&self) -> &Agreed {
        &self.settings
    }

    /// The view of this topology, for readers.
    ///
    /// # Errors
    /// The mistakes in the state. A state that [`apply`](Self::apply) made has none.
    pub fn view(&self) -> Result<View, ViewError> {
        let groups = self.groups.values().cloned().collect();
        let cluster = self.cluster.to_string();
        View::new(cluster, self.epoch, self.ring(), &self.table, groups)
    }

    /// The members in the form that placement uses.
    pub(super) fn ring(&self) -> Vec<Member> {
        self.members.values().map(MemberRecord::member).collect()
    }

    /// The member of this id, or the reason why there is none.
    pub(super) fn known(&self, id: NodeId) -> Result<&MemberRecord, Refusal> {
        self.members.get(&id).ok_or(if self.is_tombstone(id) {
            Refusal::Removed(id)
        } else {
            Refusal::UnknownMember(id)
        })
    }

    /// The member of this id if `incarnation` is its latest start.
    pub(super) fn known_at(
        &self,
        id: NodeId,
        incarnation: Incarnation,
    ) -> Result<&MemberRecord, Refusal> {
        let record = self.known(id)?;
        if record.incarnation != incarnation {
            return Err(Refusal::OtherIncarnation {
                id,
                known: record.incarnation,
                found: incarnation,
            });
        }
        Ok(record)
    }

    /// The member of this id, for a change.
    pub(super) fn record_mut(&mut self, id: NodeId) -> &mut MemberRecord {
        self.members
            .get_mut(&id)
            .expect("the caller has found this member")
    }
}

impl Joiner {
    /// The record of this node as member `id`.
    pub(super) fn record(&self, id: NodeId, status: MemberStatus) -> MemberRecord {
        MemberRecord {
            id,
            name: self.name.clone(),
            host: self.host.clone(),
            raft_port: self.raft_port,
            grpc_port: self.grpc_port,
            admin_port: self.admin_port,
            zone: self.zone.clone(),
            weight: self.weight,
            incarnation: self.incarnation,
            version: self.version,
            nonce: self.nonce,
            leaves_on_term: self.leaves_on_term,
            has_left: false,
            status,
            replaced_by: None,
        }
    }
}

#[cfg(test)]
mod tests;
