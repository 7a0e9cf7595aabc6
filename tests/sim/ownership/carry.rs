//! What members tell each other while partitions move: the transfer with its acknowledgements, and peeks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use gcache::cache::{
    Batch, End, Entry, EntryParts, Feed, Heard, Item, Line, PartitionSet, Phase, Receipt, Walk,
};
use gcache::hash::KeyHash;
use gcache::ids::{Generation, Incarnation, Millis, Partition, Tenure};
use gcache::topology::lease::{Grant, Renewal};
use gcache::topology::view::{Route, View};

use super::copies::Copied;
use super::slips::Slip;
use super::world::{Happening, World, key_of, node};
use crate::queue::{MILLISECOND, Micros};

/// Between two looks at a feed.
const CARRY_EVERY: Micros = 2 * MILLISECOND;

/// How long a stream may not carry before it breaks.
const STREAM_PATIENCE: Micros = 300 * MILLISECOND;

/// How long the old owner may take to answer.
const PEEK_PATIENCE: Micros = 10 * MILLISECOND;

/// Items that go at once.
const ITEMS_MAX: u64 = 4;

/// What members say to each other.
pub(super) enum Carried {
    Renewal(Renewal),
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

pub(super) struct Delivery {
    pub(super) batch: Batch,
    /// By age: entries are sent with it.
    pub(super) ages: Vec<u64>,
    since: Micros,
    is_warm: bool,
}

/// A question to the old owner.
#[derive(Clone, Copy)]
pub(super) struct Peek {
    load: u64,
    from: u64,
    to: u64,
    key: usize,
    tenure: Tenure,
    generation: Generation,
}

/// One transfer, or what keeps copies.
pub(super) struct Stream {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) starts: (u64, u64),
    pub(super) line: Line,
    /// Set for copies.
    pub(super) copied: Option<Copied>,
    pub(super) tenure: Tenure,
    /// What is walked over.
    pub(super) partitions: BTreeSet<Partition>,
    pub(super) feed: Feed,
    /// None if what was there before it is left to peeks.
    pub(super) walk: Option<Walk>,
    /// What is on its way, in order.
    on_its_way: VecDeque<Delivery>,
    /// When the last message of each direction is there: they keep their order.
    arrives: Micros,
    answers: Micros,
    is_open: bool,
    is_warm: bool,
}

/// What a member gave away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) to: u64,
    /// The tenure it has there.
    pub(super) there: Tenure,
    /// What is valid of it here.
    pub(super) route: Route,
}

impl Stream {
    pub(super) fn new(
        (from, to): (u64, u64),
        starts: (u64, u64),
        (number, tenure): (u64, Tenure),
    ) -> Self {
        Self {
            from,
            to,
            starts,
            line: Line {
                start: Incarnation(starts.0),
                number,
            },
            copied: None,
            tenure,
            partitions: BTreeSet::new(),
            feed: Feed::new(),
            walk: Some(Walk::new()),
            on_its_way: VecDeque::new(),
            arrives: 0,
            answers: 0,
            is_open: false,
            is_warm: false,
        }
    }
}

impl World {
    /// A member goes by the epoch at `index` from now on.
    pub(super) fn follow(&mut self, id: u64, index: usize) {
        let (_, view) = self.log[index].clone();
        let member = self.members.get_mut(&id).expect("it follows");
        if member.index >= index {
            return;
        }
        let before = std::mem::replace(&mut member.view, Arc::clone(&view));
        member.index = index;
        self.tell(|| format!("{id}: goes by epoch {}", view.epoch()));
        self.begin_streams(id, &view);
        self.end_streams(id, &before, &view);
        self.follow_copies(id, &view);
        let member = self.members.get_mut(&id).expect("it follows");
        member.cache.close_partitions(|partition| {
            before.is_owner(node(id), partition) && !view.is_owner(node(id), partition)
        });
        let is_over = |partition: Partition, tenure: Tenure, _| {
            let route = view.route_of(partition);
            let mut moving = view.moving().iter();
            let comes = moving.any(|moving| moving.partition == partition && moving.to.0 == id);
            let has_come = view.is_owner(node(id), partition)
                && (route.tenure == tenure || route.inherits == Some(tenure));
            !comes && !has_come && view.epoch().0 >= tenure.0
        };
        if self.slip != Some(Slip::NoTenure) {
            member.cache.expect_no_more(is_over);
        }
        let since = view.latest_since(node(id));
        member.lease.applied(view.epoch(), since);
        member
            .gone
            .retain(|partition, _| !view.is_owner(node(id), *partition));
    }

    pub(super) fn begin_streams(&mut self, id: u64, view: &View) {
        let mut new: BTreeMap<(u64, Tenure), BTreeSet<Partition>> = BTreeMap::new();
        for moving in view.moving().iter().filter(|moving| moving.from.0 == id) {
            let at = new.entry((moving.to.0, moving.tenure)).or_default();
            at.insert(moving.partition);
        }
        for ((to, tenure), partitions) in new {
            let start = self.members[&id].start;
            let is_known = self.streams.values().any(|stream| {
                (stream.from, stream.to, stream.tenure, stream.starts.0) == (id, to, tenure, start)
            });
            if is_known {
                continue;
            }
            let set: PartitionSet = partitions.iter().copied().collect();
            let number = self.number();
            let starts = (start, self.members[&to].start);
            // Not all that is there gets through in time, or at all.
            let is_hurried = self.dice.chance(400);
            let stream = Stream {
                partitions,
                walk: (!is_hurried).then(Walk::new),
                ..Stream::new((id, to), starts, (number, tenure))
            };
            self.members[&id]
                .cache
                .tap(node(to), set, stream.feed.clone());
            self.streams.insert(number, stream);
            let after = self.delay();
            self.queue
                .push(after, Happening::Carried(Carried::Carry(number)));
        }
    }

