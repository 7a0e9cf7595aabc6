//! What members say to each other, and how a stream carries it: deliveries, in order, with their acknowledgements.

use std::sync::Arc;

use gcache::cache::{End, Entry, EntryParts, Heard, Item, Receipt, Role, Walk, Worth};
use gcache::hash::KeyHash;
use gcache::ids::{Millis, Partition, Tenure};
use gcache::topology::lease::{Grant, Renewal};

use super::member::stamps;
use super::peek::Peek;
use super::slips::Slip;
use super::stream::{Delivery, Stream};
use super::world::{Happening, World, node};
use crate::queue::{MILLISECOND, Micros};

/// Between two looks at a feed.
const CARRY_EVERY: Micros = 2 * MILLISECOND;

/// How long a stream may not carry before it breaks.
const STREAM_PATIENCE: Micros = 300 * MILLISECOND;

/// Items that go at once.
const ITEMS_MAX: u64 = 4;

/// What members say to each other.
pub(super) enum Carried {
    Renewal(Renewal),
    /// This start of a member says that it is there.
    Started(u64, u64),
    Grant(Grant),
    /// A stream looks whether there is something to send.
    Carry(u64),
    /// The next part of a stream is there.
    Deliver(u64),
    /// What was delivered waits for others who must hear of it.
    Applied(u64, u64, Vec<Receipt>),
    /// The receiver has done everything up to this mark.
    Acknowledged(u64, u64),
    /// The receiver lacks what is in use.
    Missing(u64, Vec<KeyHash>),
    Peek(Peek),
    Peeked(u64, Option<Entry>, u64),
    PeekOver(u64),
}

impl World {
    pub(super) fn carried(&mut self, carried: Carried) {
        match carried {
            Carried::Renewal(renewal) => self.renewal_arrived(renewal),
            Carried::Started(id, start) => self.started(id, start),
            Carried::Grant(grant) => self.granted(grant),
            Carried::Carry(stream) => self.carry(stream),
            Carried::Deliver(stream) => self.deliver(stream),
            Carried::Applied(stream, mark, receipts) => self.applied(stream, mark, receipts),
            Carried::Acknowledged(stream, mark) => self.acknowledged_mark(stream, mark),
            Carried::Missing(stream, hashes) => self.give_again(stream, &hashes),
            Carried::Peek(peek) => self.peek_arrived(peek),
            Carried::Peeked(load, entry, age) => self.peeked(load, entry, age),
            Carried::PeekOver(load) => self.peek_over(load),
        }
    }

    /// Whether both ends of a stream are the processes that began it.
    pub(super) fn is_alive(&self, stream: &Stream) -> bool {
        let starts = (
            self.members[&stream.from].start,
            self.members[&stream.to].start,
        );
        starts == stream.starts && stream.feed.end().is_none()
    }

    /// A stream gives up: its owner acknowledges nothing more of these partitions until the move ends.
    fn breaks(&mut self, number: u64) {
        let stream = &self.streams[&number];
        if stream.feed.end().is_some() {
            return;
        }
        self.seen.broken += 1;
        stream.feed.finish(End::Broken);
        let (from, to, tenure) = (stream.from, stream.to, stream.tenure);
        let is_same = self.members[&from].start == stream.starts.0;
        self.tell(|| format!("{from}: stream to {to} breaks"));
        if is_same && self.streams[&number].copied.is_some() {
            self.report_unheard(from);
        } else if is_same {
            let feed = self.streams[&number].feed.clone();
            let slip = self.slip;
            let member = self.members.get_mut(&from).expect("it sends");
            member.report.broken = member.report.broken.max(tenure);
            if slip == Some(Slip::BrokenIsOver) {
                member.cache.untap(&feed);
            }
        }
    }

    fn carry(&mut self, number: u64) {
        let now = self.now();
        let stream = &self.streams[&number];
        if !self.is_alive(stream) {
            return self.breaks(number);
        }
        self.queue
            .push(CARRY_EVERY, Happening::Carried(Carried::Carry(number)));
        if self.is_paused(stream.from) {
            return;
        }
        let member = &self.members[&stream.from];
        let (clock, view, slip) = (member.clock(now), Arc::clone(&member.view), self.slip);
        let is_meant = |entry: &Entry| {
            let stamps = stamps(&view, entry.partition(), slip);
            entry.worth(&stamps, Some(Role::Owner)) == Worth::Valid
        };
        let cache = member.cache.clone();
        let stream = self.streams.get_mut(&number).expect("it is there");
        if let Some(walk) = stream.walk.as_mut().filter(|walk| !walk.is_over()) {
            for _ in 0..64 {
                cache.walk(walk, &stream.feed, clock, |entry| {
                    stream.partitions.contains(&entry.partition()) && is_meant(entry)
                });
            }
        }
        let batch = stream.feed.take(self.dice.within(1..ITEMS_MAX) as usize);
        let has_walked = stream.walk.as_ref().is_none_or(Walk::is_over);
        let is_move = stream.copied.is_none();
        let is_warm = is_move && has_walked && batch.items.is_empty() && !stream.is_warm;
        let is_first = !std::mem::replace(&mut stream.is_open, true);
        if batch.items.is_empty() && batch.used.is_empty() && !is_warm && !is_first {
            return;
        }
        stream.is_warm |= is_warm;
        let ages = batch.items.iter().map(|item| match item {
            Item::Entry(entry) | Item::Spare(entry) => entry.age_ms(clock),
            Item::Void(_) | Item::Keep(..) => 0,
        });
        let delivery = Delivery {
            ages: ages.collect(),
            batch,
            since: 0,
            is_warm,
        };
        let lag = match self.streams[&number].is_slow || self.dice.chance(20) {
            true => self.dice.within(0..STREAM_PATIENCE),
            false => self.delay(),
        };
        let at = (now + lag).max(self.streams[&number].arrives + 1);
        let stream = self.streams.get_mut(&number).expect("it is there");
        stream.arrives = at;
        stream.on_its_way.push_back(delivery);
        let is_there = Carried::Deliver(number);
        self.queue.push(at - now, Happening::Carried(is_there));
    }

