//! What waits to be sent on a stream, and the stream that sends it.
//!
//! Both ends of a pipeline push items at any rate; whenever the stream is writable, whatever waits
//! goes in one message. No timer: an idle stream sends at once, a busy one batches by itself.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use parking_lot::Mutex;

/// A message made of a batch of items.
pub trait Frame: Sized + Send + 'static {
    /// What is batched.
    type Item: Send + 'static;

    /// Bytes that an item adds to the message, roughly: it bounds a message's size.
    fn weight(item: &Self::Item) -> usize;

    /// Builds a message from what goes ahead of the items and the items, which may be none.
    fn assemble(ahead: Ahead, items: Vec<Self::Item>) -> Self;
}

/// What a message says beside its items; it never waits behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// The number of a ping or of its answer; 0: none.
    pub ping: u64,
    /// The sender is about to stop.
    pub draining: bool,
    /// Nothing but that the sender lives: enough for an otherwise empty message.
    pub alive: bool,
}

/// How much goes into one message.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Items.
    pub items: usize,
    /// Summed weight, in bytes, beyond which no further item is added. One item always goes.
    pub bytes: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    waiting_bytes: usize,
    ahead: Ahead,
    closed: bool,
    sender: Option<Waker>,
    /// Pushers that wait for `waiting_bytes` to fall.
    drained: Vec<Waker>,
}

/// The pushing end. Clones push to the same stream.
pub struct Outbox<F: Frame> {
    state: Arc<Mutex<State<F::Item>>>,
}

impl<F: Frame> Clone for Outbox<F> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
        }
    }
}

/// The sending end: a stream of messages that ends once the outbox is closed and empty.
pub struct Sending<F: Frame> {
    state: Arc<Mutex<State<F::Item>>>,
    limits: BatchLimits,
    sent: metrics::Histogram,
}

/// A pair of ends. `sent` records how many items each message carried.
///
/// The queue between them has no bound of its own: a pusher bounds what it has outstanding, or waits
/// in [`Outbox::below`].
pub fn outbox<F: Frame>(limits: BatchLimits, sent: metrics::Histogram) -> (Outbox<F>, Sending<F>) {
    let state = Arc::new(Mutex::new(State {
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        ahead: Ahead::default(),
        closed: false,
        sender: None,
        drained: Vec::new(),
    }));
    let sending = Sending {
        state: Arc::clone(&state),
        limits,
        sent,
    };
    (Outbox { state }, sending)
}

impl<F: Frame> Outbox<F> {
    /// Queues an item. False if the stream has ended: nothing was queued.
    pub fn push(&self, item: F::Item) -> bool {
        self.push_all(std::iter::once(item))
    }

