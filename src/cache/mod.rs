//! The cache engine of a node: entries under a memory budget, and one load per missing key.
//!
//! Pure: no I/O, no clock, no task of its own. Time comes with each call, loads are run by the
//! caller. `node::read` asks it for every key, `node::moves` fills and empties it on transfers,
//! `node` closes flights when partitions are lost.
//!
//! A read, as its caller sees it:
//! ```text
//! match cache.get_or_join(&request) {
//!     Fresh(entry)                    => answer
//!     Stale { entry, refresh }        => answer; if refresh: spawn the load with it
//!     Lead { lead, wait, fallback }   => spawn the load with lead; await wait, with a deadline
//!     Wait { wait, fallback }         => await wait, with a deadline
//!     Refused { reason, fallback }    => answer the fallback, or 503
//! }
//! the load's task: ask the origin, take a new view, lead.finish(loaded, &fill)
//! ```
//!
//! The methods of [`Cache`] stand in the files of what they are about (`store`, `invalidate`, `taps`, `arrivals`,
//! `explain`), and so those files and this one name each other.
//!
//! Locks: each of the 256 shards has one, over entries *and* flights. It is held for one operation
//! and never across an await. Under it only the locks of the waiters, the taps, the feeds and the arrivals
//! are taken, each for itself, and other shards' with `try_lock`, so there is no order to get wrong.

mod arrivals;
mod budget;
mod entry;
mod expiry;
mod explain;
mod feed;
mod flight;
mod found;
mod freshness;
mod invalidate;
mod lead;
mod load;
mod request;
mod shard;
mod stats;
mod store;
mod taps;
#[cfg(test)]
mod tests;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::{Mutex, MutexGuard};

pub use self::arrivals::{ARRIVAL_VOIDS_MAX, StreamId};
pub use self::entry::{Entry, EntryParts, Kind, Phase, REPORTED_EVERY_MS};
pub use self::explain::Worth;
pub use self::feed::{
    Batch, End, FEED_BYTES_MAX, FEED_USED_MAX, FEED_VOIDS_MAX, Feed, Heard, Item, Receipt,
    USED_AT_ONCE, Verb, Void,
};
pub use self::flight::{LoadOutcome, Token, Wait};
pub use self::found::Found;
pub use self::freshness::{Fill, Freshness};
pub use self::invalidate::{Reset, Voided};
pub use self::lead::Lead;
pub use self::load::{LoadError, LoadErrorKind, Loaded, MAX_MESSAGE_BYTES};
pub use self::request::{Limits, Refused, Request, Role, STANDBY_MS};
pub use self::stats::{Counts, GroupStats, Stats};
pub use self::taps::{PartitionSet, Walk};

use self::arrivals::Arrivals;
use self::budget::Budget;
use self::flight::Flight;
use self::shard::Shard;
use self::taps::Taps;
use self::waiters::Waiters;
use crate::hash::{KeyHash, SHARDS};
pub use crate::topology::view::Stamps;

