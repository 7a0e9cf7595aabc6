//! Finds out whether a node must not go on with its log, although the log is intact: because its cluster was
//! recovered under another id, or its member was removed.
//!
//! Nodes that share the data directory see a recovery in its latch. Nodes with a directory of their own learn
//! of it here, from the seeds. Otherwise they would wait for their old cluster for ever, or, worse, enough of
//! them would find each other to go on with the old cluster beside the new one.

use std::fmt;

use super::Shared;
use crate::ids::{ClusterId, NodeId};
use crate::raft::latch::Root;
use crate::raft::log::Ident;
use crate::rpc::control::shown;

/// How long a seed may take to show its state.
const SHOWN_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// What became of a node's cluster or membership while it was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// An operator recovered the cluster under another id.
    Superseded { old: ClusterId, new: ClusterId },
    /// The member of this id was removed.
    Removed(NodeId),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded { old, new } => {
                write!(f, "cluster {old} was recovered as cluster {new}")
            }
            Self::Removed(node) => write!(f, "member {node} was removed from the cluster"),
        }
    }
}

impl Fate {
    /// Makes the data directory belong to the new cluster. Only an operator's recovery makes one cluster
    /// supersede another.
    pub(super) fn follow(self, root: &Root) -> Result<(), String> {
        match self {
            Self::Superseded { new, .. } => root.replace(new).map_err(|error| error.to_string()),
            Self::Removed(_) => Ok(()),
        }
    }
}

/// Asks the seeds for the fate of this member. None if they know nothing against it, or do not answer.
/// Cancel-safe.
pub(super) async fn fate(shared: &Shared, ident: Ident) -> Option<Fate> {
    let others = shared.others();
    let asked = others.iter().map(|seed| shown(seed, SHOWN_PATIENCE));
    let states = futures_util::future::join_all(asked).await;
    let states = || states.iter().flatten();
    let (old, node) = (ident.cluster, ident.node);
    // Recovery first: an old peer that knows nothing of it does not count against a node that does.
    let successor = states().find(|state| state.supersedes().contains(&old));
    if let Some(successor) = successor {
        let new = successor.cluster();
        return Some(Fate::Superseded { old, new });
    }
    let is_removed = states().any(|state| state.cluster() == old && state.is_tombstone(node));
    is_removed.then_some(Fate::Removed(node))
}
