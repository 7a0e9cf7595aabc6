//! What seeds say in tests of this room.

use super::seen::SeedStatus;
use crate::ids::{Incarnation, NodeId};

/// A seed called `name` that has opened no data directory and is in no cluster.
pub(super) fn seed(name: &str) -> SeedStatus {
    SeedStatus {
        name: name.to_owned(),
        root: None,
        cluster: None,
        node: NodeId(0),
        incarnation: Incarnation(0),
        host: "127.0.0.1".to_owned(),
        raft_port: 7000,
    }
}