    /// Queues items under one lock. False if the stream has ended: nothing was queued.
    pub fn push_all(&self, items: impl IntoIterator<Item = F::Item>) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        for item in items {
            state.waiting_bytes += F::weight(&item);
            state.waiting.push_back(item);
        }
        wake(state);
        true
    }

    /// Sends a ping's number, ahead of the items, with the next message. A later one replaces it.
    pub fn ping(&self, number: u64) {
        let mut state = self.state.lock();
        state.ahead.ping = number;
        wake(state);
    }

    /// Announces to the other end, once, that this one is about to stop.
    pub fn drain(&self) {
        let mut state = self.state.lock();
        state.ahead.draining = true;
        wake(state);
    }

    /// Sends a message even if it is empty, as a sign of life.
    pub fn show_life(&self) {
        let mut state = self.state.lock();
        state.ahead.alive = true;
        wake(state);
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.state.lock().waiting_bytes
    }

    /// Ends the stream after what is queued.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        wake(state);
    }

    /// Resolves once less than `bytes` wait, or the stream has ended. Cancel-safe.
    ///
    /// A reader that stops reading thus stops being answered, instead of filling memory.
    pub async fn below(&self, bytes: usize) {
        std::future::poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.waiting_bytes < bytes || state.closed {
                return Poll::Ready(());
            }
            if !state
                .drained
                .iter()
                .any(|waker| waker.will_wake(cx.waker()))
            {
                state.drained.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

fn wake<T>(mut state: parking_lot::MutexGuard<'_, State<T>>) {
    let waker = state.sender.take();
    // Woken outside the lock: the woken task would only run into it.
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<F: Frame> Stream for Sending<F> {
    type Item = F;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F>> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() && state.ahead == Ahead::default() {
            if state.closed {
                return Poll::Ready(None);
            }
            state.sender = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let items = take::<F>(&mut state, self.limits);
        let ahead = std::mem::take(&mut state.ahead);
        let drained = std::mem::take(&mut state.drained);
        drop(state);
        drained.into_iter().for_each(Waker::wake);
        if !items.is_empty() {
            self.sent.record(items.len() as f64);
        }
        Poll::Ready(Some(F::assemble(ahead, items)))
    }
}

/// Takes what fits in one message from the front.
fn take<F: Frame>(state: &mut State<F::Item>, limits: BatchLimits) -> Vec<F::Item> {
    let mut bytes = 0;
    let mut count = 0;
    for item in state.waiting.iter().take(limits.items.max(1)) {
        bytes += F::weight(item);
        if count > 0 && bytes > limits.bytes {
            bytes -= F::weight(item);
            break;
        }
        count += 1;
    }
    state.waiting_bytes -= bytes;
    state.waiting.drain(..count).collect()
}

impl<F: Frame> Drop for Sending<F> {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting.clear();
        state.waiting_bytes = 0;
        let drained = std::mem::take(&mut state.drained);
        drop(state);
        drained.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    /// A message as its ping and the items in it, each weighing its own value.
    #[derive(Debug, PartialEq)]
    struct Message(u64, Vec<usize>);

    const DRAINING: u64 = u64::MAX;

    impl Frame for Message {
        type Item = usize;

        fn weight(item: &usize) -> usize {
            *item
        }

        fn assemble(ahead: Ahead, items: Vec<usize>) -> Self {
            let first = if ahead.draining { DRAINING } else { ahead.ping };
            Self(first, items)
        }
    }

    fn pair(items: usize, bytes: usize) -> (Outbox<Message>, Sending<Message>) {
        outbox(BatchLimits { items, bytes }, metrics::Histogram::noop())
    }

    #[tokio::test]
    async fn what_waits_goes_in_one_message_within_its_bounds() {
        let (outbox, mut sending) = pair(3, 100);
        assert!(outbox.push_all([1, 2, 3, 4]));
        assert_eq!(sending.next().await, Some(Message(0, vec![1, 2, 3])));
        assert!(outbox.push_all([90, 7, 500, 1]));
        assert_eq!(sending.next().await, Some(Message(0, vec![4, 90])));
        assert_eq!(sending.next().await, Some(Message(0, vec![7])));
        assert_eq!(
            sending.next().await,
            Some(Message(0, vec![500])),
            "one always goes"
        );
        assert_eq!(sending.next().await, Some(Message(0, vec![1])));
        assert_eq!(sending.next().now_or_never(), None);
    }

    #[tokio::test]
    async fn a_waiting_stream_is_woken_by_items_pings_and_the_end() {
        let (outbox, mut sending) = pair(3, 100);
        let pushed = async {
            tokio::task::yield_now().await;
            outbox.push(1);
            tokio::task::yield_now().await;
            outbox.ping(7);
            tokio::task::yield_now().await;
            outbox.close();
        };
        let (all, ()) = tokio::join!(sending.by_ref().collect::<Vec<_>>(), pushed);
        assert_eq!(all, [Message(0, vec![1]), Message(7, vec![])]);
        assert!(!outbox.push(2), "nothing is queued on an ended stream");
    }

    #[tokio::test]
    async fn neither_a_ping_nor_the_news_of_a_stop_waits_behind_items() {
        let (outbox, mut sending) = pair(1, 100);
        outbox.push_all([1, 2, 3]);
        outbox.ping(7);
        assert_eq!(sending.next().await, Some(Message(7, vec![1])));
        outbox.drain();
        assert_eq!(sending.next().await, Some(Message(DRAINING, vec![2])));
        assert_eq!(sending.next().await, Some(Message(0, vec![3])));
    }

    #[tokio::test]
    async fn a_pusher_waits_until_enough_is_sent_or_the_reader_is_gone() {
        let (outbox, mut sending) = pair(1, 100);
        outbox.push_all([60, 60]);
        assert_eq!(outbox.below(100).now_or_never(), None);
        let (_, sent) = tokio::join!(outbox.below(100), sending.next());
        assert_eq!(sent, Some(Message(0, vec![60])));
        outbox.push_all([60]);
        let drop_it = async {
            tokio::task::yield_now().await;
            drop(sending);
        };
        tokio::join!(outbox.below(100), drop_it);
        assert!(!outbox.push(1));
    }
}
