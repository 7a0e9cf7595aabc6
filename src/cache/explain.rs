//! Looking at one key without touching it: for operators who ask what is cached, and why.
//!
//! Nothing here moves an entry in the LRU, drops one, joins a load or counts. It also shows what no
//! look-up would serve, void and ended entries, for those are what an operator wonders about.

use super::Cache;
use super::entry::Entry;
use super::request::Role;
use crate::hash::KeyHash;
use crate::ids::GroupId;
use crate::topology::view::Stamps;

/// What the stamps of an entry are worth by somebody's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It answers in the role that was asked about, as far as its lifetime goes.
    Valid,
    /// No view, now or later, makes it valid: the next look-up drops it.
    Void,
    /// It does not answer in this role, and may in another or by a newer view.
    Unused,
}

impl Cache {
    /// The key's entry, servable or not, left as it was found. One short hold of one shard's lock.
    #[must_use]
    pub fn peek(&self, group: GroupId, key: &[u8], hash: KeyHash) -> Option<Entry> {
        self.shard(hash).peek(group, key, hash).cloned()
    }
}

impl Entry {
    /// Says what this entry is worth to a member with these stamps and this role, lifetime aside; `None` is the
    /// role of a member that neither owns the partition nor stands by for it.
    #[must_use]
    pub fn worth(&self, stamps: &Stamps, role: Option<Role>) -> Worth {
        if self.is_void(stamps) {
            Worth::Void
        } else if role.is_some_and(|role| self.is_valid(stamps, role)) {
            Worth::Valid
        } else {
            Worth::Unused
        }
    }
}
