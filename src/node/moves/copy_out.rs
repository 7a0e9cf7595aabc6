//! The owner's side of copies: one ordered stream to each standby of this node's partitions, for as long as
//! there are groups of two copies. The stream carries entries and voids (deletes and expiries) in the order
//! in which they happen here. Entries are best effort; a delete is acknowledged only after the standby has
//! applied it.
//!
//! The stream also reports which keys are in use, each at most once in a few seconds, so that a standby
//! evicts first what its owner would evict first. The standby asks for keys in use that it lacks. Entries
//! from before the standby became one are spare: they only fill its free room, and evict nothing that may be
//! in use. If a standby does not answer, this node reports that to the leader, which takes the copies from
//! the standby; until then no delete is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Moves;
use super::stream::{Sent, Undone, Walker, Why, begin, send_batch, understood};
use crate::cache::{Cache, End, Entry, Feed, PartitionSet, Walk};
use crate::hash::KeyHash;
use crate::ids::{GroupId, NodeId, Partition, Tenure};
use crate::ownership::streams::{CopyStamps, may_begin_anew, unheard};
use crate::rpc::pipeline::Target;
use crate::rpc::proto::HandOverBegin;
use crate::rpc::proto::hand_over_reply::What as Reply;
use crate::topology::moves::copies::Unheard;

/// How often keys in use are reported to the standby.
const USED_EVERY: Duration = Duration::from_millis(500);

/// The stream to one standby. Clones share it.
#[derive(Clone)]
pub(super) struct Copier(Arc<Inner>);

struct Inner {
    to: NodeId,
    feed: Feed,
    state: Mutex<State>,
    /// Notified when there is something new to walk over.
    changed: Notify,
}

#[derive(Default)]
struct State {
    stamps: CopyStamps,
    groups: Box<[GroupId]>,
    /// Partitions whose earlier entries have not been given to the feed yet.
    unwalked: BTreeSet<Partition>,
    /// Once the stream is broken: the stamp up to which the standby is unheard.
    broken: Option<Tenure>,
}

