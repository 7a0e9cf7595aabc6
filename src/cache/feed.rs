//! What the owner of partitions reports of them to another member, in order: what it keeps, and what it has
//! taken back.
//!
//! Everything is put in under the lock of the key's shard, so that the order in a feed is the order in the
//! cache: an entry that was taken back never follows its own end. Entries are best effort, and left out
//! while too many wait; what was taken back is never left out, and has a number, a *mark*, by which the
//! receiver says that it has done the same. Filled by `taps`; carried by `node::moves`.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::budget::charge;
use super::entry::Entry;
use crate::hash::KeyHash;
use crate::ids::{GroupId, Partition, Tenure};

/// Bytes of entries that may wait in a feed.
pub const FEED_BYTES_MAX: u64 = 4 << 20;

/// How many keys that were taken back may wait in a feed or for their acknowledgement. One more ends it.
pub const FEED_VOIDS_MAX: u64 = 65_536;

/// Keys in use that may wait in a feed; of more nothing is said.
pub const FEED_USED_MAX: usize = 65_536;

/// Keys in use that are taken at once: the smallest message that may be configured has room for them.
pub const USED_AT_ONCE: usize = 4_096;

/// One thing to report.
#[derive(Clone, Debug)]
pub enum Item {
    /// The owner keeps this.
    Entry(Entry),
    /// The owner keeps this, and it may not be in use: nothing is to go for it.
    Spare(Entry),
    /// The owner has taken this back.
    Void(Void),
    /// From here on these partitions are reported too, and what is kept of them has this stamp.
    Keep(Box<[Partition]>, Tenure),
}

/// A key whose value was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// The key's group.
    pub group: GroupId,
    /// The key.
    pub key: Box<[u8]>,
    /// Its hash.
    pub hash: KeyHash,
    /// In which way.
    pub verb: Verb,
}

/// How a value is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is never served again.
    Delete,
    /// It is stale from now on.
    Expire,
}

/// Why a feed has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing more to report: the partitions are the receiver's, or stay where they are.
    Over,
    /// The receiver does not hear it.
    Broken,
}

/// What is next to be reported.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order.
    pub items: Vec<Item>,
    /// The mark of the last thing taken back in this batch or before; 0 if there was none.
    pub mark: u64,
    /// Keys that are in use, in no order: [`USED_AT_ONCE`] at most.
    pub used: Vec<KeyHash>,
}

/// An ordered feed to one member. Clones are the same feed.
#[derive(Clone, Default)]
pub struct Feed(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to take.
    filled: Notify,
    /// Something was taken or acknowledged, or all has ended.
    moved: Notify,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    used: Vec<KeyHash>,
    entry_bytes: u64,
    voided: u64,
    /// The mark of what was taken last.
    taken: u64,
    acknowledged: u64,
    left_out: u64,
    end: Option<End>,
}

/// Whether the receiver has done the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has.
    Applied,
    /// Not yet.
    Waits,
    /// Nobody knows, and it is not reported again.
    Ended(End),
}

/// One thing that was taken back, and that the receiver is to hear of.
#[derive(Clone)]
pub struct Receipt {
    feed: Feed,
    mark: u64,
}

impl Feed {
    /// A feed in which nothing waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is room for more entries.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.0.state.lock();
        state.end.is_none() && state.entry_bytes < FEED_BYTES_MAX
    }

    /// Puts an entry in, if there is room. Only under the lock of its shard.
    pub(super) fn offer(&self, entry: &Entry) -> bool {
        self.offer_as(entry, Item::Entry)
    }

    /// The same, as what it is to be.
    pub(super) fn offer_as(&self, entry: &Entry, item: fn(Entry) -> Item) -> bool {
        let mut state = self.0.state.lock();
        if state.end.is_some() {
            return false;
        }
        if state.entry_bytes >= FEED_BYTES_MAX {
            state.left_out += 1;
            return false;
        }
        state.entry_bytes += charge(entry);
        state.items.push_back(item(entry.clone()));
        drop(state);
        self.0.filled.notify_one();
        true
    }

    /// Puts in that these partitions are reported from here on. Before they are tapped.
    pub fn keep(&self, partitions: Box<[Partition]>, stamp: Tenure) {
        let mut state = self.0.state.lock();
        if state.end.is_none() {
            state.items.push_back(Item::Keep(partitions, stamp));
        }
        drop(state);
        self.0.filled.notify_one();
    }

    /// Puts in that a key is in use, if there is room.
    pub(super) fn used(&self, hash: KeyHash) {
        let mut state = self.0.state.lock();
        if state.end.is_none() && state.used.len() < FEED_USED_MAX {
            state.used.push(hash);
        }
    }

    /// Whether there are keys in use to report.
    #[must_use]
    pub fn has_used(&self) -> bool {
        !self.0.state.lock().used.is_empty()
    }

    /// Puts in what was taken back. Only under the lock of its shard.
    pub(super) fn void(&self, void: Void) -> Receipt {
        let mut state = self.0.state.lock();
        state.voided += 1;
        let mark = state.voided;
        if state.end.is_none() {
            if mark - state.acknowledged > FEED_VOIDS_MAX {
                state.finish(End::Broken);
                self.0.moved.notify_waiters();
            } else {
                state.items.push_back(Item::Void(void));
            }
        }
        drop(state);
        self.0.filled.notify_one();
        let feed = self.clone();
        Receipt { feed, mark }
    }

    /// Returns up to `max` of what is next to be reported, without waiting.
    #[must_use]
    pub fn take(&self, max: usize) -> Batch {
        let mut state = self.0.state.lock();
        let count = max.min(state.items.len());
        let items: Vec<Item> = state.items.drain(..count).collect();
        for item in &items {
            match item {
                Item::Entry(entry) | Item::Spare(entry) => state.entry_bytes -= charge(entry),
                Item::Void(_) => state.taken += 1,
                Item::Keep(..) => {}
            }
        }
        let mark = state.taken;
        let kept = state.used.len().saturating_sub(USED_AT_ONCE);
        let used = state.used.split_off(kept);
        drop(state);
        self.0.moved.notify_waiters();
        Batch { items, mark, used }
    }

    /// Waits until there is something to take, or the feed has ended; true if there is. Cancel-safe.
    pub async fn filled(&self) -> bool {
        loop {
            let filled = self.0.filled.notified();
            {
                let state = self.0.state.lock();
                if !state.items.is_empty() {
                    return true;
                }
                if state.end.is_some() {
                    return false;
                }
            }
            filled.await;
        }
    }

    /// Waits until there is room for entries, or the feed has ended. Cancel-safe.
    pub async fn roomy(&self) {
        loop {
            let moved = self.0.moved.notified();
            {
                let state = self.0.state.lock();
                if state.end.is_some() || state.entry_bytes < FEED_BYTES_MAX {
                    return;
                }
            }
            moved.await;
        }
    }

    /// The receiver has done everything up to `mark`.
    pub fn acknowledge(&self, mark: u64) {
        let mut state = self.0.state.lock();
        // Nobody can have heard what was not sent.
        state.acknowledged = state.acknowledged.max(mark.min(state.taken));
        drop(state);
        self.0.moved.notify_waiters();
    }

    /// Ends the feed; the first end counts. What waits in it is dropped.
    pub fn finish(&self, end: End) {
        self.0.state.lock().finish(end);
        self.0.filled.notify_one();
        self.0.moved.notify_waiters();
    }

    /// Says why it has ended; none while it goes on.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.0.state.lock().end
    }

    /// Returns how many entries were left out, for want of room or because the feed ended before.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.0.state.lock().left_out
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl State {
    fn finish(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
            let is_entry = |item: &&Item| matches!(item, Item::Entry(_) | Item::Spare(_));
            self.left_out += self.items.iter().filter(is_entry).count() as u64;
            self.items.clear();
            self.used.clear();
            self.entry_bytes = 0;
        }
    }
}

