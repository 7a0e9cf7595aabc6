//! A member: a node as a part of the topology. Pure.
//!
//! Placement reads its weight, zone and status; frontends and nodes read its addresses.

use std::fmt;
use std::sync::Arc;

use crate::ids::{Incarnation, NodeId};

/// The most members a topology has.
///
/// At this many a fair share is 16 partitions, so that "within one partition of its share" still
/// means within about 6 %. Placement takes time and memory quadratic in the number of members.
pub const MAX_MEMBERS: usize = 256;

/// The largest weight of a member; the smallest is 1.
pub const MAX_WEIGHT: u32 = 1_000_000;

/// A failure domain, such as an AWS availability zone. Any name: only equality matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(Arc<str>);

impl Zone {
    /// The zone of this name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name, as an operator or the task metadata gave it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node as a part of the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Never reused, not even after the member is removed.
    pub id: NodeId,
    /// The operator's name for it. Unique in a topology.
    pub name: Arc<str>,
    /// An IP address or a DNS name, without a port.
    pub host: Arc<str>,
    /// The port of its gRPC service.
    pub grpc_port: u16,
    /// The zone where it runs: a partition's standby is in another zone than its owner if possible.
    pub zone: Zone,
    /// Its share of the partitions relative to the shares of others, for example its MiB of memory: 1 to
    /// [`MAX_WEIGHT`].
    pub weight: u32,
    /// Only a member that is up is assigned partitions.
    pub status: MemberStatus,
}

impl Member {
    /// Whether placement assigns it partitions. A weight of 0, which no valid topology has, means no share:
    /// so there is no division by zero.
    #[must_use]
    pub fn may_own(&self) -> bool {
        self.status == MemberStatus::Up && self.weight > 0
    }
}

/// Whether a member takes part in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberStatus {
    /// It has an id but is not in the ring yet: it is catching up with the log.
    Joining,
    /// It renews its lease and owns its share.
    Up,
    /// It is about to stop: it keeps what it owns until other members have it, and gets nothing more.
    Leaving,
    /// Its lease ran out, as an entry of the log says. It keeps its record until it is removed.
    Down,
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Up => "up",
            Self::Leaving => "leaving",
            Self::Down => "down",
        })
    }
}

/// A member's record in the state: all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// Never reused, not even after the member is removed.
    pub id: NodeId,
    /// The operator's name for it. Unique among members that are not [replaced](Self::replaced_by).
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
    /// Its share of the partitions relative to the shares of others: 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// Its latest start. Messages of earlier ones are refused.
    pub incarnation: Incarnation,
    /// The highest command version that its executable can apply.
    pub version: u32,
    /// Drawn with its directory; see [`Joiner::nonce`](crate::topology::commands::Joiner::nonce).
    pub nonce: u64,
    /// Whether it is gone for ever when it is stopped. Such a member is removed once it has left and is down;
    /// its vote goes to another member as soon as there is one.
    pub leaves_on_term: bool,
    /// Whether it has been leaving since its latest start.
    pub has_left: bool,
    /// Only a member that is up is given partitions.
    pub status: MemberStatus,
    /// The member that took its name while it was down. It stays down until it is removed.
    pub replaced_by: Option<NodeId>,
}

impl MemberRecord {
    /// The member in the form that views and placement use.
    ///
    /// A replaced member gets a name that no node can have, because names in a view are unique.
    #[must_use]
    pub fn member(&self) -> Member {
        let name = match self.replaced_by {
            None => self.name.clone(),
            Some(_) => format!("{}#{}", self.name, self.id).into(),
        };
        Member {
            id: self.id,
            name,
            host: self.host.clone(),
            grpc_port: self.grpc_port,
            zone: self.zone.clone(),
            weight: self.weight,
            status: self.status,
        }
    }
}

/// What is left of a member that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Never given again.
    pub id: NodeId,
    /// Its name.
    pub name: Arc<str>,
    /// Its latest start.
    pub incarnation: Incarnation,
}
