//! Virtual time: what is going to happen, in order. It passes only from one happening to the next.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A moment or a length of virtual time, in microseconds.
pub(crate) type Micros = u64;

/// A millisecond of virtual time.
pub(crate) const MILLISECOND: Micros = 1_000;

/// A second of virtual time.
pub(crate) const SECOND: Micros = 1_000_000;

/// What is going to happen, the earliest first; at the same moment, in the order it was planned.
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<Planned<T>>>,
    now: Micros,
    planned: u64,
}

/// One happening. Ordered by its moment, then by its number.
struct Planned<T> {
    at: Micros,
    number: u64,
    what: T,
}

impl<T> Queue<T> {
    /// The beginning of time.
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            now: 0,
            planned: 0,
        }
    }

    /// This moment.
    pub(crate) fn now(&self) -> Micros {
        self.now
    }

    /// Plans `what` for `after` from now.
    pub(crate) fn push(&mut self, after: Micros, what: T) {
        self.planned += 1;
        self.heap.push(Reverse(Planned {
            at: self.now + after,
            number: self.planned,
            what,
        }));
    }

    /// What happens next, and lets the time until then pass.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let Reverse(next) = self.heap.pop()?;
        self.now = next.at;
        Some(next.what)
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Planned<T> {}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[test]
fn happenings_come_in_the_order_of_their_time_then_of_their_planning() {
    let mut queue = Queue::new();
    for (after, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
        queue.push(after, what);
    }
    let order: String = std::iter::from_fn(|| queue.pop()).collect();
    assert_eq!((order.as_str(), queue.now()), ("abcd", 5));
}
