//! The source of a node's id and view: its control plane, or fixed values.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::sync::watch;

use super::known::Known;
use super::lease::Held;
use super::{control, inspect};
use crate::clock::Clock;
use crate::ids::NodeId;
use crate::metrics::Registry;
use crate::shutdown::Shutdown;
use crate::topology::view::View;

/// How a node gets its id and its view.
pub enum Place {
    /// Both are given, and the node needs no lease: for tests and benchmarks of the data plane alone.
    Fixed {
        /// Which member this is.
        me: NodeId,
        /// The view: which member owns which partition.
        view: watch::Receiver<Arc<View>>,
    },
    /// The node's control plane agrees on both with other nodes.
    Agreed(Box<control::Parts>),
}

impl Place {
    /// Starts the control plane, if there is one; returns it and what the node knows through it.
    pub(super) fn take(
        self,
        clock: Clock,
        registry: &Registry,
        shutdown: &Shutdown,
        inspector: inspect::Inspector,
    ) -> (Option<control::Service>, Known) {
        match self {
            Self::Fixed { me, view } => {
                let known = Known {
                    me: me.into(),
                    view,
                    held: Held::always(),
                    renewer: None,
                    from: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                };
                (None, known)
            }
            Self::Agreed(parts) => {
                let control = control::start(*parts, clock, registry, shutdown, inspector);
                let known = control.known();
                (Some(control), known)
            }
        }
    }
}
