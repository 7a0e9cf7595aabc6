//! At most one leader in a term.

use std::collections::BTreeMap;

use gcache::raft::event::Role;

use crate::violation::{Checked, Promise, ensure};

/// Who led in each term.
#[derive(Default)]
pub(crate) struct Leaders(BTreeMap<u64, u64>);

impl Leaders {
    /// `node` says this of who leads.
    pub(crate) fn said(&mut self, node: u64, role: Role) -> Checked {
        if !role.is_leader {
            return Ok(());
        }
        let leader = *self.0.entry(role.term).or_insert(node);
        ensure(leader == node, Promise::OneLeaderPerTerm, || {
            format!("nodes {leader} and {node} both lead in term {}", role.term)
        })
    }

    /// Who led in `term`.
    pub(crate) fn of(&self, term: u64) -> Option<u64> {
        self.0.get(&term).copied()
    }
}
