//! Which node founds the cluster that continues a lost one: a member of the lost one, or a new node. Pure.

use std::net::IpAddr;

use crate::ids::Incarnation;
use crate::topology::commands::{Agreed, COMMAND_VERSION, Joiner};
use crate::topology::model::member::Zone;
use crate::topology::state::State;

/// The zone of a new node that does not say where it is.
const DEFAULT_ZONE: &str = "default";

/// The ports and the weight of a founder that no member is like; its next start announces its own.
const RAFT_PORT: u16 = 7000;
const GRPC_PORT: u16 = 8001;
const WEIGHT: u32 = 1;

/// A node that is to found a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Its name.
    pub name: String,
    /// Its address, if it is known before its start.
    pub address: Option<IpAddr>,
    /// Its zone, likewise.
    pub zone: Option<String>,
}

impl From<&str> for Founder {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: None,
            zone: None,
        }
    }
}

impl Founder {
    /// This node as the first member. Its start announces where it is; until then it is where the member of this
    /// name was, and a new node is like any other member, at the host of its own name.
    pub(super) fn joiner(&self, state: &State) -> Joiner {
        let mut named = state.members().filter(|member| *member.name == *self.name);
        let own = named.find(|member| member.replaced_by.is_none());
        let like = own.or_else(|| state.members().next());
        let (host, zone) = match own {
            Some(own) => (own.host.clone(), own.zone.clone()),
            None => (self.name.as_str().into(), Zone::new(DEFAULT_ZONE)),
        };
        Joiner {
            name: self.name.as_str().into(),
            host: self.address.map_or(host, |it| it.to_string().into()),
            raft_port: like.map_or(RAFT_PORT, |like| like.raft_port),
            grpc_port: like.map_or(GRPC_PORT, |like| like.grpc_port),
            admin_port: like.map_or(0, |like| like.admin_port),
            zone: self.zone.as_deref().map_or(zone, Zone::new),
            weight: like.map_or(WEIGHT, |like| like.weight),
            incarnation: Incarnation(0),
            version: COMMAND_VERSION,
            settings: Agreed::ours(),
            nonce: 0,
            leaves_on_term: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::fixtures::cluster;

    #[test]
    fn a_new_node_is_like_a_member_and_where_it_says() {
        let state = cluster(2);
        let member = state.members().next().unwrap();
        let known = Founder::from(&*member.name).joiner(&state);
        assert_eq!((&known.host, &known.zone), (&member.host, &member.zone));
        let new = Founder::from("n9").joiner(&state);
        assert_eq!((&*new.host, &new.zone), ("n9", &Zone::new(DEFAULT_ZONE)));
        assert_eq!(new.weight, member.weight);
        let placed = Founder {
            address: Some([10, 0, 0, 7].into()),
            zone: Some("b".to_owned()),
            ..Founder::from("n9")
        };
        let placed = placed.joiner(&state);
        assert_eq!((&*placed.host, placed.zone.as_str()), ("10.0.0.7", "b"));
    }
}