    /// Streams whose moves are over, one way or the other.
    fn end_streams(&mut self, id: u64, before: &View, view: &View) {
        let start = self.members[&id].start;
        for stream in self.streams.values_mut() {
            if (stream.from, stream.starts.0) != (id, start) || stream.copied.is_some() {
                continue;
            }
            let (to, tenure) = (stream.to, stream.tenure);
            let mut moving = view.moving().iter();
            if moving.any(|moving| (moving.from.0, moving.to.0, moving.tenure) == (id, to, tenure))
            {
                continue;
            }
            stream.feed.finish(End::Over);
            let member = self.members.get_mut(&id).expect("it sends");
            member.cache.untap(&stream.feed);
            for partition in &stream.partitions {
                let now = view.route_of(*partition);
                if view.is_owner(node(to), *partition) && now.tenure == tenure {
                    let gone = Gone {
                        to,
                        there: tenure,
                        route: before.route_of(*partition),
                    };
                    member.gone.insert(*partition, gone);
                }
            }
        }
    }

    pub(super) fn carried(&mut self, carried: Carried) {
        match carried {
            Carried::Renewal(renewal) => self.renewal_arrived(renewal),
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
            let route = view.route_of(entry.partition());
            let stamps = member.stamps(&route, slip);
            let is_ours =
                entry.tenure() == stamps.tenure || Some(entry.tenure()) == stamps.inherits;
            is_ours && entry.generation() == stamps.generation
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
        let lag = match self.dice.chance(20) {
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
        let stream = self.streams.get_mut(&number).expect("it is there");
        let Some(next) = stream.on_its_way.front_mut() else {
            return;
        };
        if is_broken && (!carries || next.since > 0) {
            stream.on_its_way.clear();
            return;
        }
        if !carries {
            if next.since == 0 {
                next.since = now;
            }
            if now - next.since > STREAM_PATIENCE {
                return self.breaks(number);
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
                Item::Void(void) => receipts.extend(cache.told(void, node(from), clock)),
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

    pub(super) fn peek(&mut self, load: u64, from: u64, key: usize, route: &Route) {
        let member = &self.members[&self.loads[&load].member];
        let peek = Peek {
            load,
            from,
            to: member.id,
            key,
            tenure: member.came_from[&route.partition].1,
            generation: member.stamps(route, self.slip).generation,
        };
        self.queue
            .push(PEEK_PATIENCE, Happening::Carried(Carried::PeekOver(load)));
        if self.carries(peek.to, from) {
            let after = self.delay();
            self.queue
                .push(after, Happening::Carried(Carried::Peek(peek)));
        }
    }

    /// The old owner answers with what it kept until it gave the partition away.
    fn peek_arrived(&mut self, peek: Peek) {
        let now = self.now();
        let Peek { from, to, key, .. } = peek;
        if self.is_paused(from) || !self.carries(from, to) {
            return;
        }
        let member = &self.members[&from];
        let partition = self.partition(key);
        let mut moving = member.view.moving().iter();
        let moves = moving.any(|moving| {
            (moving.partition, moving.from.0, moving.to.0) == (partition, from, to)
                && moving.tenure == peek.tenure
        });
        let gone = member.gone.get(&partition);
        let gone = gone.filter(|gone| (gone.to, gone.there) == (to, peek.tenure));
        let route = match moves {
            true => Some(member.view.route_of(partition)),
            false => gone.map(|gone| gone.route),
        };
        let entry = route.and_then(|route| {
            let stamps = member.stamps(&route, self.slip);
            let entry = member
                .cache
                .peek(self.group(), &key_of(key), self.hash(key))?;
            let is_ours =
                entry.tenure() == stamps.tenure || Some(entry.tenure()) == stamps.inherits;
            let is_alive = entry.phase(member.clock(now)) == Phase::Fresh;
            let is_same = entry.generation() == peek.generation;
            (is_ours && is_alive && is_same && !entry.is_standby()).then_some(entry)
        });
        let age = entry
            .as_ref()
            .map_or(0, |entry| entry.age_ms(member.clock(now)));
        let after = self.delay();
        let peeked = Carried::Peeked(peek.load, entry, age);
        self.queue.push(after, Happening::Carried(peeked));
    }

    fn peeked(&mut self, number: u64, entry: Option<Entry>, age: u64) {
        let Some(load) = self.loads.get_mut(&number).filter(|load| load.is_peeking) else {
            return;
        };
        load.is_peeking = false;
        let (id, key, began, start) = (load.member, load.key, load.began, load.start);
        let Some(entry) = entry else {
            return self.begin_load(number);
        };
        let load = self.loads.remove(&number).expect("it is there");
        if self.members[&id].start != start {
            return;
        }
        self.seen.peeked += 1;
        let fill = self.fill(id, key, began);
        let parts = EntryParts {
            filled_at: Millis(fill.now.0.saturating_sub(age)),
            ..entry.parts()
        };
        let lead = load.lead.expect("it has not landed");
        let outcome = lead.finish_moved(&parts, &fill);
        self.tell(|| format!("{id}: key {key} from the old owner, {outcome:?}"));
        self.wake(id);
    }

    fn peek_over(&mut self, number: u64) {
        if let Some(load) = self.loads.get_mut(&number).filter(|load| load.is_peeking) {
            load.is_peeking = false;
            self.begin_load(number);
        }
    }
}
