//! Loopback addresses that belong to one test or bench, as long as it holds them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// The standard ports.
pub(crate) const HTTP: u16 = 9999;
pub(crate) const GRPC: u16 = 8001;
pub(crate) const RAFT: u16 = 7000;
pub(crate) const ADMIN: u16 = 2112;

/// The addresses 127.N.0.0 to 127.N.255.255 for an N that no other test or bench on this machine has.
///
/// The claim is a bound socket, so that it ends with the process that made it, however that ends.
#[derive(Debug)]
pub(crate) struct Block {
    number: u8,
    _claim: TcpListener,
}

impl Block {
    /// Claims the first free block. 127.0 is left to what people run by hand.
    pub(crate) fn claim() -> Self {
        (1..=255)
            .find_map(|number| {
                let claim = TcpListener::bind((Ipv4Addr::new(127, number, 0, 1), GRPC)).ok()?;
                Some(Self {
                    number,
                    _claim: claim,
                })
            })
            .expect("fewer than 255 tests run at once")
    }

    /// The address of the node with this index, from 0: 127.N.1.1 and up.
    pub(crate) fn node(&self, index: usize) -> Ipv4Addr {
        self.host(1, index)
    }

    /// The address of the frontend with this index, from 0: 127.N.2.1 and up.
    pub(crate) fn frontend(&self, index: usize) -> Ipv4Addr {
        self.host(2, index)
    }

    /// Where the node with this index is after it has moved: 127.N.3.1 and up.
    pub(crate) fn moved(&self, index: usize) -> Ipv4Addr {
        self.host(3, index)
    }

    /// An address for what nodes are to reach, and which is none of theirs: 127.N.4.1.
    pub(crate) fn outside(&self) -> Ipv4Addr {
        self.host(4, 0)
    }

    /// The address 127.N.`kind`.1 and up, by an index from 0. Kinds up to 4 have a meaning, see above.
    pub(crate) fn host(&self, kind: u8, index: usize) -> Ipv4Addr {
        let last = u8::try_from(index + 1).expect("few processes");
        Ipv4Addr::new(127, self.number, kind, last)
    }
}

/// Whether nobody listens on `address`.
pub(crate) fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}
