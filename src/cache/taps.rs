//! Where what happens to partitions is also reported: each tap is a set of partitions and the feed of the
//! member that is to have them.
//!
//! Looked at on every store and every delete, under the shard's lock; hits know nothing of it.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::Cache;
use super::entry::{Entry, Kind, Phase};
use super::expiry::Record;
use super::feed::{Feed, Item, Receipt, Void};
use crate::hash::{KeyHash, PARTITIONS, SHARDS};
use crate::ids::{GroupId, Millis, NodeId, Partition};

/// How many entries are looked at under one hold of a shard's lock, while a feed is given what is there.
const WALKED_AT_ONCE: usize = 128;

/// Some of the partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSet(Box<[u64; PARTITIONS / 64]>);

impl PartitionSet {
    /// Whether it has this one.
    #[must_use]
    pub fn contains(&self, partition: Partition) -> bool {
        let at = usize::from(partition.0);
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    /// Returns how many it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Partition> + '_ {
        let all = (0..=u16::MAX).take(PARTITIONS).map(Partition);
        all.filter(|partition| self.contains(*partition))
    }
}

impl FromIterator<Partition> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = Partition>>(partitions: I) -> Self {
        let mut words = Box::new([0; PARTITIONS / 64]);
        for partition in partitions {
            let at = usize::from(partition.0);
            words[at / 64] |= 1 << (at % 64);
        }
        Self(words)
    }
}

/// The taps of a cache.
#[derive(Default)]
pub(super) struct Taps {
    any: AtomicBool,
    /// Whether any is a standby's.
    any_copied: AtomicBool,
    taps: RwLock<Vec<Tap>>,
}

struct Tap {
    /// The member that hears of it.
    to: NodeId,
    partitions: PartitionSet,
    /// The groups that the receiver hears of; none for all.
    groups: Option<Box<[GroupId]>>,
    feed: Feed,
}

impl Tap {
    fn is_on(&self, group: GroupId, partition: Partition) -> bool {
        let is_meant = |groups: &[GroupId]| groups.contains(&group);
        self.partitions.contains(partition) && self.groups.as_deref().is_none_or(is_meant)
    }
}

impl Taps {
    /// An entry was stored.
    ///
    /// A copy is not passed on. This member may still give the partition away by its view, while the next owner
    /// acts and copies to it, because it is about to be the standby: then the copy would return to its owner,
    /// and may arrive after a delete that the owner heard of in between.
    pub(super) fn offer(&self, entry: &Entry) {
        if !self.any.load(Ordering::Acquire) || !may_leave(entry) || entry.is_copy() {
            return;
        }
        for tap in self.taps.read().iter() {
            if tap.is_on(entry.group(), entry.partition()) {
                // Nobody counts on it: it is loaded again where it is missing.
                let _is_in = tap.feed.offer(entry);
            }
        }
    }

    /// An entry was served: the member that keeps a copy hears so once in a while.
    #[inline]
    pub(super) fn used(&self, entry: &Entry, hash: KeyHash, now: Millis) {
        if self.any_copied.load(Ordering::Relaxed) && entry.is_to_be_reported(now) {
            self.report_used(entry, hash);
        }
    }

    #[cold]
    fn report_used(&self, entry: &Entry, hash: KeyHash) {
        for tap in self.taps.read().iter() {
            if tap.groups.is_some() && tap.is_on(entry.group(), entry.partition()) {
                tap.feed.used(hash);
            }
        }
    }

    /// A key's value was taken back, here or where it was heard from: returns what the other members are to
    /// hear.
    pub(super) fn void(
        &self,
        void: impl Fn() -> Void,
        (group, partition): (GroupId, Partition),
        from: Option<NodeId>,
    ) -> Vec<Receipt> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let taps = self.taps.read();
        // The member that it was heard from has done it, and may wait for this one.
        let is_to_hear = |tap: &&Tap| tap.is_on(group, partition) && Some(tap.to) != from;
        let tapped = taps.iter().filter(is_to_hear);
        tapped.map(|tap| tap.feed.void(void())).collect()
    }
}

impl Taps {
    fn note(&self, all: &[Tap]) {
        let any_copied = all.iter().any(|tap| tap.groups.is_some());
        self.any_copied.store(any_copied, Ordering::Release);
        self.any.store(!all.is_empty(), Ordering::Release);
    }
}

/// Whether another member may serve it as it is. What a standby keeps is for itself, and a failure
/// concerns only the member that met it.
fn may_leave(entry: &Entry) -> bool {
    !entry.is_standby() && !matches!(entry.kind(), Kind::Error(_))
}

