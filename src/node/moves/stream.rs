//! The parts that all ordered streams from an owner share: how a stream begins, how a feed is put into
//! messages, and how entries from before the feed are put into the feed.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Moves;
use crate::cache::{Entry, Feed, Item, Role, Walk, Worth};
use crate::rpc::control::channel;
use crate::rpc::pipeline::Target;
use crate::rpc::proto::cache_client::CacheClient;
use crate::rpc::proto::hand_over_message::What;
use crate::rpc::proto::hand_over_reply::What as Reply;
use crate::rpc::proto::{HandOverBegin, HandOverMessage, HandOverReply};
use crate::rpc::transfer;

/// How long connecting and the receiver's first reply may take together.
pub(super) const BEGIN_PATIENCE: Duration = Duration::from_secs(1);

/// How long the receiver may leave a delete or expiry unacknowledged.
pub(super) const DONE_PATIENCE: Duration = Duration::from_secs(1);

/// The most messages that wait for a slow receiver.
const UNSENT_MAX: usize = 4;

/// The most items of one message.
const ITEMS_MAX: usize = 256;

/// How much a giver may send at once, as the time that this takes at its rate.
const BURST: Duration = Duration::from_millis(50);

/// The reason why a stream ended.
pub(super) type Why = String;

/// The channel for messages to the receiver.
pub(super) type Sender = mpsc::Sender<HandOverMessage>;

/// The counters of what was sent.
pub(super) struct Sent {
    pub(super) entries: Counter,
    pub(super) bytes: Counter,
}

/// Connects and sends the message that begins the stream. Takes at most [`BEGIN_PATIENCE`]. Cancel-safe.
///
/// # Errors
/// The receiver cannot be reached, refuses the stream, or does not answer in time.
pub(super) async fn begin(
    target: &Target,
    begin: HandOverBegin,
) -> Result<(Sender, Streaming<HandOverReply>), Why> {
    let connect = async {
        let channel = channel(target, BEGIN_PATIENCE)
            .await
            .map_err(|error| error.to_string())?;
        let (sender, messages) = mpsc::channel(UNSENT_MAX);
        let begin = message(What::Begin(begin));
        sender.try_send(begin).expect("the channel is new");
        let replies = CacheClient::new(channel)
            .hand_over(ReceiverStream::new(messages))
            .await
            .map_err(|status| status.message().to_owned())?;
        Ok((sender, replies.into_inner()))
    };
    timeout(BEGIN_PATIENCE, connect)
        .await
        .map_err(|_| format!("{target} has not answered within {BEGIN_PATIENCE:?}"))?
}

/// The content of a receiver's reply; an error if the stream has ended or the reply is unknown.
pub(super) fn understood(
    reply: Option<Result<HandOverReply, tonic::Status>>,
) -> Result<Reply, Why> {
    match reply {
        Some(Ok(HandOverReply { what: Some(what) })) => Ok(what),
        Some(Ok(_)) => Err("an answer is not understood".into()),
        Some(Err(status)) => Err(status.message().to_owned()),
        None => Err("the receiver has ended it".into()),
    }
}

/// Sends the items that wait in a feed. Returns the mark up to which they go, and whether they were the last.
/// Not cancel-safe: items that were taken from the feed and not sent are lost.
///
/// # Errors
/// The receiver has gone, or has taken no message for [`DONE_PATIENCE`].
pub(super) async fn send_batch(
    moves: &Moves,
    feed: &Feed,
    sender: &Sender,
    has_walked: bool,
    sent: &Sent,
) -> Result<(u64, bool), Why> {
    let taken = feed.take(ITEMS_MAX);
    let now = moves.0.parts.clock.now();
    let is_last = has_walked && taken.items.len() < ITEMS_MAX;
    let max = moves.settings().max_message;
    let mut items = Vec::with_capacity(taken.items.len());
    let mut bytes = 0;
    let (mut entries, mut entry_bytes) = (0, 0);
    for item in taken.items {
        let weight = transfer::weight(&item);
        if let Item::Entry(entry) | Item::Spare(entry) = &item {
            // An entry of this size cannot be sent to a client either.
            if weight > max {
                continue;
            }
            entries += 1;
            entry_bytes += entry.key().len() + entry.value().len();
        }
        if bytes + weight > max {
            // The mark goes with the last part.
            let part = transfer::batch(&items, 0, false, now);
            pass(sender, message(What::Batch(part))).await?;
            items.clear();
            bytes = 0;
        }
        bytes += weight;
        items.push(item);
    }
    sent.entries.increment(entries);
    sent.bytes.increment(entry_bytes as u64);
    let mut batch = transfer::batch(&items, taken.mark, is_last, now);
    batch.used = taken.used.iter().map(|hash| hash.0).collect();
    pass(sender, message(What::Batch(batch))).await?;
    Ok((taken.mark, is_last))
}

