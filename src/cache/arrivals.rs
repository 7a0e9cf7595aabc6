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
use super::budget::charge;
use super::entry::{Entry, EntryParts};
use crate::hash::KeyHash;
use crate::ids::{Incarnation, Millis, Partition, Tenure};

/// Keys of one partition that may be taken back while it arrives; after one more, nothing else of it is
/// accepted.
pub const ARRIVAL_VOIDS_MAX: usize = 4_096;

/// What is expected from other members.
#[derive(Default)]
pub(super) struct Arrivals {
    any: AtomicBool,
    all: Mutex<HashMap<Partition, Arrival>>,
    /// What this node keeps copies of, and their stamps. It takes back nothing of that by itself: the
    /// owner does.
    copied: Mutex<HashMap<Partition, (Tenure, StreamId)>>,
}

/// One stream from another member. A later one from there takes the place of an earlier one, of which
/// something may still be on its way: it would come back after it was taken back by the later one.
///
/// Numbered by the sender, so that it does not matter in which order they are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// The start of the sender.
    pub start: Incarnation,
    /// Which one of that start it is.
    pub number: u64,
}

struct Arrival {
    tenure: Tenure,
    stream: StreamId,
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

    /// Whether what another says of the key is as new as what this node knows, on this stream or, without
    /// one, in an answer. Only under the shard's lock.
    fn accepts(&self, hash: KeyHash, tenure: Tenure, stream: Option<StreamId>) -> bool {
        let all = self.all.lock();
        let arrival = all.get(&hash.partition());
        arrival.is_some_and(|arrival| {
            let is_it =
                arrival.tenure == tenure && stream.is_none_or(|stream| stream == arrival.stream);
            is_it && !arrival.is_closed && !arrival.voided.contains(&hash.0)
        })
    }
}

impl Cache {
    /// Entries of these partitions may arrive from now on, for `tenure` and on this stream. A later tenure
    /// takes the place of an earlier one, and of the same a later stream that of an earlier one.
    ///
    /// To be called before the node owns them, as long as nobody can have taken anything back here:
    /// `may_expect` is asked for each under the lock that taking back waits for, and says so.
    pub fn expect(
        &self,
        partitions: impl IntoIterator<Item = Partition>,
        (tenure, stream): (Tenure, StreamId),
        may_expect: impl Fn(Partition) -> bool,
    ) {
        let arrivals = &self.inner.arrivals;
        let mut all = arrivals.all.lock();
        // Before the question: what is taken back after it finds the partition expected.
        arrivals.any.store(true, Ordering::SeqCst);
        for partition in partitions {
            match all.get_mut(&partition) {
                Some(known) if (known.tenure, known.stream) > (tenure, stream) => continue,
                // What was taken back here stays so.
                Some(known) if known.tenure == tenure => {
                    known.stream = stream;
                    continue;
                }
                _ if !may_expect(partition) => continue,
                _ => {}
            }
            all.insert(
                partition,
                Arrival {
                    tenure,
                    stream,
                    voided: HashSet::new(),
                    is_closed: false,
                },
            );
        }
        arrivals.any.store(!all.is_empty(), Ordering::SeqCst);
    }

    /// Nothing more of this tenure and on this stream is accepted for the partitions that `is_over` names.
    pub fn expect_no_more(&self, is_over: impl Fn(Partition, Tenure, StreamId) -> bool) {
        let arrivals = &self.inner.arrivals;
        let mut all = arrivals.all.lock();
        all.retain(|partition, arrival| !is_over(*partition, arrival.tenure, arrival.stream));
        arrivals.any.store(!all.is_empty(), Ordering::SeqCst);
    }

    /// Copies of these partitions may arrive from now on, with this stamp and on this stream. A later stamp
    /// takes the place of an earlier one, and of the same a later stream that of an earlier one.
    ///
    /// Only where `may_expect` says so, which is asked under the lock that every copy waits for.
    pub fn expect_copies(
        &self,
        partitions: impl IntoIterator<Item = Partition>,
        (stamp, stream): (Tenure, StreamId),
        may_expect: impl Fn(Partition) -> bool,
    ) {
        let mut copied = self.inner.arrivals.copied.lock();
        for partition in partitions {
            let is_later = copied
                .get(&partition)
                .is_some_and(|known| *known > (stamp, stream));
            if !is_later && may_expect(partition) {
                copied.insert(partition, (stamp, stream));
            }
        }
    }

    /// No more copies are kept of the partitions, with the stamps and on the lines, that `is_over` names.
    pub fn expect_no_more_copies(&self, is_over: impl Fn(Partition, Tenure, StreamId) -> bool) {
        let mut copied = self.inner.arrivals.copied.lock();
        copied.retain(|partition, (stamp, stream)| !is_over(*partition, *stamp, *stream));
    }

    /// Keeps a copy of what the owner has, if its partition is expected with its stamp and on this stream, and
    /// there is none that is newer. Returns whether it is kept.
    ///
    /// One that `is_spare` is only kept where there is room.
    pub fn import_copy(
        &self,
        parts: &EntryParts<'_>,
        (stream, is_spare): (StreamId, bool),
        now: Millis,
    ) -> bool {
        let hash = KeyHash::of(parts.group, parts.key);
        let entry = Entry::copy(parts);
        let has_room = || self.inner.budget.fits(charge(&entry));
        if entry.ends_at() <= now || (is_spare && !has_room()) {
            return false;
        }
        let mut shard = self.shard(hash);
        let copied = &self.inner.arrivals.copied;
        let expected = copied.lock().get(&parts.partition).copied();
        expected == Some((parts.tenure, stream)) && self.put_under(&mut shard, hash, &entry)
    }

    /// Whether the key's value may be asked of the member that `tenure` came from.
    #[must_use]
    pub fn is_expected(&self, hash: KeyHash, tenure: Tenure) -> bool {
        self.inner.arrivals.any.load(Ordering::Acquire)
            && self.inner.arrivals.accepts(hash, tenure, None)
    }

    /// Keeps an entry that was sent, if its partition is expected under its tenure and on this stream, the key
    /// was not taken back here, and there is none that is newer. Returns whether it is kept.
    pub fn import(&self, parts: &EntryParts<'_>, stream: StreamId, now: Millis) -> bool {
        let hash = KeyHash::of(parts.group, parts.key);
        let entry = Entry::new(parts);
        if entry.ends_at() <= now {
            return false;
        }
        let mut shard = self.shard(hash);
        self.inner
            .arrivals
            .accepts(hash, parts.tenure, Some(stream))
            && self.put_under(&mut shard, hash, &entry)
    }
}