impl Receipt {
    /// Whether the receiver has heard by now.
    #[must_use]
    pub fn heard(&self) -> Heard {
        let state = self.feed.0.state.lock();
        match state.end {
            _ if state.acknowledged >= self.mark => Heard::Applied,
            Some(end) => Heard::Ended(end),
            None => Heard::Waits,
        }
    }

    /// Waits until the receiver has heard, or the feed has ended. Never [`Heard::Waits`]. It has no
    /// deadline of its own. Cancel-safe.
    pub async fn wait(&self) -> Heard {
        loop {
            let moved = self.feed.0.moved.notified();
            match self.heard() {
                Heard::Waits => moved.await,
                heard => return heard,
            }
        }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Feed")
            .field("items", &state.items.len())
            .field("taken", &state.taken)
            .field("acknowledged", &state.acknowledged)
            .field("end", &state.end)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Receipt({})", self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn void(key: &[u8]) -> Void {
        Void {
            group: GroupId(1),
            key: key.into(),
            hash: KeyHash::of(GroupId(1), key),
            verb: Verb::Delete,
        }
    }

    #[test]
    fn what_was_taken_back_is_heard_once_it_is_acknowledged_and_not_before() {
        let feed = Feed::new();
        let (first, second) = (feed.void(void(b"a")), feed.void(void(b"b")));
        feed.acknowledge(2);
        assert_eq!(first.heard(), Heard::Waits, "nothing was sent yet");
        assert_eq!(feed.take(1).mark, 1);
        feed.acknowledge(1);
        assert_eq!(
            (first.heard(), second.heard()),
            (Heard::Applied, Heard::Waits)
        );
        feed.finish(End::Over);
        feed.finish(End::Broken);
        assert_eq!(first.heard(), Heard::Applied);
        assert_eq!(second.heard(), Heard::Ended(End::Over));
        assert_eq!(
            feed.void(void(b"c")).heard(),
            Heard::Ended(End::Over),
            "too late"
        );
        assert!(feed.take(9).items.is_empty());
    }

    #[test]
    fn too_many_that_nobody_acknowledges_end_the_feed() {
        let feed = Feed::new();
        for _ in 0..FEED_VOIDS_MAX {
            let _receipt = feed.void(void(b"a"));
        }
        assert_eq!(feed.end(), None);
        let last = feed.void(void(b"a"));
        assert_eq!(last.heard(), Heard::Ended(End::Broken));
    }

    #[test]
    fn no_more_keys_in_use_are_taken_at_once_than_a_message_has_room_for() {
        let feed = Feed::new();
        for hash in 0..FEED_USED_MAX as u64 + 1 {
            feed.used(KeyHash(hash));
        }
        let mut taken = 0;
        while feed.has_used() {
            let used = feed.take(1).used;
            assert!(used.len() <= USED_AT_ONCE);
            taken += used.len();
        }
        assert_eq!(taken, FEED_USED_MAX);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_an_acknowledgement_and_by_the_end() {
        let feed = Feed::new();
        let (first, second) = (feed.void(void(b"a")), feed.void(void(b"b")));
        let receiver = async {
            assert!(feed.filled().await);
            assert_eq!(feed.take(1).items.len(), 1);
            tokio::task::yield_now().await;
            feed.acknowledge(1);
            tokio::task::yield_now().await;
            feed.finish(End::Broken);
            assert!(!feed.filled().await);
        };
        let (first, second, ()) = tokio::join!(first.wait(), second.wait(), receiver);
        assert_eq!((first, second), (Heard::Applied, Heard::Ended(End::Broken)));
    }
}
