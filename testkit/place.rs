//! Where processes are: on loopback addresses of their own, or, where links are cut, each on a host of its own. Who
//! starts them reaches all of them in any case.

use std::net::Ipv4Addr;
use std::process::Command;

use super::address::Block;
use super::network::{HUB, Network};

/// Addresses, and how a process is started at one.
pub(crate) enum Place {
    /// On this machine's loopback.
    Loopback(Block),
    /// On hosts whose links can be cut.
    Apart(Network),
}

impl Place {
    /// Addresses on this machine's loopback that nobody else here has.
    pub(crate) fn loopback() -> Self {
        Self::Loopback(Block::claim())
    }

    /// Hosts for so many nodes and frontends. The calling thread moves to where it reaches them all, and with it
    /// whatever it starts from then on. It panics where that is not allowed: only root may.
    pub(crate) fn apart(nodes: usize, frontends: usize) -> Self {
        Self::Apart(Network::new(nodes, frontends))
    }

    /// The links, where there are any to cut.
    pub(crate) fn network(&self) -> Option<&Network> {
        match self {
            Self::Loopback(_) => None,
            Self::Apart(network) => Some(network),
        }
    }

    /// The address of the node with this index, from 0.
    pub(crate) fn node(&self, index: usize) -> Ipv4Addr {
        match self {
            Self::Loopback(block) => block.node(index),
            Self::Apart(network) => network.node(index),
        }
    }

    /// The address of the frontend with this index, from 0.
    pub(crate) fn frontend(&self, index: usize) -> Ipv4Addr {
        match self {
            Self::Loopback(block) => block.frontend(index),
            Self::Apart(network) => network.frontend(index),
        }
    }

    /// Where the node with this index is after it has moved. It panics where each has a host of its own.
    pub(crate) fn moved(&self, index: usize) -> Ipv4Addr {
        match self {
            Self::Loopback(block) => block.moved(index),
            Self::Apart(_) => panic!("a host does not move"),
        }
    }

    /// An address for what nodes are to reach, and which is none of theirs.
    pub(crate) fn outside(&self) -> Ipv4Addr {
        match self {
            Self::Loopback(block) => block.outside(),
            Self::Apart(_) => HUB,
        }
    }

    /// The command line that runs another one on this host.
    pub(crate) fn command(&self, host: Ipv4Addr, command: Command) -> Command {
        match self {
            Self::Loopback(_) => command,
            Self::Apart(network) => {
                let mut inside = network.at(host);
                inside.arg(command.get_program()).args(command.get_args());
                inside
            }
        }
    }
}