    fn deliver(&mut self, number: u64) {
        let now = self.now();
        let stream = &self.streams[&number];
        // Over, broken or not: what is on its way is there all the same.
        if self.members[&stream.to].start != stream.starts.1 {
            return;
        }
        let carries = self.carries(stream.from, stream.to);
        let is_broken = stream.feed.end() == Some(End::Broken);
        // A copy may come long after its sender has given up.
        let outlives = stream.copied.is_some();
        let stream = self.streams.get_mut(&number).expect("it is there");
        let Some(next) = stream.on_its_way.front_mut() else {
            return;
        };
        if is_broken && !outlives && (!carries || next.since > 0) {
            stream.on_its_way.clear();
            return;
        }
        if !carries {
            if next.since == 0 {
                next.since = now;
            }
            if now - next.since > STREAM_PATIENCE {
                self.breaks(number);
                if !outlives {
                    return;
                }
            }
            let again = Carried::Deliver(number);
            return self.queue.push(MILLISECOND, Happening::Carried(again));
        }
        let delivery = stream.on_its_way.pop_front().expect("it was just there");
        let receipts = match self.streams[&number].copied {
            None => self.take_in(number, &delivery),
            Some(_) => self.copy_in(number, &delivery),
        };
        let stream = &self.streams[&number];
        if delivery.is_warm {
            let tenure = stream.tenure;
            let to = self.members.get_mut(&stream.to).expect("it receives");
            to.report.warmed = to.report.warmed.max(tenure);
        }
        let applied = Carried::Applied(number, delivery.batch.mark, receipts);
        self.queue.push(0, Happening::Carried(applied));
    }

    /// The receiver keeps what it is sent, and takes back what it is told to.
    fn take_in(&mut self, number: u64, delivery: &Delivery) -> Vec<Receipt> {
        let now = self.now();
        let stream = &self.streams[&number];
        let (from, to) = (stream.from, stream.to);
        let tenure = match self.slip {
            Some(Slip::NoTenure) => Tenure(1),
            _ => stream.tenure,
        };
        let member = self.members.get_mut(&to).expect("it receives");
        let clock = member.clock(now);
        let view = Arc::clone(&member.view);
        let may_expect = |partition: Partition| !view.is_owner(node(to), partition);
        let partitions = stream.partitions.iter().copied();
        let line = stream.line;
        member.cache.expect(partitions, (tenure, line), may_expect);
        for partition in &stream.partitions {
            member.came_from.insert(*partition, (from, stream.tenure));
        }
        let mut items: Vec<_> = delivery.batch.items.iter().zip(&delivery.ages).collect();
        if self.slip == Some(Slip::Overtaken) {
            items.sort_by_key(|(item, _)| matches!(item, Item::Entry(_)));
        }
        let mut receipts = Vec::new();
        let (cache, slip) = (member.cache.clone(), self.slip);
        for (item, age) in items {
            match item {
                Item::Void(void) => receipts.extend(cache.apply_void(void, node(from), clock)),
                Item::Keep(..) | Item::Spare(_) => unreachable!("nothing is copied that moves"),
                Item::Entry(entry) => {
                    let parts = EntryParts {
                        tenure,
                        filled_at: Millis(clock.0.saturating_sub(*age)),
                        ..entry.parts()
                    };
                    let is_kept = match slip {
                        Some(Slip::LateEntry) => cache.put(&Entry::new(&parts)),
                        _ => cache.import(&parts, line, clock),
                    };
                    self.seen.imported += u64::from(is_kept);
                }
            }
        }
        receipts
    }

    fn applied(&mut self, number: u64, mark: u64, receipts: Vec<Receipt>) {
        let now = self.now();
        let stream = &self.streams[&number];
        if self.members[&stream.to].start != stream.starts.1 {
            return;
        }
        if receipts
            .iter()
            .any(|receipt| receipt.heard() != Heard::Applied)
        {
            // Not done here as long as it is not done there; if it never is, the owner is never told.
            let again = Carried::Applied(number, mark, receipts);
            return self.queue.push(CARRY_EVERY, Happening::Carried(again));
        }
        let at = (now + self.delay()).max(self.streams[&number].answers + 1);
        let stream = self.streams.get_mut(&number).expect("it is there");
        stream.answers = at;
        let acknowledged = Carried::Acknowledged(number, mark);
        self.queue.push(at - now, Happening::Carried(acknowledged));
    }

    fn acknowledged_mark(&mut self, number: u64, mark: u64) {
        let stream = &self.streams[&number];
        if !self.is_alive(stream) {
            return;
        }
        if self.carries(stream.to, stream.from) {
            stream.feed.acknowledge(mark);
        } else {
            self.breaks(number);
        }
    }
}
