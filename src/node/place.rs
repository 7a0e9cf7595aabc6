//! Where a node gets what it goes by: from its control plane, or fixed.

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

/// How a node knows who it is and who owns what.
pub enum Place {
    /// It was told, and needs no lease: for tests and benchmarks of the data plane alone.
    Fixed {
        /// Which member this is.
        me: NodeId,
        /// Who owns what.
        view: watch::Receiver<Arc<View>>,
    },
    /// As its control plane agrees with others.
    Agreed(Box<control::Parts>),
}

impl Place {
    /// The control plane, started, and what the node goes by.
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