impl Copier {
    pub(super) fn new(to: NodeId) -> Self {
        Self(Arc::new(Inner {
            to,
            feed: Feed::new(),
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// From now on, gives the standby copies of these partitions and groups, and of no others.
    pub(super) fn keep(&self, cache: &Cache, stamps: CopyStamps, groups: &[GroupId]) {
        let (feed, mut state) = (&self.0.feed, self.0.state.lock());
        if (&state.stamps, &*state.groups) == (&stamps, groups) {
            return;
        }
        let mut added: BTreeMap<Tenure, Vec<Partition>> = BTreeMap::new();
        for (partition, stamp) in &stamps {
            if state.stamps.get(partition) != Some(stamp) {
                added.entry(*stamp).or_default().push(*partition);
                state.unwalked.insert(*partition);
            }
        }
        // First the stamps, then (by the tap) what happens from now on, and last, by a walk, the earlier
        // entries.
        for (stamp, partitions) in added {
            feed.keep(partitions.into(), stamp);
        }
        let partitions: PartitionSet = stamps.keys().copied().collect();
        cache.tap_groups(self.0.to, partitions, groups.into(), feed.clone());
        state
            .unwalked
            .retain(|partition| stamps.contains_key(partition));
        state.stamps = stamps;
        state.groups = groups.into();
        drop(state);
        self.0.changed.notify_one();
    }

    /// Ends the copying to this standby.
    pub(super) fn end(&self, cache: &Cache) {
        self.0.feed.finish(End::Over);
        cache.untap(&self.0.feed);
    }

    /// Marks the standby as unheard: from now on no delete is acknowledged of a key that it may have a copy
    /// of.
    fn breaks(&self) {
        self.0.feed.finish(End::Broken);
        let mut state = self.0.state.lock();
        state.broken = state.stamps.values().copied().max();
    }

    /// Whether the stream is broken and all of `stamps` are later than that, so that a new stream may begin.
    pub(super) fn is_outlived_by(&self, stamps: &CopyStamps) -> bool {
        let broken = self.0.state.lock().broken;
        broken.is_some_and(|broken| may_begin_anew(broken, stamps))
    }

    /// The report to the leader, if the standby is unheard.
    pub(super) fn unheard(&self) -> Option<Unheard> {
        let mut state = self.0.state.lock();
        let unheard = unheard(self.0.to, state.broken?, &state.stamps);
        state.broken = Some(Tenure(unheard.since.0));
        Some(unheard)
    }

    /// Sends until the copying ends or breaks, or the node stops.
    pub(super) async fn run(self, moves: Moves, target: Target, sent: Sent) {
        let shutdown = moves.0.parts.shutdown.clone();
        let ended = tokio::select! {
            ended = self.send(&moves, &target, &sent) => ended,
            () = shutdown.begun() => {
                // The standby has applied everything that was acknowledged, and is about to become the owner.
                self.0.feed.finish(End::Broken);
                return;
            }
        };
        let Err(why) = ended else { return };
        tracing::warn!(standby = %self.0.to, why, "standby does not acknowledge its copies");
        self.breaks();
        moves.0.metrics.copies_broken.increment(1);
        moves.report_unheard();
    }

    async fn send(&self, moves: &Moves, target: &Target, sent: &Sent) -> Result<(), Why> {
        let view = Arc::clone(&moves.0.parts.view.borrow());
        let message = HandOverBegin {
            cluster: view.cluster().to_owned(),
            from: moves.0.parts.me.get().0,
            to: self.0.to.0,
            is_copying: true,
            start: moves.0.parts.renewer.start().0,
            line: moves.next_line(),
            ..HandOverBegin::default()
        };
        let (sender, mut replies) = begin(target, message).await?;
        let feed = &self.0.feed;
        let (mut walk, mut undone) = (self.next_walk(moves), Undone::default());
        let mut ticks = tokio::time::interval(USED_EVERY);
        let mut reports_used = false;
        loop {
            match feed.end() {
                Some(End::Over) => return Ok(()),
                Some(End::Broken) => {
                    return Err("too many deletes and expiries are unacknowledged".into());
                }
                None => {}
            }
            if let Some((partitions, walker)) = &mut walk {
                let is_meant =
                    |entry: &Entry| partitions.contains(entry.partition()) && self.is_copied(entry);
                walker.go_on(moves, feed, is_meant);
            }
            if walk
                .as_ref()
                .is_none_or(|(_, walker)| walker.walk.is_over())
            {
                walk = self.next_walk(moves);
            }
            let next = walk.as_ref().map(|(_, walker)| walker.next);
            reports_used &= feed.has_used();
            let mut is_filled = false;
            tokio::select! {
                biased;
                reply = replies.next() => match understood(reply)? {
                    Reply::Done(mark) => {
                        feed.acknowledge(mark);
                        undone.done(mark);
                    }
                    Reply::Missing(missing) => self.give(moves, &missing.hashes),
                    Reply::Ask(_) => return Err("a standby asks for no single key".into()),
                },
                () = undone.is_late() => {
                    return Err(format!("{target} has not acknowledged in time"));
                }
                filled = feed.filled() => is_filled = filled,
                () = std::future::ready(()), if reports_used => is_filled = true,
                _ = ticks.tick() => reports_used = true,
                () = self.0.changed.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            if is_filled {
                let (mark, _) = send_batch(moves, feed, &sender, false, sent).await?;
                undone.sent(mark);
            }
        }
    }

    /// A walk over earlier entries, if there are partitions that were not walked yet.
    fn next_walk(&self, moves: &Moves) -> Option<(PartitionSet, Walker)> {
        let unwalked = std::mem::take(&mut self.0.state.lock().unwalked);
        let walker = || Walker::new(Walk::spare(), moves.settings().max_rate);
        (!unwalked.is_empty()).then(|| (unwalked.into_iter().collect(), walker()))
    }

    /// Gives again the keys in use that the standby lacks.
    fn give(&self, moves: &Moves, hashes: &[u64]) {
        let hashes: Vec<KeyHash> = hashes.iter().copied().map(KeyHash).collect();
        let is_ours = moves.is_ours();
        let is_meant = |entry: &Entry| self.is_copied(entry) && is_ours(entry);
        let now = moves.0.parts.clock.now();
        let cache = &moves.0.parts.cache;
        cache.offer_again(&hashes, &self.0.feed, now, is_meant);
    }

    fn is_copied(&self, entry: &Entry) -> bool {
        let state = self.0.state.lock();
        state.groups.contains(&entry.group()) && state.stamps.contains_key(&entry.partition())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Limits;
    use crate::ids::Epoch;

    fn cache() -> Cache {
        Cache::new(Limits {
            memory_bytes: 1 << 20,
            max_waiters_per_key: 1,
            max_waiters_per_group: 1,
            max_waiters: 1,
        })
    }

    fn stamps(stamp: u64) -> CopyStamps {
        [7, 9]
            .map(|partition| (Partition(partition), Tenure(stamp)))
            .into()
    }

    #[test]
    fn a_broken_stream_begins_anew_for_later_copies_only() {
        let (cache, groups) = (cache(), [GroupId(1)]);
        let copier = Copier::new(NodeId(2));
        copier.keep(&cache, stamps(5), &groups);
        assert!(copier.unheard().is_none() && !copier.is_outlived_by(&stamps(6)));
        copier.breaks();
        // `unheard` was not called yet: so it is when another standby was reported first.
        assert!(
            !copier.is_outlived_by(&stamps(5)),
            "the standby's copies may be out of date"
        );
        assert!(copier.is_outlived_by(&stamps(6)));
        let since = |copier: &Copier| copier.unheard().map(|unheard| unheard.since);
        assert_eq!(since(&copier), Some(Epoch(5)));
        // Copies that it should have from then on are unheard too.
        copier.keep(&cache, stamps(8), &groups);
        assert_eq!(since(&copier), Some(Epoch(8)));
        assert!(!copier.is_outlived_by(&stamps(8)));
    }
}
