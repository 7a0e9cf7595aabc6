//! What the data plane goes by: which member this node is, its view, and whether it may act.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::lease::Held;
use super::me::Me;
use super::member::Renewer;
use crate::topology::view::View;

/// What the data plane of a node takes from its control plane.
pub(super) struct Known {
    /// The node's id.
    pub(super) me: Me,
    /// The view: which member owns which partition.
    pub(super) view: watch::Receiver<Arc<View>>,
    /// The lease: whether the node may act for what it owns.
    pub(super) held: Held,
    /// Receives which epoch the data plane has applied. None with a given view.
    pub(super) renewer: Option<Arc<Renewer>>,
    /// The local address that connections leave from.
    pub(super) from: IpAddr,
}
