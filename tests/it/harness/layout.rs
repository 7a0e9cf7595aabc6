//! Who owns which key in a cluster of the tests, as its nodes have agreed.

use gcache::hash::KeyHash;
use gcache::ids::ClusterId;
use gcache::topology::state::State;
use gcache::topology::view::{MemberIndex, View};

/// The view of a cluster of the tests, as of one moment.
pub(crate) struct Layout {
    view: View,
}

impl Layout {
    /// Nobody owns anything yet.
    pub(crate) fn none() -> Self {
        Self::of(&State::unknown(ClusterId::default()))
    }

    /// As the nodes have it in `state`, which go by the names `n1` and up.
    pub(crate) fn of(state: &State) -> Self {
        let view = state.view().expect("what nodes agree on is a view");
        Self { view }
    }

    /// The epoch that it is of.
    pub(crate) fn epoch(&self) -> u64 {
        self.view.epoch().0
    }

    /// The index of the node that owns the key, from 0.
    pub(crate) fn owner(&self, group: &str, key: &str) -> usize {
        let owner = self.view.route(self.hash(group, key)).owner;
        self.index(owner.expect("every partition has an owner"))
    }

    /// The index of the node that stands by for the key, from 0.
    pub(crate) fn standby(&self, group: &str, key: &str) -> usize {
        let standby = self.view.route(self.hash(group, key)).standby;
        self.index(standby.expect("two nodes are enough for a standby"))
    }

    /// Nodes become members in any order.
    fn index(&self, member: MemberIndex) -> usize {
        let name = &self.view.members()[member.get()].name;
        let number = name
            .strip_prefix('n')
            .and_then(|number| number.parse().ok());
        let number: usize = number.expect("the tests name their nodes by number");
        number - 1
    }

    fn hash(&self, group: &str, key: &str) -> KeyHash {
        let group = self.view.group_by_name(group).expect("a group of the test");
        KeyHash::of(group.id, key.as_bytes())
    }
}
