//! A member: a node as the topology knows it. Pure.
//!
//! Placement reads its weight, zone and status; frontends and nodes read where it is reached.

use std::fmt;
use std::sync::Arc;

use crate::ids::NodeId;

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

/// A node as the topology knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Never reused, not even after the member is removed.
    pub id: NodeId,
    /// What the operator calls it. Unique in a topology.
    pub name: Arc<str>,
    /// An IP address or a DNS name, without a port.
    pub host: Arc<str>,
    /// The port of its gRPC service.
    pub grpc_port: u16,
    /// Where it runs: a partition's standby is in another zone than its owner if it can be.
    pub zone: Zone,
    /// Its share of the partitions relative to the others', for example its MiB of memory.
    /// 1 to [`MAX_WEIGHT`].
    pub weight: u32,
    /// Only a member that is up is assigned partitions.
    pub status: MemberStatus,
}

impl Member {
    /// Whether placement assigns it partitions. A weight of 0, which no valid topology holds, is
    /// no share at all and not a division by zero.
    #[must_use]
    pub fn may_own(&self) -> bool {
        self.status == MemberStatus::Up && self.weight > 0
    }
}

/// Whether a member takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberStatus {
    /// Renews its lease; owns its share.
    Up,
    /// Its lease ran out, as committed in the log. It keeps its row until it is removed.
    Down,
}
