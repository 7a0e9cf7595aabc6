//! Questions to the old owner, for what it had and has not sent.

use gcache::cache::{Entry, EntryParts};
use gcache::ids::{Generation, Millis, Tenure};
use gcache::ownership::streams::{may_give, moves_out};
use gcache::topology::view::Route;

use super::carry::Carried;
use super::world::{Happening, World, key_of, node};
use crate::queue::{MILLISECOND, Micros};

/// How long the old owner may take to answer.
const PEEK_PATIENCE: Micros = 10 * MILLISECOND;

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

impl World {
    pub(super) fn peek(&mut self, load: u64, from: u64, key: usize, route: &Route) {
        let member = &self.members[&self.loads[&load].member];
        let peek = Peek {
            load,
            from,
            to: member.id,
            key,
            tenure: member.came_from[&route.partition].1,
            generation: member.stamps(route.partition, self.slip).generation,
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
    pub(super) fn peek_arrived(&mut self, peek: Peek) {
        let now = self.now();
        let Peek { from, to, key, .. } = peek;
        if self.is_paused(from) || !self.carries(from, to) {
            return;
        }
        let member = &self.members[&from];
        let partition = self.partition(key);
        let moves = moves_out(&member.view, node(from));
        let moves = moves.get(&(node(to), peek.tenure));
        let moves = moves.is_some_and(|partitions| partitions.contains(&partition));
        let gone = member.gone.get(&partition);
        let gone = gone.filter(|gone| (gone.to, gone.there) == (to, peek.tenure));
        let stamps = match moves {
            true => Some(member.stamps(partition, self.slip)),
            false => gone.map(|gone| gone.stamps),
        };
        let entry = stamps.and_then(|stamps| {
            let entry = member
                .cache
                .peek(self.group(), &key_of(key), self.hash(key))?;
            let (owned, clock) = ((stamps.tenure, stamps.inherits), member.clock(now));
            may_give(&entry, owned, peek.generation, clock).then_some(entry)
        });
        let age = entry
            .as_ref()
            .map_or(0, |entry| entry.age_ms(member.clock(now)));
        let after = self.delay();
        let peeked = Carried::Peeked(peek.load, entry, age);
        self.queue.push(after, Happening::Carried(peeked));
    }

    pub(super) fn peeked(&mut self, number: u64, entry: Option<Entry>, age: u64) {
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

    pub(super) fn peek_over(&mut self, number: u64) {
        if let Some(load) = self.loads.get_mut(&number).filter(|load| load.is_peeking) {
            load.is_peeking = false;
            self.begin_load(number);
        }
    }
}
