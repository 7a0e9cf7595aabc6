//! Flights: loads in the air, shared by everyone who wants the same key.
//!
//! A flight is *open* while its shard's table holds it: it takes joiners, and its result may be
//! stored. Delete, expire, reset and loss of ownership close it by taking it out; those who wait
//! still get the result. Table and joining are under the shard's lock; waiting is not.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::entry::Entry;
use super::request::{Refused, Request, Role, STANDBY_MS};
use super::waiters::Waiters;
use crate::hash::KeyHash;
use crate::ids::{Generation, GroupId, Millis, Tenure};
use crate::topology::view::Stamps;

/// What was valid when a load began. Its result is stored only if this still is when it ends.
///
/// The third part of the fill token, that the flight is still open, is the flight's place in the
/// table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The partition's tenure.
    pub tenure: Tenure,
    /// The group's generation.
    pub generation: Generation,
}

impl Token {
    /// Whether what was asked for under this token may be stored or served under `stamps`.
    pub(super) fn holds(self, stamps: &Stamps) -> bool {
        self.generation == stamps.generation && stamps.accept_tenure(self.tenure)
    }
}

/// What a flight came to, the same for everyone who waited.
#[derive(Clone, Debug)]
pub struct LoadOutcome {
    /// The answer; an error if the load failed.
    pub entry: Entry,
    /// Whether the cache kept it.
    pub stored: bool,
    /// Whether it came from the owner before and not from the origin.
    pub peeked: bool,
}

/// One load and those who wait for it.
pub(super) struct Flight {
    pub(super) group: GroupId,
    pub(super) key: Box<[u8]>,
    pub(super) hash: KeyHash,
    pub(super) role: Role,
    pub(super) token: Token,
    pub(super) started: Millis,
    /// Raised under the shard's lock, so that the bound is exact; lowered without it.
    waiting: AtomicUsize,
    waiters: Arc<Waiters>,
    outcome: OnceLock<LoadOutcome>,
    landed: Notify,
}

impl Flight {
    pub(super) fn new(request: &Request<'_>, waiters: &Arc<Waiters>) -> Arc<Self> {
        Arc::new(Self {
            group: request.group,
            key: request.key.into(),
            hash: request.hash,
            role: request.role,
            token: Token {
                tenure: request.stamps.tenure,
                generation: request.stamps.generation,
            },
            started: request.now,
            waiting: AtomicUsize::new(0),
            waiters: Arc::clone(waiters),
            outcome: OnceLock::new(),
            landed: Notify::new(),
        })
    }

    /// Takes a place among the waiters. Only under the shard's lock.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Wait, Refused> {
        if self.waiting.load(Ordering::Relaxed) >= self.waiters.max_per_key() {
            return Err(Refused::PerKey);
        }
        self.waiters.enter(self.group)?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(Wait {
            flight: Arc::clone(self),
        })
    }

    /// Gives everyone who waits, now or later, the outcome. The first call counts.
    pub(super) fn land(&self, outcome: LoadOutcome) {
        // The order matters: a waiter that has not been woken finds the outcome when it looks.
        let first = self.outcome.set(outcome).is_ok();
        debug_assert!(first, "a flight lands once");
        self.landed.notify_waiters();
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn is_for(&self, group: GroupId, key: &[u8]) -> bool {
        self.group == group && *self.key == *key
    }

    /// Whether its result will do for `request`, which is for the same key in the same role.
    ///
    /// A flight with stamps above the request's will: what it brings is newer than what the
    /// caller's late view asks for.
    fn serves(&self, request: &Request<'_>) -> bool {
        let stamps = &request.stamps;
        // Only an owner closes its flights on a delete, so only an owner's may be joined at any age.
        let in_time = self.role == Role::Owner || request.now.since(self.started) <= STANDBY_MS;
        let tenure = self.token.tenure;
        in_time
            && self.token.generation >= stamps.generation
            && (tenure > stamps.tenure || stamps.accept_tenure(tenure))
    }
}

/// The open flights of one shard: at most one per key and role.
#[derive(Default)]
pub(super) struct Flights {
    by_hash: HashMap<u64, Vec<Arc<Flight>>>,
}

impl Flights {
    /// The open flight that `request` may join. One that it may not is closed on the way, so that
    /// its successor takes its place.
    pub(super) fn joinable(&mut self, request: &Request<'_>) -> Option<Arc<Flight>> {
        let flights = self.by_hash.get(&request.hash.0)?;
        let flight = flights
            .iter()
            .find(|flight| flight.role == request.role && flight.is_for(request.group, request.key))
            .cloned()?;
        if flight.serves(request) {
            return Some(flight);
        }
        self.remove(&flight);
        None
    }

    pub(super) fn add(&mut self, flight: &Arc<Flight>) {
        self.by_hash
            .entry(flight.hash.0)
            .or_default()
            .push(Arc::clone(flight));
    }

    /// Takes out this very flight, never a successor for the same key; false if it was closed.
    pub(super) fn remove(&mut self, flight: &Arc<Flight>) -> bool {
        self.close(flight.hash, |other| Arc::ptr_eq(other, flight)) > 0
    }

    /// Closes the key's flights in all roles.
    pub(super) fn close_key(&mut self, group: GroupId, key: &[u8], hash: KeyHash) -> usize {
        self.close(hash, |flight| flight.is_for(group, key))
    }

    /// Closes every flight that `gone` names.
    pub(super) fn close_where(&mut self, gone: impl Fn(&Flight) -> bool) -> usize {
        let before = self.len();
        self.by_hash.retain(|_, flights| {
            flights.retain(|flight| !gone(flight));
            !flights.is_empty()
        });
        before - self.len()
    }

    pub(super) fn len(&self) -> usize {
        self.by_hash.values().map(Vec::len).sum()
    }

    fn close(&mut self, hash: KeyHash, gone: impl Fn(&Arc<Flight>) -> bool) -> usize {
        let Some(flights) = self.by_hash.get_mut(&hash.0) else {
            return 0;
        };
        let before = flights.len();
        flights.retain(|flight| !gone(flight));
        let closed = before - flights.len();
        if flights.is_empty() {
            self.by_hash.remove(&hash.0);
        }
        closed
    }
}

/// A caller's place among those who wait for a flight. Dropping it gives the place back at once
/// and leaves the load alone.
#[must_use = "a place that nobody waits on counts against the bounds"]
pub struct Wait {
    flight: Arc<Flight>,
}

impl Wait {
    /// Waits until the load ends, however it ends. It has no deadline of its own: callers wrap it
    /// in one.
    ///
    /// Cancel-safe: dropping the future gives the place back and changes nothing else.
    pub async fn outcome(self) -> LoadOutcome {
        // Made before the look: `notify_waiters` wakes every future that existed when it was
        // called, polled or not, so a landing between look and await is not missed.
        let landed = self.flight.landed.notified();
        if let Some(outcome) = self.flight.outcome.get() {
            return outcome.clone();
        }
        landed.await;
        let outcome = self.flight.outcome.get();
        outcome
            .expect("a flight notifies after its outcome is set")
            .clone()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.flight.waiting.fetch_sub(1, Ordering::Relaxed);
        self.flight.waiters.leave(self.flight.group);
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("hash", &self.flight.hash)
            .finish_non_exhaustive()
    }
}
