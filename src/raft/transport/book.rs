//! The addresses of nodes: those that the replicated state knows, and newer ones that were heard of.
//!
//! When all nodes come back with new addresses at once, the state cannot be changed before they have
//! found each other. So an address that a node announced by itself, or that discovery found, stands in
//! for the state's until the state has caught up. Does no I/O; [`Transport`](super::Transport) acts
//! on what changes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::ids::{Incarnation, NodeId};

/// The longest name that DNS has.
const MAX_HOST_BYTES: usize = 253;

/// Addresses learnt while the state has none at all, as on a node that waits for its first snapshot.
const MAX_LEARNT: usize = 64;

/// Where a node's Raft port is. A name is resolved whenever a connection is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// An IP address or a DNS name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Not an address.
#[derive(Debug, thiserror::Error)]
#[error("not an address of the form host:port or [ipv6]:port")]
pub struct NotAnAddress;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_sound = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.chars().all(is_plain),
        };
        let port = port.parse().map_err(|_| NotAnAddress)?;
        if !is_sound || port == 0 {
            return Err(NotAnAddress);
        }
        Ok(Self {
            host: bracketed.unwrap_or(host).to_owned(),
            port,
        })
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

/// An address, and the start of the node that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The node at the address.
    pub node: NodeId,
    /// Which start of the node said so.
    pub incarnation: Incarnation,
    /// Where it is.
    pub address: Address,
}

/// The addresses to use.
#[derive(Debug, Default)]
pub(super) struct Book {
    known: BTreeMap<NodeId, Listing>,
    /// Newer than what is known, and not in the state yet.
    learnt: BTreeMap<NodeId, Listing>,
}

impl Book {
    /// Takes over what the state says. What was learnt yields to the same address, to the same start
    /// or a later one, and to the state no longer having the node.
    ///
    /// An empty state says nothing: what was learnt stays, or a joiner could not answer the leader.
    pub(super) fn replace(&mut self, listings: impl IntoIterator<Item = Listing>) {
        self.known = listings.into_iter().map(|l| (l.node, l)).collect();
        if self.known.is_empty() {
            return;
        }
        let known = &self.known;
        self.learnt.retain(|node, learnt| {
            known.get(node).is_some_and(|known| {
                known.incarnation < learnt.incarnation && known.address != learnt.address
            })
        });
    }

    /// Hears of an address. True if it is now the one to use and was not before.
    pub(super) fn learn(&mut self, listing: Listing) -> bool {
        let is_newer = |old: &Listing| old.incarnation < listing.incarnation;
        let is_wanted = match self.known.get(&listing.node) {
            Some(known) => is_newer(known) && known.address != listing.address,
            // Without any state nobody is known, and yet the leader must be answered.
            None => {
                self.known.is_empty()
                    && (self.learnt.len() < MAX_LEARNT || self.learnt.contains_key(&listing.node))
            }
        };
        let is_news = self.learnt.get(&listing.node).is_none_or(is_newer);
        if is_wanted && is_news {
            self.learnt.insert(listing.node, listing);
        }
        is_wanted && is_news
    }

    /// Every node's address.
    pub(super) fn addresses(&self) -> BTreeMap<NodeId, Address> {
        // What was learnt comes last and wins.
        self.known
            .values()
            .chain(self.learnt.values())
            .map(|listing| (listing.node, listing.address.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(node: u64, incarnation: u64, address: &str) -> Listing {
        Listing {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            address: address.parse().unwrap(),
        }
    }

    fn of(book: &Book, node: u64) -> Option<String> {
        let address = book.addresses().remove(&NodeId(node));
        address.map(|address| address.to_string())
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["node-1.example:7000", "10.0.0.1:7000", "[::1]:7000"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let long = format!("{}:7000", "a".repeat(MAX_HOST_BYTES + 1));
        for text in [
            "", "a", "a:", ":7", "a:0", "a:70000", "::1:7", "a/b:7", "[a]:7", &long,
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_later_start_overrides_the_state_until_it_has_caught_up() {
        let mut book = Book::default();
        book.replace([listing(2, 5, "old:7000")]);
        assert!(!book.learn(listing(2, 5, "new:7000")), "not a later start");
        assert!(book.learn(listing(2, 6, "new:7000")));
        assert!(
            !book.learn(listing(2, 6, "other:7000")),
            "the first of a start holds"
        );
        book.replace([listing(2, 5, "old:7000")]);
        assert_eq!(
            of(&book, 2).unwrap(),
            "new:7000",
            "the state knows nothing newer"
        );
        book.replace([listing(2, 6, "agreed:7000")]);
        assert_eq!(of(&book, 2).unwrap(), "agreed:7000");
    }

    #[test]
    fn what_was_learnt_without_a_state_outlives_an_empty_one() {
        let mut book = Book::default();
        assert!(book.learn(listing(1, 3, "leader:7000")));
        book.replace([]);
        assert_eq!(of(&book, 1).as_deref(), Some("leader:7000"));
        book.replace([listing(1, 3, "leader:7000"), listing(2, 1, "own:7000")]);
        assert_eq!(book.addresses().len(), 2);
    }

    #[test]
    fn a_node_that_the_state_lacks_is_not_learnt() {
        let mut book = Book::default();
        assert!(
            book.learn(listing(1, 1, "leader:7000")),
            "there is no state"
        );
        book.replace([listing(2, 1, "a:7000")]);
        assert_eq!(of(&book, 1), None);
        assert!(!book.learn(listing(1, 9, "b:7000")));
    }

    #[test]
    fn what_is_learnt_without_a_state_is_bounded() {
        let mut book = Book::default();
        for node in 0..1000 {
            book.learn(listing(node, 1, "a:7000"));
        }
        assert_eq!(book.addresses().len(), MAX_LEARNT);
    }
}
