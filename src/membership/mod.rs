//! What one node decides about its own membership: how it becomes a member of a cluster, stays one, and
//! ends. Pure.
//!
//! Each file has one decision: it gets what the node sees, with the time, and returns what the node does
//! next. `node/member` sees, waits, sends and logs; the simulator does the same to the same decisions.
//! What a leader decides about the other members is in [`crate::topology`].
//!
//! A life passes through them in this order:
//!
//! - `opening`: what becomes of the log that lies in the data directory.
//! - `founding` and `joining`: how a node without a log begins.
//! - `superseded`: whether the cluster went on without this member, so that its log is of no use.
//! - `promises`: whether the log still holds what others have heard the member promise.
//! - `announcing`: how a member reports that it has started again.
//! - `obstacle`: what keeps a node from becoming a member that is up.
//! - `readiness`: what the node shows of its membership.
//! - `leaving`: how a member gives away what it owns before it stops.
//! - `ending`: what a node does once its membership has ended.
//! - `admitting`: what a member answers to another that joins, has started again or leaves.
//! - `collecting`: which directories of removed members the leader's node deletes.
//! - `seen`: what the decisions above know of other nodes.

pub mod opening;

pub mod founding;

pub mod joining;

pub mod superseded;

pub mod promises;

pub mod announcing;

pub mod obstacle;

pub mod readiness;

pub mod leaving;

pub mod ending;

pub mod admitting;

pub mod collecting;

pub mod seen;

#[cfg(test)]
mod fixtures;

/// Why a node takes no part in a cluster, or not yet: a text for its operator.
pub type Reason = String;
