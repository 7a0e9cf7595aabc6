//! How many callers wait, per group: exact, and without memory of groups nobody waits for.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry as Place, HashMap};

use parking_lot::Mutex;

use super::request::{Limits, Refused};
use crate::ids::GroupId;

/// The places taken over all flights, open and closed. Shared by all shards.
///
/// One lock for all: it is taken by misses only, for two map operations, and never with anything
/// taken inside it.
pub(super) struct Waiters {
    max_per_key: usize,
    max_per_group: usize,
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    by_group: HashMap<GroupId, usize>,
}

impl Waiters {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_per_key: limits.max_waiters_per_key,
            max_per_group: limits.max_waiters_per_group,
            max: limits.max_waiters,
            taken: Mutex::default(),
        }
    }

    pub(super) fn max_per_key(&self) -> usize {
        self.max_per_key
    }

    /// Takes a place in `group`.
    pub(super) fn enter(&self, group: GroupId) -> Result<(), Refused> {
        let mut taken = self.taken.lock();
        let count = taken.by_group.get(&group).copied().unwrap_or(0);
        if count >= self.max_per_group {
            return Err(Refused::PerGroup);
        }
        // However many groups wait, there is room for the first callers of another.
        if count >= self.max - taken.in_all {
            return Err(Refused::InAll);
        }
        taken.by_group.insert(group, count + 1);
        taken.in_all += 1;
        Ok(())
    }

    /// Gives a place back.
    pub(super) fn leave(&self, group: GroupId) {
        let mut taken = self.taken.lock();
        if let Place::Occupied(mut place) = taken.by_group.entry(group) {
            *place.get_mut() -= 1;
            if *place.get() == 0 {
                place.remove();
            }
            taken.in_all -= 1;
        }
    }

    /// The counts of all groups that someone waits for.
    pub(super) fn snapshot(&self) -> BTreeMap<GroupId, usize> {
        self.taken
            .lock()
            .by_group
            .iter()
            .map(|(&group, &count)| (group, count))
            .collect()
    }
}
