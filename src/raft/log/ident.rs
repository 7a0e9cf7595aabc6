//! Whose log a log is, as its first row says.

use crate::ids::{ClusterId, Incarnation, NodeId};

/// Whose log it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node: fresh with every fresh log, never reused.
    pub node: NodeId,
    /// How often the log has been opened.
    pub incarnation: Incarnation,
}
