//! A node id names one member ever.

use std::collections::{BTreeMap, BTreeSet};

use gcache::topology::state::State;

use crate::violation::{Checked, Promise, ensure};

/// Every member ever.
#[derive(Default)]
pub(crate) struct Members {
    /// By id: the nonce of its directory.
    known: BTreeMap<u64, u64>,
    gone: BTreeSet<u64>,
    next: u64,
}

impl Members {
    /// The state is this now.
    pub(crate) fn seen(&mut self, state: &State) -> Checked {
        let next = state.next_node().0;
        ensure(next >= self.next, Promise::IdsAreNeverReused, || {
            format!("the next id is {next} and was {}", self.next)
        })?;
        self.next = next;
        for tombstone in state.tombstones() {
            self.gone.insert(tombstone.id.0);
        }
        for member in state.members() {
            let id = member.id.0;
            let nonce = *self.known.entry(id).or_insert(member.nonce);
            let is_same = nonce == member.nonce && !self.gone.contains(&id) && id < next;
            ensure(is_same, Promise::IdsAreNeverReused, || {
                format!("id {id} is {} now, and was another's", member.name)
            })?;
        }
        let back = self
            .gone
            .iter()
            .find(|id| !state.is_tombstone(gcache::ids::NodeId(**id)));
        ensure(back.is_none(), Promise::IdsAreNeverReused, || {
            format!("the tombstone of {back:?} is gone")
        })
    }
}
