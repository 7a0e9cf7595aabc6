//! Who owns which key in a cluster of the tests: what the processes work out from the same files.

use gcache::config::{SourceFile, read_groups};
use gcache::hash::KeyHash;
use gcache::ids::NodeId;
use gcache::topology::fixed::fixed_view;
use gcache::topology::member::{Member, MemberStatus, Zone};
use gcache::topology::view::View;

/// The view of a cluster of the tests.
pub(crate) struct Layout {
    view: View,
}

impl Layout {
    /// The layout of `nodes` equal nodes, in one zone, with the groups of this file.
    pub(crate) fn new(nodes: usize, groups: &str) -> Self {
        let file = SourceFile {
            name: "groups.toml",
            text: groups,
        };
        let groups = read_groups(file).expect("the test's groups are valid");
        let members = (1..=nodes).map(member).collect();
        let view = fixed_view(members, groups).expect("the test's cluster is valid");
        Self { view }
    }

    /// The index of the node that owns the key, from 0.
    pub(crate) fn owner(&self, group: &str, key: &str) -> usize {
        let owner = self.view.route(self.hash(group, key)).owner;
        owner.expect("every partition has an owner").get()
    }

    /// The index of the node that stands by for the key, from 0.
    pub(crate) fn standby(&self, group: &str, key: &str) -> usize {
        let standby = self.view.route(self.hash(group, key)).standby;
        standby.expect("two nodes are enough for a standby").get()
    }

    fn hash(&self, group: &str, key: &str) -> KeyHash {
        let group = self.view.group_by_name(group).expect("a group of the test");
        KeyHash::of(group.id, key.as_bytes())
    }
}

/// Placement looks at ids, zones and weights; addresses are not its business.
fn member(number: usize) -> Member {
    Member {
        id: NodeId(number.try_into().expect("few nodes")),
        name: format!("node-{number}").into(),
        host: "127.0.0.1".into(),
        grpc_port: u16::try_from(number).expect("few nodes"),
        zone: Zone::new("default"),
        weight: 1,
        status: MemberStatus::Up,
    }
}
