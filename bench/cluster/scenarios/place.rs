//! Where the processes of a scenario are: on loopback addresses of their own, or, where links are cut, each on a
//! host of its own. The harness, its load and PostgreSQL reach all of them in any case.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::network::{HUB, Network};
use crate::process::GUARD;

const HTTP: u16 = 9999;
const GRPC: u16 = 8001;
const ADMIN: u16 = 2112;

/// Where PostgreSQL listens, and the relay to it unless nodes are on hosts of their own.
pub(crate) const DATABASE: Ipv4Addr = Ipv4Addr::new(127, 0, 12, 1);

/// Addresses, and how a process is started at one.
pub(crate) struct Place(Option<Network>);

impl Place {
    /// Everything on this machine's loopback.
    pub(crate) fn loopback() -> Self {
        Self(None)
    }

    /// Hosts for so many nodes and frontends. The calling thread moves to where it reaches them all, and with it
    /// whatever it starts from then on. It panics where that is not allowed: only root may.
    pub(crate) fn apart(nodes: usize, frontends: usize) -> Self {
        Self(Some(Network::new(nodes, frontends)))
    }

    /// The links, where there are any to cut.
    pub(crate) fn network(&self) -> Option<&Network> {
        self.0.as_ref()
    }

    /// The address of the node with this index.
    pub(crate) fn node(&self, node: usize) -> Ipv4Addr {
        match &self.0 {
            Some(network) => network.node(node),
            None => Ipv4Addr::new(127, 0, 10, last(node)),
        }
    }

    /// The address of the frontend with this index.
    pub(crate) fn frontend(&self, frontend: usize) -> Ipv4Addr {
        match &self.0 {
            Some(network) => network.frontend(frontend),
            None => Ipv4Addr::new(127, 0, 11, last(frontend)),
        }
    }

    /// Where nodes find what the harness runs: the relay to PostgreSQL.
    pub(crate) fn relay(&self) -> Ipv4Addr {
        self.0.as_ref().map_or(DATABASE, |_| HUB)
    }

    /// Where the harness's own questions come from.
    pub(crate) fn asker(&self) -> IpAddr {
        let asker = self.0.as_ref().map_or(Ipv4Addr::LOCALHOST, |_| HUB);
        asker.into()
    }

    /// A node's metrics.
    pub(crate) fn admin(&self, node: usize) -> SocketAddr {
        (self.node(node), ADMIN).into()
    }

    /// A node's gRPC: its address, and the port.
    pub(crate) fn grpc(&self, node: usize) -> (String, u16) {
        (self.node(node).to_string(), GRPC)
    }

    /// A frontend's HTTP.
    pub(crate) fn http(&self, frontend: usize) -> SocketAddr {
        (self.frontend(frontend), HTTP).into()
    }

    /// The command line of a program at an address; it ends with the thread that starts it.
    pub(crate) fn command(&self, host: Ipv4Addr, program: &str) -> Command {
        let [guard, options @ ..] = GUARD;
        let mut command = match &self.0 {
            Some(network) => {
                let mut inside = network.at(host);
                inside.arg(guard);
                inside
            }
            None => Command::new(guard),
        };
        command.args(options).arg(program);
        command
    }
}

fn last(index: usize) -> u8 {
    u8::try_from(index + 1).expect("few processes")
}
