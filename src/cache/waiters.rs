//! How many callers wait, per group: exact, and without memory of groups nobody waits for.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry as Place, HashMap};

use parking_lot::Mutex;

use super::request::Refused;
use crate::ids::GroupId;

/// The places taken over all flights, open and closed. Shared by all shards.
///
/// One lock for all: it is taken by misses only, for two map operations, and never with anything
/// taken inside it.
pub(super) struct Waiters {
    max_per_key: usize,
    max_per_group: usize,
    by_group: Mutex<HashMap<GroupId, usize>>,
}

impl Waiters {
    pub(super) fn new(max_per_key: usize, max_per_group: usize) -> Self {
        Self {
            max_per_key,
            max_per_group,
            by_group: Mutex::default(),
        }
    }

    pub(super) fn max_per_key(&self) -> usize {
        self.max_per_key
    }

    /// Takes a place in `group`.
    pub(super) fn enter(&self, group: GroupId) -> Result<(), Refused> {
        let mut by_group = self.by_group.lock();
        let count = by_group.get(&group).copied().unwrap_or(0);
        if count >= self.max_per_group {
            return Err(Refused::PerGroup);
        }
        by_group.insert(group, count + 1);
        Ok(())
    }

    /// Gives a place back.
    pub(super) fn leave(&self, group: GroupId) {
        if let Place::Occupied(mut place) = self.by_group.lock().entry(group) {
            *place.get_mut() -= 1;
            if *place.get() == 0 {
                place.remove();
            }
        }
    }

    /// The counts of all groups that someone waits for.
    pub(super) fn snapshot(&self) -> BTreeMap<GroupId, usize> {
        self.by_group
            .lock()
            .iter()
            .map(|(&group, &count)| (group, count))
            .collect()
    }
}
