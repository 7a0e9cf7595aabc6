//! Partitions that another member hands over to this one: what it sends is kept here under the tenure that
//! the partition will have, and what this node takes back itself is remembered, so that nothing older comes
//! back for it by way of the other.
//!
//! A partition is *expected* from before its first entry until the other has nothing to say any more. The
//! memory is bounded: beyond it nothing more of that partition is accepted.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::Cache;
use super::entry::{Entry, EntryParts};
use crate::hash::KeyHash;
use crate::ids::{Millis, Partition, Tenure};

/// Keys of one partition that may be taken back while it arrives; after one more, nothing else of it is
/// accepted.
pub const ARRIVAL_VOIDS_MAX: usize = 4_096;

/// What is expected from other members.
#[derive(Default)]
pub(super) struct Arrivals {
    any: AtomicBool,
    all: Mutex<HashMap<Partition, Arrival>>,
}

struct Arrival {
    tenure: Tenure,
    /// Hashes of what this node has taken back.
    voided: HashSet<u64>,
    is_closed: bool,
}

impl Arrivals {
    /// This node has taken a key back by itself. Only under the shard's lock.
    pub(super) fn voided(&self, hash: KeyHash) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        if let Some(arrival) = self.all.lock().get_mut(&hash.partition()) {
            if arrival.voided.len() < ARRIVAL_VOIDS_MAX {
                arrival.voided.insert(hash.0);
            } else {
                arrival.is_closed = true;
            }
        }
    }

    /// Whether what another says of the key is as new as what this node knows. Only under the shard's
    /// lock.
    fn accepts(&self, hash: KeyHash, tenure: Tenure) -> bool {
        let all = self.all.lock();
        let arrival = all.get(&hash.partition());
        arrival.is_some_and(|arrival| {
            arrival.tenure == tenure && !arrival.is_closed && !arrival.voided.contains(&hash.0)
        })
    }
}

impl Cache {
    /// Entries of these partitions may arrive from now on, for `tenure`. A later tenure takes the place of
    /// an earlier one; the same again changes nothing.
    ///
    /// To be called before the node owns them, as long as nobody can have taken anything back here:
    /// `may_expect` is asked for each under the lock that taking back waits for, and says so.
    pub fn expect(
        &self,
        partitions: impl IntoIterator<Item = Partition>,
        tenure: Tenure,
        may_expect: impl Fn(Partition) -> bool,
    ) {
        let arrivals = &self.inner.arrivals;
        let mut all = arrivals.all.lock();
        // Before the question: whoever takes back after it finds the partition expected.
        arrivals.any.store(true, Ordering::SeqCst);
        for partition in partitions {
            let is_known = all
                .get(&partition)
                .is_some_and(|known| known.tenure >= tenure);
            if is_known || !may_expect(partition) {
                continue;
            }
            all.insert(
                partition,
                Arrival {
                    tenure,
                    voided: HashSet::new(),
                    is_closed: false,
                },
            );
        }
        arrivals.any.store(!all.is_empty(), Ordering::SeqCst);
    }

    /// Nothing more of this tenure is accepted for the partitions that `is_over` names.
    pub fn expect_no_more(&self, is_over: impl Fn(Partition, Tenure) -> bool) {
        let arrivals = &self.inner.arrivals;
        let mut all = arrivals.all.lock();
        all.retain(|partition, arrival| !is_over(*partition, arrival.tenure));
        arrivals.any.store(!all.is_empty(), Ordering::SeqCst);
    }

    /// Whether the key's value may be asked of the member that `tenure` came from.
    #[must_use]
    pub fn is_expected(&self, hash: KeyHash, tenure: Tenure) -> bool {
        self.inner.arrivals.any.load(Ordering::Acquire) && self.inner.arrivals.accepts(hash, tenure)
    }

    /// Keeps an entry that was sent, if its partition is expected under its tenure, the key was not taken
    /// back here, and there is none that is newer. Returns whether it is kept.
    pub fn import(&self, parts: &EntryParts<'_>, now: Millis) -> bool {
        let hash = KeyHash::of(parts.group, parts.key);
        let entry = Entry::new(parts);
        if entry.ends_at() <= now {
            return false;
        }
        let mut shard = self.shard(hash);
        self.inner.arrivals.accepts(hash, parts.tenure) && self.put_under(&mut shard, hash, &entry)
    }
}