/// How far a feed has been given what was in the cache before it: the latest ends first, through all
/// shards in turn.
#[derive(Debug)]
pub struct Walk {
    /// Where each shard goes on; none where nothing is left.
    cursors: Vec<Option<Option<Record>>>,
    next: usize,
    left: usize,
    /// As what it is reported.
    item: fn(Entry) -> Item,
}

impl Walk {
    /// A walk that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cursors: vec![Some(None); SHARDS],
            next: 0,
            left: SHARDS,
            item: Item::Entry,
        }
    }

    /// The same, of what only fills room that nobody needs: [`Item::Spare`].
    #[must_use]
    pub fn spare() -> Self {
        Self {
            item: Item::Spare,
            ..Self::new()
        }
    }

    /// Whether everything was looked at.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left == 0
    }
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    /// Reports to `feed`, which is `to`'s, from now on what happens to these partitions. What is there already is for
    /// [`walk`](Self::walk), which must begin after this.
    pub fn tap(&self, to: NodeId, partitions: PartitionSet, feed: Feed) {
        self.set_tap(Tap {
            to,
            partitions,
            groups: None,
            feed,
        });
    }

    /// Reports to `feed` from now on what happens to these groups in these partitions, whatever it was given
    /// before, and which of their keys are in use.
    pub fn tap_groups(
        &self,
        to: NodeId,
        partitions: PartitionSet,
        groups: Box<[GroupId]>,
        feed: Feed,
    ) {
        self.set_tap(Tap {
            to,
            partitions,
            groups: Some(groups),
            feed,
        });
    }

    fn set_tap(&self, tap: Tap) {
        let mut all = self.inner.taps.taps.write();
        all.retain(|other| !other.feed.is(&tap.feed));
        all.push(tap);
        self.inner.taps.note(&all);
    }

    /// Reports nothing more to `feed`, but for a store or a delete that is under way.
    pub fn untap(&self, feed: &Feed) {
        let taps = &self.inner.taps;
        let mut all = taps.taps.write();
        all.retain(|tap| !tap.feed.is(feed));
        taps.note(&all);
    }

    /// These keys were used where their owner is. Those that are not here.
    pub fn used(&self, hashes: &[KeyHash]) -> Vec<KeyHash> {
        let is_missing = |hash: &&KeyHash| !self.shard(**hash).touch(hash.0);
        hashes.iter().filter(is_missing).copied().collect()
    }

    /// Gives `feed` those of these keys that are here and that `is_meant` names, as far as there is room.
    pub fn offer_again(
        &self,
        hashes: &[KeyHash],
        feed: &Feed,
        now: Millis,
        is_meant: impl Fn(&Entry) -> bool,
    ) {
        for hash in hashes {
            let shard = self.shard(*hash);
            let entry = shard.peek_slot(hash.0).filter(|entry| {
                entry.phase(now) != Phase::Dead && may_leave(entry) && is_meant(entry)
            });
            if !entry.is_none_or(|entry| feed.has_room() && feed.offer(entry)) {
                return;
            }
        }
    }

    /// Gives `feed` some more of what is in the cache, as far as `is_meant` names it and it is alive at
    /// `now`: what ends last goes first, since it is worth most. Returns how many bytes of keys and
    /// values went.
    ///
    /// Short: one hold of one shard's lock. Does nothing while the feed has no room.
    pub fn walk(
        &self,
        walk: &mut Walk,
        feed: &Feed,
        now: Millis,
        is_meant: impl Fn(&Entry) -> bool,
    ) -> u64 {
        while walk.left > 0 && feed.has_room() {
            let index = walk.next;
            walk.next = (index + 1) % SHARDS;
            let Some(cursor) = walk.cursors[index] else {
                continue;
            };
            let mut bytes = 0;
            let shard = self.inner.shards[index].lock();
            let (last, is_over) = shard.look_back(cursor, WALKED_AT_ONCE, |entry| {
                let is_alive = entry.phase(now) != Phase::Dead;
                if !(is_alive && may_leave(entry) && is_meant(entry)) {
                    return true;
                }
                let is_in = feed.has_room() && feed.offer_as(entry, walk.item);
                bytes += if is_in {
                    entry.payload_bytes() as u64
                } else {
                    0
                };
                is_in
            });
            walk.cursors[index] = (!is_over).then_some(last);
            walk.left -= usize::from(is_over);
            return bytes;
        }
        0
    }
}
