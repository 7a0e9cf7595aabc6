//! What the sending tasks of all peers know of this node.

use std::net::IpAddr;

use super::book::Address;
use super::metrics::Metrics;
use super::report::Reporter;

/// What all peers' tasks know of this node.
pub(super) struct Local {
    pub(super) report: Reporter,
    pub(super) metrics: Metrics,
    /// Where connections leave from.
    pub(super) from: IpAddr,
    /// Where this node listens, for peers to know.
    pub(super) address: Option<Address>,
}
