//! Filling: what a landed flight or a transfer leaves in the cache, and how room is made for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Cache;
use super::budget::charge;
use super::entry::{Entry, Kind, Phase};
use super::flight::Flight;
use super::freshness::Fill;
use super::request::Role;
use super::shard::{Gone, Shard};
use crate::hash::{KeyHash, SHARDS};

/// How many entries are taken from one other shard before the next one is asked: large values are
/// paid for by many shards, not by one alone.
const ROBBED_AT_ONCE: usize = 8;

impl Cache {
    /// Stores an entry that was made elsewhere: a transferred one, or an owner's copy. False if it
    /// did not fit, or if the key has an entry that is newer, by its stamps or by its fill.
    ///
    /// It knows of no flight and no token: the caller orders it with the invalidations of the same
    /// key, as a move's one stream does.
    pub fn put(&self, entry: &Entry) -> bool {
        let hash = KeyHash::of(entry.group(), entry.key());
        self.put_under(&mut self.shard(hash), hash, entry)
    }

    /// [`put`](Self::put), under the lock of its shard.
    pub(super) fn put_under(&self, shard: &mut Shard, hash: KeyHash, entry: &Entry) -> bool {
        if let Some(old) = shard.peek(entry.group(), entry.key(), hash) {
            let (tenure, generation) = (entry.tenure(), entry.generation());
            let is_same_ownership = (old.tenure(), old.generation()) == (tenure, generation);
            let is_newer = old.is_newer_than(tenure, generation)
                || (is_same_ownership && old.filled_at() > entry.filled_at());
            // The owner's word is better than what a standby loaded. The stamp of a copy is no tenure: it does
            // not say which is newer.
            let makes_room = entry.is_copy() && old.is_standby() && old.generation() <= generation;
            if is_newer && !makes_room {
                return false;
            }
        }
        self.store(shard, hash, entry)
    }

    /// Ends an open flight and keeps its answer if it may be kept, in one step under one lock.
    pub(super) fn settle(&self, flight: &Arc<Flight>, entry: &Entry, at: &Fill) -> bool {
        let mut guard = self.shard(flight.hash);
        let shard = &mut *guard;
        let was_open = shard.flights.remove(flight);
        if !was_open || flight.role == Role::LastResort || !flight.token.holds(&at.stamps) {
            return false;
        }
        if let Some(old) = shard.peek(flight.group, &flight.key, flight.hash) {
            if outlasts(old, flight, at) {
                return false;
            }
            if let Kind::Error(kind) = entry.kind()
                && outlasts_failure(old, flight.role, at)
            {
                if kind.is_remembered() {
                    old.hold(at.now, at.freshness.error_ttl_ms);
                }
                return false;
            }
        }
        let is_too_large = matches!(entry.kind(), Kind::Value)
            && entry.value().len() as u64 > at.freshness.max_value_bytes;
        if is_too_large || entry.ends_at() <= at.now {
            shard.counts.rejected += u64::from(is_too_large);
            // What the origin says now is newer than what is in the slot, stored or not.
            self.empty_slot(shard, flight, entry);
            return false;
        }
        self.store(shard, flight.hash, entry)
    }

    /// Ends a flight that nobody will finish.
    pub(super) fn abandon(&self, flight: &Arc<Flight>) {
        self.shard(flight.hash).flights.remove(flight);
    }

    /// Drops what an unstored answer has overtaken. A failure overtakes nothing.
    fn empty_slot(&self, shard: &mut Shard, flight: &Flight, entry: &Entry) {
        let is_answer = !matches!(entry.kind(), Kind::Error(_));
        if is_answer && shard.peek(flight.group, &flight.key, flight.hash).is_some() {
            shard.remove(flight.hash.0, Gone::Displaced, &self.inner.budget);
        }
    }

    /// Puts `entry` in its slot, whatever is there, if room can be made for it. If not, the slot is
    /// left empty: its old entry is out of date.
    fn store(&self, shard: &mut Shard, hash: KeyHash, entry: &Entry) -> bool {
        let budget = &self.inner.budget;
        let bytes = charge(entry);
        shard.remove(hash.0, Gone::Displaced, budget);
        if bytes > budget.limit() {
            shard.counts.rejected += 1;
            return false;
        }
        // Ends: every round drops an entry. Others may take the room first, and then they have
        // stored theirs.
        while !budget.try_reserve(bytes) {
            if !shard.evict(budget) && !self.evict_elsewhere(bytes) {
                shard.counts.rejected += 1;
                return false;
            }
        }
        shard.insert(hash.0, entry.clone(), budget);
        self.inner.taps.offer(entry);
        true
    }

    /// Makes room in other shards until `bytes` would fit; false if nothing could be dropped.
    ///
    /// `try_lock`, because the own shard is locked: two that wait for each other's shard would
    /// wait for ever. A shard that is busy, the own one included, is passed by.
    fn evict_elsewhere(&self, bytes: u64) -> bool {
        let budget = &self.inner.budget;
        let mut has_dropped = false;
        for _ in 0..SHARDS {
            let index = self.inner.next_robbed.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let Some(mut other) = self.inner.shards[index].try_lock() else {
                continue;
            };
            for _ in 0..ROBBED_AT_ONCE {
                if budget.fits(bytes) {
                    return true;
                }
                if !other.evict(budget) {
                    break;
                }
                has_dropped = true;
            }
        }
        has_dropped || budget.fits(bytes)
    }
}

/// Whether an entry stays in its slot although the origin has answered: it is newer than the question.
fn outlasts(old: &Entry, flight: &Flight, at: &Fill) -> bool {
    let phase = old.phase(at.now);
    let is_newer = old.is_newer_than(flight.token.tenure, flight.token.generation);
    if phase == Phase::Dead {
        // Whether the sweep has been here makes no difference.
        return false;
    }
    if !old.is_copy() {
        return is_newer;
    }
    // A copy that does not count keeps nothing out. One that counts at a standby, and is fresh, came during the
    // load, whatever its stamp is: before, it would have answered.
    old.is_valid(&at.stamps, flight.role)
        && match flight.role {
            Role::Standby => phase == Phase::Fresh,
            Role::Owner | Role::LastResort => is_newer,
        }
}

/// Whether an entry stays in its slot although its reload has failed: it is a value that answers in place of the
/// failure, in this role, or once this member is known as the owner.
fn outlasts_failure(old: &Entry, role: Role, at: &Fill) -> bool {
    let answers_as = |role| old.is_valid(&at.stamps, role);
    old.serves_on_error(at.now) && (answers_as(role) || answers_as(Role::Owner))
}
