//! What a node goes by: which member it is, who owns what, and whether it may act.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::lease::Held;
use super::me::Me;
use super::member::Renewer;
use crate::topology::view::View;

/// What a node goes by.
pub(super) struct Known {
    /// Who it is.
    pub(super) me: Me,
    /// Who owns what.
    pub(super) view: watch::Receiver<Arc<View>>,
    /// Whether it may act for what it owns.
    pub(super) held: Held,
    /// Who wants to know what the data plane goes by.
    pub(super) renewer: Option<Arc<Renewer>>,
    /// The local address that connections leave from.
    pub(super) from: IpAddr,
}
