//! The way to the leader: any node may be asked, and one that does not lead says which node does.
//!
//! `cli`, frontends that pull the topology, and nodes that join or announce a change ask in this way.

use std::net::IpAddr;

use super::connect::Target;
use super::control_proto::Redirect;

/// The nodes to ask, one after the other. Each may send the caller on once, in the worst case to a node that
/// sends it on again: so the number of questions is bounded.
#[derive(Debug)]
pub struct Search {
    targets: Vec<Target>,
    left: usize,
    from: IpAddr,
}

impl Search {
    /// Asks `targets`, the last one first, and the nodes that they name: `most` questions in all. Connections
    /// leave from `from`.
    #[must_use]
    pub fn new(targets: Vec<Target>, most: usize, from: IpAddr) -> Self {
        Self {
            targets,
            left: most,
            from,
        }
    }

    /// Makes the node that `redirect` names the next one to be asked; false if it names none.
    pub fn follow(&mut self, redirect: &Redirect) -> bool {
        let leader = named_leader(redirect, self.from);
        let is_named = leader.is_some();
        self.targets.extend(leader);
        is_named
    }
}

impl Iterator for Search {
    type Item = Target;

    fn next(&mut self) -> Option<Target> {
        self.left = self.left.checked_sub(1)?;
        self.targets.pop()
    }
}

/// The leader that `redirect` names, to be called from `from`; none if no leader is known.
#[must_use]
pub fn named_leader(redirect: &Redirect, from: IpAddr) -> Option<Target> {
    Target::parse(&redirect.leader, from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

    fn target(host: &str) -> Target {
        Target::new(host, 8001, FROM)
    }

    fn to(leader: &str) -> Redirect {
        Redirect {
            leader: leader.into(),
        }
    }

    #[test]
    fn the_leader_is_asked_next() {
        let mut search = Search::new(vec![target("a"), target("b")], 4, FROM);
        assert_eq!(search.next(), Some(target("b")));
        assert!(search.follow(&to("c:8001")));
        assert!(!search.follow(&to("")), "no leader is known");
        assert_eq!(search.next(), Some(target("c")));
        assert_eq!(search.next(), Some(target("a")));
        assert_eq!(search.next(), None);
    }

    #[test]
    fn nodes_that_send_on_to_one_another_are_not_asked_for_ever() {
        let mut search = Search::new(vec![target("a")], 3, FROM);
        let mut asked = 0;
        while let Some(node) = search.next() {
            asked += 1;
            search.follow(&to(&node.to_string()));
        }
        assert_eq!(asked, 3);
    }
}
