//! What a standby has copies of: the streams that owners keep up, and what comes of them.

use std::collections::{BTreeMap, BTreeSet};

use gcache::cache::Role::Owner;
use gcache::cache::{End, Entry, EntryParts, Item, PartitionSet, Receipt, Walk, Worth};
use gcache::hash::KeyHash;
use gcache::ids::{Millis, Partition, Tenure};
use gcache::ownership::streams::{self, CopyStamps};
use gcache::topology::commands::{Command, SetGroups};
use gcache::topology::state::State;
use gcache::topology::view::View;

use super::carry::Carried;
use super::slips::Slip;
use super::stream::{Delivery, SLOW, Stream};
use super::world::{Happening, KEYS, World, node};

/// The stamp of copies that count for ever, if a member makes that mistake.
pub(super) const FOR_EVER: Tenure = Tenure(1);

/// What a stream has of its own that keeps copies.
#[derive(Default)]
pub(super) struct Copied {
    /// By the owner.
    stamps: BTreeMap<Partition, Tenure>,
    /// By the standby.
    told: BTreeMap<Partition, Tenure>,
    /// Up to which stamp nothing is heard, once that is so.
    broken: Option<Tenure>,
    /// Nothing is copied on it any more.
    is_over: bool,
}

impl World {
    /// What a member copies, and to whom, by its view. Nobody asks about other partitions than the keys'.
    fn wanted(&self, id: u64, view: &View) -> BTreeMap<u64, CopyStamps> {
        let keys = (0..KEYS).map(|key| self.partition(key));
        let (_, wanted) = streams::copies_out(view, node(id), keys);
        let wanted = wanted.into_iter();
        wanted.map(|(to, stamps)| (to.0, stamps)).collect()
    }

    fn copying(&self, id: u64) -> Vec<u64> {
        let start = self.members[&id].start;
        let is_its = |stream: &Stream| {
            let goes_on = |copied: &Copied| !copied.is_over;
            (stream.from, stream.starts.0) == (id, start)
                && stream.copied.as_ref().is_some_and(goes_on)
        };
        let its = self.streams.iter().filter(|(_, stream)| is_its(stream));
        its.map(|(number, _)| *number).collect()
    }

    /// A member copies by this view from now on, and keeps copies by it.
    pub(super) fn follow_copies(&mut self, id: u64, view: &View) {
        let member = &self.members[&id];
        if self.slip != Some(Slip::LateCopy) {
            member.cache.expect_no_more_copies(|partition, stamp, _| {
                let is_expected = streams::expects_copies(view, node(id), partition, stamp);
                !is_expected && self.slip != Some(Slip::CopiesForEver)
            });
        }
        let mut wanted = self.wanted(id, view);
        for number in self.copying(id) {
            let stream = &self.streams[&number];
            let copied = stream.copied.as_ref().expect("it copies");
            let is_new = |broken: Tenure| {
                let stamps = wanted.get(&stream.to);
                stamps.is_some_and(|stamps| streams::may_begin_anew(broken, stamps))
            };
            let keeps = wanted.contains_key(&stream.to) && !copied.broken.is_some_and(is_new);
            match wanted.remove(&stream.to).filter(|_| keeps) {
                Some(stamps) => self.keep(number, stamps),
                None => {
                    stream.feed.finish(End::Over);
                    self.members[&id].cache.untap(&stream.feed);
                    let stream = self.streams.get_mut(&number).expect("it is there");
                    let copied = stream.copied.as_mut().expect("it copies");
                    copied.is_over = true;
                }
            }
        }
        for (to, stamps) in self.wanted(id, view) {
            let copying = self.copying(id);
            if copying.iter().any(|number| self.streams[number].to == to) {
                continue;
            }
            let number = self.number();
            let starts = (self.members[&id].start, self.members[&to].start);
            let mut stream = Stream::new((id, to), starts, (number, Tenure(0)));
            stream.copied = Some(Copied::default());
            stream.is_slow = self.dice.chance(SLOW);
            self.streams.insert(number, stream);
            self.keep(number, stamps);
            let after = self.delay();
            let carry = Carried::Carry(number);
            self.queue.push(after, Happening::Carried(carry));
        }
        self.report_unheard(id);
    }

    fn keep(&mut self, number: u64, stamps: BTreeMap<Partition, Tenure>) {
        let group = self.group();
        let stream = self.streams.get_mut(&number).expect("it is there");
        let copied = stream.copied.as_mut().expect("it copies");
        let mut added: BTreeMap<Tenure, Vec<Partition>> = BTreeMap::new();
        for (partition, stamp) in &stamps {
            if copied.stamps.get(partition) != Some(stamp) {
                added.entry(*stamp).or_default().push(*partition);
            }
        }
        let walked: BTreeSet<_> = added.values().flatten().copied().collect();
        for (stamp, partitions) in added {
            stream.feed.keep(partitions.into(), stamp);
        }
        let set: PartitionSet = stamps.keys().copied().collect();
        copied.stamps = stamps;
        if !walked.is_empty() {
            // What was not walked over yet is, once more, with the rest.
            stream.partitions.extend(walked);
            stream.walk = Some(Walk::spare());
        }
        let (to, feed) = (stream.to, stream.feed.clone());
        let cache = &self.members[&stream.from].cache;
        cache.tap_groups(node(to), set, [group].into(), feed);
    }

