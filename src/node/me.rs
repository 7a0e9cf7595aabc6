//! The id of the member that this node is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::NodeId;

/// This node's id. It is 0, which no member has, until the node becomes a member.
#[derive(Clone, Debug, Default)]
pub(super) struct Me(Arc<AtomicU64>);

impl Me {
    pub(super) fn set(&self, id: NodeId) {
        self.0.store(id.0, Ordering::Release);
    }

    pub(super) fn get(&self) -> NodeId {
        NodeId(self.0.load(Ordering::Acquire))
    }
}

impl From<NodeId> for Me {
    fn from(id: NodeId) -> Self {
        Self(Arc::new(AtomicU64::new(id.0)))
    }
}
