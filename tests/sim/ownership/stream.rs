//! The streams between members: what one is, and which begin and end with an epoch.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use gcache::cache::{Batch, End, Feed, PartitionSet, StreamId, Walk};
use gcache::ids::{Incarnation, NodeId, Partition, Tenure};
use gcache::ownership::streams;
use gcache::topology::view::{Stamps, View};

use super::carry::Carried;
use super::copies::Copied;
use super::member::stamps;
use super::slips::Slip;
use super::world::{Happening, World, node};
use crate::queue::Micros;

/// How many streams in a thousand are slow.
pub(super) const SLOW: u32 = 300;

/// One transfer, or what keeps copies.
pub(super) struct Stream {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) starts: (u64, u64),
    pub(super) line: StreamId,
    /// Set for copies.
    pub(super) copied: Option<Copied>,
    pub(super) tenure: Tenure,
    /// What is walked over.
    pub(super) partitions: BTreeSet<Partition>,
    pub(super) feed: Feed,
    /// None if what was there before it is left to peeks.
    pub(super) walk: Option<Walk>,
    /// What is on its way, in order.
    pub(super) on_its_way: VecDeque<Delivery>,
    /// When the last message of each direction is there: they keep their order.
    pub(super) arrives: Micros,
    pub(super) answers: Micros,
    pub(super) is_open: bool,
    pub(super) is_warm: bool,
    /// Much is on its way.
    pub(super) is_slow: bool,
}

/// What is sent at once.
pub(super) struct Delivery {
    pub(super) batch: Batch,
    /// By age: entries are sent with it.
    pub(super) ages: Vec<u64>,
    pub(super) since: Micros,
    pub(super) is_warm: bool,
}

/// What a member gave away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) to: u64,
    /// The tenure it has there.
    pub(super) there: Tenure,
    /// What was valid of it here.
    pub(super) stamps: Stamps,
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
            line: StreamId {
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
            is_slow: false,
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
        let is_lost = |partition| streams::is_lost(&before, &view, node(id), partition);
        member.cache.close_partitions(is_lost);
        let is_over = |partition: Partition, tenure: Tenure, _| {
            !streams::expects(&view, node(id), partition, tenure)
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
        for ((NodeId(to), tenure), partitions) in streams::moves_out(view, node(id)) {
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
                is_slow: self.dice.chance(SLOW),
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
            if streams::is_moving(view, (node(id), node(to)), tenure) {
                continue;
            }
            stream.feed.finish(End::Over);
            let member = self.members.get_mut(&id).expect("it sends");
            member.cache.untap(&stream.feed);
            for partition in &stream.partitions {
                if streams::has_moved(view, node(to), tenure, *partition) {
                    let gone = Gone {
                        to,
                        there: tenure,
                        stamps: stamps(before, *partition, self.slip),
                    };
                    member.gone.insert(*partition, gone);
                }
            }
        }
    }
}