/// A node's cache. Cloning shares it; every method may be called from any thread.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Box<[Mutex<Shard>]>,
    budget: Budget,
    waiters: Arc<Waiters>,
    /// Which members hear what happens to which partitions.
    taps: Taps,
    /// What others hand over to this node.
    arrivals: Arrivals,
    /// Where the next sweep begins, so that a bounded sweep does not starve the last shards.
    next_swept: AtomicUsize,
    /// Where room is next looked for outside the own shard.
    next_robbed: AtomicUsize,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let shards = (0..SHARDS)
            .map(|_| Mutex::new(Shard::new(limits.memory_bytes)))
            .collect();
        let waiters = Waiters::new(&limits);
        Self {
            inner: Arc::new(Inner {
                shards,
                budget: Budget::new(limits.memory_bytes),
                waiters: Arc::new(waiters),
                taps: Taps::default(),
                arrivals: Arrivals::default(),
                next_swept: AtomicUsize::new(0),
                next_robbed: AtomicUsize::new(0),
            }),
        }
    }

    /// Finds what `request` may be answered with now, or a place in the load that will answer it.
    ///
    /// Look-up and joining are one step under one lock, and so are storing a result and ending its
    /// flight. So a caller that gets a `Lead` knows that no other load of the key is in the air *and* that
    /// none has landed since it looked: the second look inside the flight, which caches with two
    /// locks need, has nothing left to find.
    pub fn get_or_join(&self, request: &Request<'_>) -> Found {
        let mut guard = self.shard(request.hash);
        let shard = &mut *guard;
        let fallback = match shard.look(request, &self.inner.budget) {
            Some((entry, Phase::Fresh)) => {
                self.inner.taps.used(&entry, request.hash, request.now);
                return Found::Fresh(entry);
            }
            // The origin failed a moment ago: within its `error_ttl` nobody asks it again.
            Some((entry, _)) if entry.is_held(request.now) => {
                return Found::Stale {
                    entry,
                    refresh: None,
                };
            }
            Some((entry, Phase::Stale)) => {
                let refresh = self.refresh(shard, request);
                return Found::Stale { entry, refresh };
            }
            Some((entry, _)) => Some(entry),
            None => None,
        };
        self.join(shard, request, fallback)
    }

    /// Finds what `request` may be answered with while nothing is loaded: an entry within its lifetime.
    /// For an isolated node. To explain a key there is [`peek`](Self::peek).
    #[must_use]
    pub fn get(&self, request: &Request<'_>) -> Option<Entry> {
        match self.shard(request.hash).look(request, &self.inner.budget) {
            Some((entry, Phase::Fresh)) => Some(entry),
            _ => None,
        }
    }

    /// Returns what the cache holds now. Locks one shard after the other: for metrics, not for requests.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for shard in &self.inner.shards {
            shard.lock().add_to(&mut stats);
        }
        for (group, waiters) in self.inner.waiters.snapshot() {
            stats.waiters += waiters as u64;
            stats.groups.entry(group).or_default().waiters = waiters as u64;
        }
        stats
    }

    /// The one refresh of a stale entry, unless it is in the air already.
    fn refresh(&self, shard: &mut Shard, request: &Request<'_>) -> Option<Lead> {
        if shard.flights.joinable(request).is_some() {
            return None;
        }
        let flight = Flight::new(request, &self.inner.waiters);
        shard.flights.add(&flight);
        Some(Lead::new(self.clone(), flight))
    }

    fn join(&self, shard: &mut Shard, request: &Request<'_>, fallback: Option<Entry>) -> Found {
        if let Some(flight) = shard.flights.joinable(request) {
            return match flight.enter() {
                Ok(wait) => Found::Wait { wait, fallback },
                Err(reason) => Found::Refused { reason, fallback },
            };
        }
        let flight = Flight::new(request, &self.inner.waiters);
        match flight.enter() {
            Ok(wait) => {
                shard.flights.add(&flight);
                let lead = Lead::new(self.clone(), flight);
                Found::Lead {
                    lead,
                    wait,
                    fallback,
                }
            }
            Err(reason) => Found::Refused { reason, fallback },
        }
    }

    fn shard(&self, hash: KeyHash) -> MutexGuard<'_, Shard> {
        self.inner.shards[hash.shard()].lock()
    }

    /// Recomputes all books from the entries; panics where they differ.
    #[cfg(test)]
    fn check(&self) {
        self.inner
            .shards
            .iter()
            .for_each(|shard| shard.lock().check());
        let stats = self.stats();
        assert_eq!(
            stats.bytes,
            self.inner.budget.used(),
            "the budget is what the shards hold"
        );
        assert!(stats.bytes <= self.inner.budget.limit(), "over budget");
        assert_eq!(stats.entries, stats.expiry_records);
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("bytes", &self.inner.budget.used())
            .finish_non_exhaustive()
    }
}
