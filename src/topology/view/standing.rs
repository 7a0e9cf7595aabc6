//! How a member stands to a partition, and which entries are valid there. Pure.
//!
//! A node looks at its view once for each call ([`View::standing`]). [`Stamps`] are made here and nowhere else, so
//! that a read, the load that it begins and an operator's question never differ about what is valid.

use super::{Role, Route, View};
use crate::ids::{Generation, NodeId, Partition, Tenure};
use crate::topology::model::group::Group;
use crate::topology::model::partitions::Copies;

/// What a view says of one member and one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The members that answer for the partition.
    pub route: Route,
    /// Whether the standby keeps copies, and since when.
    pub copies: Copies,
    /// The member's role.
    pub role: Role,
}

/// What is valid of a group in a partition, by one view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// The partition's tenure: what is loaded now will carry it.
    pub tenure: Tenure,
    /// An earlier tenure whose entries stay valid.
    pub inherits: Option<Tenure>,
    /// The stamp of the copies that a standby may serve.
    pub copies: Option<Tenure>,
    /// The group's generation.
    pub generation: Generation,
}

impl Stamps {
    /// The stamps of a group that is gone: nothing is valid, and nothing that is loaded is kept.
    pub const NOTHING: Self = Self {
        tenure: Tenure(u64::MAX),
        inherits: None,
        copies: None,
        generation: Generation(u32::MAX),
    };

    /// Whether an entry or token of this tenure is valid.
    #[must_use]
    pub fn accept_tenure(&self, tenure: Tenure) -> bool {
        tenure == self.tenure || Some(tenure) == self.inherits
    }
}

impl Standing {
    /// What is valid of `group` there.
    #[must_use]
    #[inline]
    pub fn stamps(&self, group: &Group) -> Stamps {
        stamps(&self.route, self.copies, group)
    }
}

impl View {
    /// How `node` stands to `partition`; panics as [`route_of`](Self::route_of) does.
    #[must_use]
    #[inline]
    pub fn standing(&self, node: NodeId, partition: Partition) -> Standing {
        let route = self.route_of(partition);
        Standing {
            route,
            copies: self.copies_of(partition),
            role: self.role_by(node, &route),
        }
    }

    /// What is valid of `group` in `partition`, for any member; panics as [`route_of`](Self::route_of) does.
    #[must_use]
    #[inline]
    pub fn stamps(&self, partition: Partition, group: &Group) -> Stamps {
        stamps(&self.route_of(partition), self.copies_of(partition), group)
    }
}

#[inline]
fn stamps(route: &Route, copies: Copies, group: &Group) -> Stamps {
    Stamps {
        tenure: route.tenure,
        inherits: route.inherits,
        copies: copies.stamp(),
        generation: group.generation,
    }
}
