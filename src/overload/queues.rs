//! Queues of what waits for a call to the origin: separate ones for the misses and the refreshes of each
//! group. Pure; time is an argument.
//!
//! A group has two *queues*, one for misses and one for refreshes. Each has places for calls in flight, and
//! items that find no free place wait in it. Callers wait for a miss, but not for a refresh, whose readers
//! have a stale answer. So refreshes never take the places of misses, and are dropped first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::ids::as_millis;
use crate::ids::{GroupId, Millis};

/// The two classes of loads: whether callers wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Callers wait for it.
    Miss,
    /// No caller waits for it: a stale entry is refreshed.
    Refresh,
}

/// The unit that has a queue and calls of its own.
pub(crate) type QueueId = (GroupId, Class);

/// The bounds of the queues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The most calls of one group in flight for misses.
    pub(crate) miss_calls: usize,
    /// The most calls of one group in flight for refreshes.
    pub(crate) refresh_calls: usize,
    /// The most misses that queue, of all groups together.
    pub(crate) misses: usize,
    /// The most refreshes of one group that queue.
    pub(crate) refreshes: usize,
    /// The longest that an item may queue.
    pub(crate) timeout: Duration,
}

/// The part of the queue that one group must leave to others is one in this many: a slow table must not keep
/// other groups from queueing.
const GROUP_LEAVES: usize = 4;

/// An item that queues.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) item: T,
    /// When the caller that began it gives up. After that time the miss is loaded only if other callers wait
    /// for it.
    pub(crate) until: Millis,
    since: Millis,
}

struct Queue<T> {
    waiting: VecDeque<Queued<T>>,
    /// Calls in flight.
    running: usize,
    /// Whether a task looks for items that have queued too long.
    is_watched: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            running: 0,
            is_watched: false,
        }
    }
}

/// What the caller must do after [`Queues::enter`].
#[derive(Debug)]
pub(crate) enum Entered<T> {
    /// There is a place for one more call: call [`Queues::take`] until it returns none.
    Work,
    /// From now on look for [`Queues::overdue`] items, until that returns no next time.
    Watch,
    /// The caller need do nothing.
    Wait,
    /// The item was not queued, because the queue is full.
    Full(T),
}

/// The queues of one node.
pub(crate) struct Queues<T> {
    bounds: Bounds,
    queues: HashMap<QueueId, Queue<T>>,
    /// The misses that queue now, of all groups.
    misses: usize,
}

