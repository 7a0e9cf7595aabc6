//! What waits to be sent to one peer on one lane: bounded in messages and bytes.
//!
//! Filled by the driver's thread, emptied by one stream at a time. A stream that was given up still
//! lives in the HTTP/2 library for a while; it finds itself replaced and takes nothing more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};

use crate::raft::envelope::Envelope;

/// What an envelope weighs beside its message.
const ENVELOPE_BYTES: usize = 64;

/// The bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// The queue. Push never blocks.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Envelope>,
    bytes: usize,
    /// The present reader; older ones get nothing.
    reader: u64,
    /// Whether the present reader gets anything yet.
    is_open: bool,
    /// Of the present reader, or of the task that waits for something to send.
    waker: Option<Waker>,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::default(),
        }
    }

    /// Adds an envelope; false if it would exceed a bound.
    pub(super) fn push(&self, envelope: Envelope) -> bool {
        let mut state = self.state.lock();
        let bytes = state.bytes + weight(&envelope);
        if state.waiting.len() >= self.bounds.messages || bytes > self.bounds.bytes {
            return false;
        }
        state.bytes = bytes;
        state.waiting.push_back(envelope);
        wake(state);
        true
    }

    /// Throws away what waits; says how much that was.
    pub(super) fn drain(&self) -> usize {
        let mut state = self.state.lock();
        state.bytes = 0;
        std::mem::take(&mut state.waiting).len()
    }

    /// Resolves once something waits. Cancel-safe. Only while nobody reads.
    pub(super) async fn filled(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.waiting.is_empty() {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// The next reader, which waits for [`Queue::open`]; any earlier one has come to its end.
    pub(super) fn read(self: &Arc<Self>) -> Reader {
        Reader {
            queue: Arc::clone(self),
            number: self.end_reading(),
        }
    }

    /// Lets the present reader take what waits.
    pub(super) fn open(&self) {
        let mut state = self.state.lock();
        state.is_open = true;
        wake(state);
    }

    /// Ends the present reader, wherever it is; gives the number of the next one.
    pub(super) fn end_reading(&self) -> u64 {
        let mut state = self.state.lock();
        state.reader += 1;
        state.is_open = false;
        let number = state.reader;
        wake(state);
        number
    }
}

/// Wakes the task that waits, outside the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn weight(envelope: &Envelope) -> usize {
    ENVELOPE_BYTES + envelope.message.len()
}

/// Takes from the queue until another reader is made.
#[derive(Debug)]
pub(super) struct Reader {
    queue: Arc<Queue>,
    number: u64,
}

impl Reader {
    /// The next envelope; none once this is not the present reader.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Envelope>> {
        let mut state = self.queue.state.lock();
        if state.reader != self.number {
            return Poll::Ready(None);
        }
        let is_open = state.is_open;
        let next = is_open.then(|| state.waiting.pop_front()).flatten();
        let Some(envelope) = next else {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.bytes -= weight(&envelope);
        Poll::Ready(Some(envelope))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{ClusterId, Incarnation, NodeId};

    fn envelope(bytes: usize) -> Envelope {
        Envelope {
            cluster: ClusterId(1),
            from: NodeId(1),
            incarnation: Incarnation(1),
            to: NodeId(2),
            checkpoint: Some((64, 7)),
            message: Bytes::from(vec![0; bytes]),
        }
    }

    fn queue() -> Arc<Queue> {
        Arc::new(Queue::new(Bounds {
            messages: 3,
            bytes: 1000,
        }))
    }

    fn next(reader: &Reader) -> Poll<Option<usize>> {
        let next = reader.poll_next(&Context::from_waker(Waker::noop()));
        next.map(|envelope| envelope.map(|envelope| envelope.message.len()))
    }

    #[test]
    fn both_bounds_hold_and_room_comes_back() {
        let queue = queue();
        assert!(!queue.push(envelope(1000)), "too many bytes");
        assert!((1..=3).all(|bytes| queue.push(envelope(bytes))));
        assert!(!queue.push(envelope(4)), "too many messages");
        let reader = queue.read();
        assert_eq!(
            next(&reader),
            Poll::Pending,
            "not before the stream is open"
        );
        queue.open();
        assert_eq!(next(&reader), Poll::Ready(Some(1)));
        assert!(queue.push(envelope(700)));
        assert_eq!(queue.drain(), 3);
        assert!(queue.push(envelope(900)), "draining gives the bytes back");
    }

    #[test]
    fn a_replaced_reader_takes_nothing() {
        let queue = queue();
        let old = queue.read();
        assert_eq!(next(&old), Poll::Pending);
        let new = queue.read();
        queue.open();
        assert!(queue.push(envelope(1)));
        assert_eq!(next(&old), Poll::Ready(None));
        assert_eq!(next(&new), Poll::Ready(Some(1)));
    }
}