async fn pass(sender: &Sender, message: HandOverMessage) -> Result<(), Why> {
    let passed = timeout(DONE_PATIENCE, sender.send(message)).await;
    match passed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("the receiver has gone".into()),
        Err(_) => Err(format!("it has taken nothing for {DONE_PATIENCE:?}")),
    }
}

pub(super) fn message(what: What) -> HandOverMessage {
    HandOverMessage { what: Some(what) }
}

/// Gives the entries from before a feed to it, no faster than they may be sent.
pub(super) struct Walker {
    pub(super) walk: Walk,
    rate: u64,
    /// When the walk may go on.
    pub(super) next: Instant,
}

impl Walker {
    pub(super) fn new(walk: Walk, rate: u64) -> Self {
        Self {
            walk,
            rate,
            next: Instant::now(),
        }
    }

    /// If it is time, gives the feed some more of the entries that `is_meant` selects and that this node has
    /// as their owner.
    pub(super) fn go_on(&mut self, moves: &Moves, feed: &Feed, is_meant: impl Fn(&Entry) -> bool) {
        let now = Instant::now();
        if self.walk.is_over() || now < self.next {
            return;
        }
        let parts = &moves.0.parts;
        let is_ours = moves.is_ours();
        let is_meant = |entry: &Entry| is_meant(entry) && is_ours(entry);
        let bytes = parts
            .cache
            .walk(&mut self.walk, feed, parts.clock.now(), is_meant);
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let is_stuck = !feed.has_room();
        // A full feed is tried again in a moment.
        let pause = if is_stuck { BURST / 10 } else { cost };
        self.next = self.next.max(now - BURST) + pause;
    }
}

impl Moves {
    /// Tests whether an entry is valid for its owner, by the view at the time of this call.
    pub(super) fn is_ours(&self) -> impl Fn(&Entry) -> bool + use<> {
        let view = Arc::clone(&self.0.parts.view.borrow());
        move |entry| {
            let group = view.group(entry.group());
            let stamps = group.map(|group| view.stamps(entry.partition(), group));
            let worth = stamps.map(|stamps| entry.worth(&stamps, Some(Role::Owner)));
            worth == Some(Worth::Valid)
        }
    }
}

/// The last mark that was sent and is not acknowledged yet, and how long it is so.
#[derive(Default)]
pub(super) struct Undone(Option<(u64, Instant)>);

impl Undone {
    /// Notes that everything up to `mark` was sent.
    pub(super) fn sent(&mut self, mark: u64) {
        if self.0.is_none_or(|(last, _)| last < mark) && mark > 0 {
            let since = self.0.map_or_else(Instant::now, |(_, since)| since);
            self.0 = Some((mark, since));
        }
    }

    /// Notes that the receiver has applied everything up to `mark`.
    pub(super) fn done(&mut self, mark: u64) {
        let rest = self.0.filter(|(last, _)| *last > mark);
        self.0 = rest.map(|(last, _)| (last, Instant::now()));
    }

    /// Waits until the receiver has taken too long; for ever, if nothing is unacknowledged. Cancel-safe.
    /// Cancel-safe.
    pub(super) async fn is_late(&self) {
        match self.0 {
            Some((_, since)) => tokio::time::sleep_until(since + DONE_PATIENCE).await,
            None => std::future::pending().await,
        }
    }
}