impl<T> Queues<T> {
    /// Empty queues with these bounds.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            queues: HashMap::new(),
            misses: 0,
        }
    }

    /// How many misses queue.
    pub(crate) fn misses(&self) -> usize {
        self.misses
    }

    /// Queues an item, whose caller gives up at `until`.
    pub(crate) fn enter(
        &mut self,
        queue: QueueId,
        item: T,
        until: Millis,
        now: Millis,
    ) -> Entered<T> {
        let has_room = self.running(queue) < self.calls(queue.1);
        if !has_room && self.is_full(queue) {
            return Entered::Full(item);
        }
        let state = self.queues.entry(queue).or_default();
        state.waiting.push_back(Queued {
            item,
            until,
            since: now,
        });
        self.misses += usize::from(queue.1 == Class::Miss);
        if has_room {
            state.running += 1;
            Entered::Work
        } else if !std::mem::replace(&mut state.is_watched, true) {
            Entered::Watch
        } else {
            Entered::Wait
        }
    }

    /// Takes the next items of a queue, at most `max`, for one call. None if nothing waits: then the queue
    /// has one call fewer in flight.
    ///
    /// The oldest items go first. But once the oldest has waited for half the time that it may, the queue is
    /// longer than the origin can work off, and some items wait in vain in any order. Then the newest go
    /// first, because their callers are the likeliest to be still waiting (Maurer, "Fail at Scale", ACM Queue
    /// 13(8), 2015: adaptive LIFO).
    pub(crate) fn take(
        &mut self,
        queue: QueueId,
        max: usize,
        now: Millis,
    ) -> Option<Vec<Queued<T>>> {
        let state = self.queues.get_mut(&queue)?;
        let Some(oldest) = state.waiting.front() else {
            state.running -= 1;
            self.drop_idle(queue);
            return None;
        };
        let is_late = now.since(oldest.since) * 2 >= as_millis(self.bounds.timeout);
        let count = max.min(state.waiting.len());
        let taken: Vec<_> = if is_late {
            state.waiting.drain(state.waiting.len() - count..).collect()
        } else {
            state.waiting.drain(..count).collect()
        };
        self.left(queue, taken.len());
        Some(taken)
    }

    /// Takes out the items that have queued too long. Returns also when to look again; none if nothing waits.
    pub(crate) fn overdue(&mut self, queue: QueueId, now: Millis) -> (Vec<T>, Option<Millis>) {
        let timeout = as_millis(self.bounds.timeout);
        let Some(state) = self.queues.get_mut(&queue) else {
            return (Vec::new(), None);
        };
        let late = state.waiting.iter();
        let late = late.take_while(|queued| now.since(queued.since) >= timeout);
        let late = late.count();
        let overdue: Vec<_> = state.waiting.drain(..late).map(|late| late.item).collect();
        let next = state.waiting.front().map(|first| first.since.plus(timeout));
        if next.is_none() {
            state.is_watched = false;
            self.drop_idle(queue);
        }
        self.left(queue, overdue.len());
        (overdue, next)
    }

    /// Takes out all items that wait in a queue, and ends one of its calls.
    pub(crate) fn abandon(&mut self, queue: QueueId) -> Vec<Queued<T>> {
        let Some(state) = self.queues.get_mut(&queue) else {
            return Vec::new();
        };
        state.running -= 1;
        let waiting = Vec::from(std::mem::take(&mut state.waiting));
        self.left(queue, waiting.len());
        waiting
    }

    fn running(&self, queue: QueueId) -> usize {
        self.queues.get(&queue).map_or(0, |state| state.running)
    }

    fn waiting(&self, queue: QueueId) -> usize {
        self.queues
            .get(&queue)
            .map_or(0, |state| state.waiting.len())
    }

    fn calls(&self, class: Class) -> usize {
        match class {
            Class::Miss => self.bounds.miss_calls,
            Class::Refresh => self.bounds.refresh_calls,
        }
    }

    /// Whether nothing more may enter the queue.
    fn is_full(&self, queue: QueueId) -> bool {
        let (group, class) = queue;
        match class {
            Class::Miss => {
                let max = self.bounds.misses;
                let share = max - max / GROUP_LEAVES;
                self.misses >= max || self.waiting(queue) >= share
            }
            Class::Refresh => {
                let misses = (group, Class::Miss);
                let misses_queue =
                    self.waiting(misses) > 0 && self.running(misses) >= self.calls(Class::Miss);
                misses_queue || self.waiting(queue) >= self.bounds.refreshes
            }
        }
    }

    fn left(&mut self, queue: QueueId, items: usize) {
        if queue.1 == Class::Miss {
            self.misses -= items;
        }
    }

    /// Forgets a queue that has no calls in flight and is not watched.
    fn drop_idle(&mut self, queue: QueueId) {
        let state = self.queues.get(&queue);
        if state.is_some_and(|state| state.running == 0 && !state.is_watched) {
            self.queues.remove(&queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(1);
    const MISSES: QueueId = (GROUP, Class::Miss);
    const REFRESHES: QueueId = (GROUP, Class::Refresh);
    const NEVER: Millis = Millis(u64::MAX);

    /// One call at a time, queues of eight misses and two refreshes, and one second to wait.
    fn queues() -> Queues<u64> {
        Queues::new(Bounds {
            miss_calls: 1,
            refresh_calls: 1,
            misses: 8,
            refreshes: 2,
            timeout: Duration::from_secs(1),
        })
    }

    fn enter(queues: &mut Queues<u64>, queue: QueueId, item: u64, now: u64) -> Entered<u64> {
        queues.enter(queue, item, NEVER, Millis(now))
    }

    fn take(queues: &mut Queues<u64>, queue: QueueId, max: usize, now: u64) -> Option<Vec<u64>> {
        let taken = queues.take(queue, max, Millis(now))?;
        Some(taken.into_iter().map(|queued| queued.item).collect())
    }

    #[test]
    fn misses_and_refreshes_never_take_the_places_of_each_other() {
        let mut queues = queues();
        for queue in [REFRESHES, MISSES] {
            assert!(matches!(enter(&mut queues, queue, 1, 0), Entered::Work));
            assert!(matches!(enter(&mut queues, queue, 2, 0), Entered::Watch));
        }
        assert_eq!(queues.misses(), 2);
    }

    #[test]
    fn refreshes_have_a_queue_of_their_own_which_is_closed_while_misses_queue() {
        let mut queues = queues();
        assert!(matches!(enter(&mut queues, REFRESHES, 0, 0), Entered::Work));
        assert_eq!(take(&mut queues, REFRESHES, 9, 0), Some(vec![0]));
        assert!(matches!(
            enter(&mut queues, REFRESHES, 1, 0),
            Entered::Watch
        ));
        assert!(matches!(enter(&mut queues, REFRESHES, 2, 0), Entered::Wait));
        assert!(matches!(
            enter(&mut queues, REFRESHES, 3, 0),
            Entered::Full(3)
        ));
        assert_eq!(take(&mut queues, REFRESHES, 9, 0), Some(vec![1, 2]));
        for miss in 0..2 {
            enter(&mut queues, MISSES, miss, 0);
        }
        assert!(matches!(
            enter(&mut queues, REFRESHES, 4, 0),
            Entered::Full(4)
        ));
        assert_eq!(take(&mut queues, MISSES, 9, 0), Some(vec![0, 1]));
        assert!(matches!(enter(&mut queues, REFRESHES, 5, 0), Entered::Wait));
    }

    #[test]
    fn the_oldest_go_first_until_they_have_waited_for_half_the_timeout() {
        let mut queues = queues();
        for (item, now) in [(1, 0), (2, 100), (3, 200), (4, 300)] {
            enter(&mut queues, MISSES, item, now);
        }
        assert_eq!(take(&mut queues, MISSES, 1, 499), Some(vec![1]));
        assert_eq!(take(&mut queues, MISSES, 1, 600), Some(vec![4]));
        assert_eq!(take(&mut queues, MISSES, 9, 600), Some(vec![2, 3]));
        assert_eq!(take(&mut queues, MISSES, 9, 600), None);
    }

    #[test]
    fn an_item_that_has_queued_too_long_is_taken_out_at_its_timeout_and_not_before() {
        let mut queues = queues();
        for (item, now) in [(0, 0), (1, 0), (2, 0), (3, 250)] {
            enter(&mut queues, MISSES, item, now);
        }
        assert_eq!(take(&mut queues, MISSES, 1, 0), Some(vec![0]));
        let mut overdue = |now| queues.overdue(MISSES, Millis(now));
        assert_eq!(overdue(0), (vec![], Some(Millis(1_000))));
        assert_eq!(overdue(999), (vec![], Some(Millis(1_000))));
        assert_eq!(overdue(1_000), (vec![1, 2], Some(Millis(1_250))));
        assert_eq!(overdue(1_250), (vec![3], None));
        assert_eq!(queues.misses(), 0);
        assert!(matches!(
            enter(&mut queues, MISSES, 4, 2_000),
            Entered::Watch
        ));
    }

    #[test]
    fn a_queue_is_forgotten_once_nothing_happens_in_it() {
        let mut queues = queues();
        enter(&mut queues, MISSES, 1, 0);
        enter(&mut queues, MISSES, 2, 0);
        assert_eq!(take(&mut queues, MISSES, 9, 0), Some(vec![1, 2]));
        assert_eq!(take(&mut queues, MISSES, 9, 0), None);
        assert_eq!(queues.queues.len(), 1, "it is watched");
        assert_eq!(queues.overdue(MISSES, Millis(9)), (vec![], None));
        assert_eq!(queues.queues.len(), 0);
    }
}