    /// The leader is to know of a standby that does not hear.
    pub(super) fn report_unheard(&mut self, id: u64) {
        let mut unheard = None;
        for number in self.copying(id) {
            let stream = self.streams.get_mut(&number).expect("it is there");
            let copied = stream.copied.as_mut().expect("it copies");
            if stream.feed.end() == Some(End::Broken) {
                let broken = copied.broken.unwrap_or_default();
                let report = streams::unheard(node(stream.to), broken, &copied.stamps);
                copied.broken = Some(Tenure(report.since.0));
                unheard.get_or_insert(report);
            }
        }
        let member = self.members.get_mut(&id).expect("it copies");
        member.report.unheard = unheard;
    }

    /// A standby does as the owner has done.
    pub(super) fn copy_in(&mut self, number: u64, delivery: &Delivery) -> Vec<Receipt> {
        let now = self.now();
        let slip = self.slip;
        let stream = self.streams.get_mut(&number).expect("it is there");
        let (from, to, line) = (stream.from, stream.to, stream.line);
        let copied = stream.copied.as_mut().expect("it copies");
        let member = &self.members[&to];
        let (clock, cache, view) = (member.clock(now), &member.cache, &member.view);
        let mut receipts = Vec::new();
        let mut items: Vec<_> = delivery.batch.items.iter().zip(&delivery.ages).collect();
        if slip == Some(Slip::CopyOvertaken) {
            items.sort_by_key(|(item, _)| matches!(item, Item::Entry(_) | Item::Spare(_)));
        }
        for (item, age) in items {
            match item {
                Item::Void(_) if slip == Some(Slip::CopyUntold) => {}
                Item::Void(void) => receipts.extend(cache.apply_void(void, node(from), clock)),
                Item::Keep(partitions, stamp) => {
                    let stamp = match slip {
                        Some(Slip::CopiesForEver) => FOR_EVER,
                        _ => *stamp,
                    };
                    let may_expect = |partition| {
                        let may = streams::may_keep_copies(view, node(to), partition, stamp);
                        may || slip == Some(Slip::LateCopy)
                    };
                    for partition in partitions {
                        copied.told.insert(*partition, stamp);
                    }
                    let partitions = partitions.iter().copied();
                    cache.expect_copies(partitions, (stamp, line), may_expect);
                }
                Item::Entry(entry) | Item::Spare(entry) => {
                    let Some(stamp) = copied.told.get(&entry.partition()) else {
                        continue;
                    };
                    let parts = EntryParts {
                        tenure: *stamp,
                        filled_at: Millis(clock.0.saturating_sub(*age)),
                        ..entry.parts()
                    };
                    let is_kept = match slip {
                        Some(Slip::OldLine) => {
                            // As if nobody asked on which it comes.
                            cache.put(&Entry::new(&parts))
                        }
                        _ => cache.import_copy(&parts, (line, false), clock),
                    };
                    self.seen.copied += u64::from(is_kept);
                }
            }
        }
        let missing = cache.used(&delivery.batch.used);
        if !missing.is_empty() {
            let after = self.delay();
            let missing = Carried::Missing(number, missing);
            self.queue.push(after, Happening::Carried(missing));
        }
        receipts
    }

    /// The owner gives again what is in use and missing there.
    pub(super) fn give_again(&mut self, number: u64, hashes: &[KeyHash]) {
        let now = self.now();
        let stream = &self.streams[&number];
        if !self.is_alive(stream) || self.is_paused(stream.from) {
            return;
        }
        let member = &self.members[&stream.from];
        let copied = stream.copied.as_ref().expect("it copies");
        let is_meant = |entry: &Entry| {
            let stamps = member.stamps(entry.partition(), self.slip);
            let is_copied = copied.stamps.contains_key(&entry.partition());
            is_copied && entry.worth(&stamps, Some(Owner)) == Worth::Valid
        };
        let clock = member.clock(now);
        member
            .cache
            .offer_again(hashes, &stream.feed, clock, is_meant);
        self.seen.missing += 1;
    }

    /// The group gets another number of copies.
    pub(super) fn other_copies(state: &State) -> Command {
        let group = state.groups().next().expect("it stays");
        let mut spec = group.spec.clone();
        spec.copies = 3 - spec.copies;
        Command::SetGroups(SetGroups {
            expected: state.revision(),
            upserts: vec![(group.name.clone(), spec)],
            removed: Vec::new(),
            at_unix_ms: 0,
            note: String::new(),
        })
    }
}
