//! The giver's side of one transfer: what is kept goes first, then whatever happens, until the move is over;
//! after that, if not all was sent, questions are answered for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Moves, PEEK_FOR};
use crate::cache::{End, Entry, Feed, Item, PartitionSet, Phase, Walk};
use crate::hash::KeyHash;
use crate::ids::{Generation, GroupId, NodeId, Partition, Tenure};
use crate::rpc::control::channel;
use crate::rpc::hand_over;
use crate::rpc::pipeline::Target;
use crate::rpc::proto::cache_client::CacheClient;
use crate::rpc::proto::hand_over_message::What;
use crate::rpc::proto::hand_over_reply::What as Reply;
use crate::rpc::proto::{HandOverAsk, HandOverBegin, HandOverMessage, HandOverReply};

/// How long connecting may take, and the receiver's first word.
const BEGIN_PATIENCE: Duration = Duration::from_secs(1);

/// How long the receiver may leave something that was taken back unacknowledged.
const DONE_PATIENCE: Duration = Duration::from_secs(1);

/// Messages that may wait for a slow receiver.
const UNSENT_MAX: usize = 4;

/// Items of one message.
const ITEMS_MAX: usize = 256;

/// What a giver may send at once, as a part of a second's rate.
const BURST: Duration = Duration::from_millis(50);

/// What was valid of partitions when they were given away: their tenure, and what it inherited.
#[derive(Default)]
pub(super) struct Gone(pub(super) HashMap<Partition, (Tenure, Option<Tenure>)>);

/// One transfer. Clones are the same.
#[derive(Clone)]
pub(super) struct Source(Arc<Inner>);

struct Inner {
    to: NodeId,
    tenure: Tenure,
    partitions: PartitionSet,
    feed: Feed,
    /// Set once the move is over, one way or the other.
    gone: Mutex<Option<Gone>>,
    is_over: Notify,
}

/// Why a transfer ended.
type Why = String;

type Sender = mpsc::Sender<HandOverMessage>;

impl Source {
    pub(super) fn new(to: NodeId, tenure: Tenure, partitions: PartitionSet) -> Self {
        Self(Arc::new(Inner {
            to,
            tenure,
            partitions,
            feed: Feed::new(),
            gone: Mutex::new(None),
            is_over: Notify::new(),
        }))
    }

    pub(super) fn partitions(&self) -> &PartitionSet {
        &self.0.partitions
    }

    pub(super) fn feed(&self) -> &Feed {
        &self.0.feed
    }

    /// The move is over: these partitions are the receiver's now.
    pub(super) fn over(&self, gone: Gone) {
        *self.0.gone.lock() = Some(gone);
        self.0.is_over.notify_one();
    }

    /// Sends until the move is over, then answers questions. If the receiver does not hear, the feed is
    /// broken: then nothing is acknowledged of these partitions until the leader has given the move up.
    pub(super) async fn run(self, moves: Moves, target: Target) {
        let shutdown = moves.0.parts.shutdown.clone();
        let ended = tokio::select! {
            ended = self.send(&moves, &target) => ended,
            () = shutdown.begun() => Err("this node stops".into()),
        };
        let (to, tenure) = (self.0.to, self.0.tenure);
        match ended {
            Ok(()) => moves.0.metrics.over.increment(1),
            // What ends after the move has nobody waiting for it.
            Err(_) if self.0.gone.lock().is_some() => moves.0.metrics.over.increment(1),
            Err(why) => {
                tracing::warn!(%to, %tenure, why, "transfer broken");
                self.0.feed.finish(End::Broken);
                moves.0.metrics.broken.increment(1);
                moves.broken(tenure);
            }
        }
    }

    async fn send(&self, moves: &Moves, target: &Target) -> Result<(), Why> {
        let (sender, mut replies) = timeout(BEGIN_PATIENCE, self.begin(moves, target))
            .await
            .map_err(|_| format!("{target} has not answered within {BEGIN_PATIENCE:?}"))??;
        let mut walk = Walker::new(moves.settings().max_rate);
        let mut is_warm = false;
        let mut unheard: Option<(u64, Instant)> = None;
        loop {
            if self.0.gone.lock().is_some() {
                break;
            }
            walk.go_on(self, moves);
            let has_sent_all = walk.walk.is_over() && !is_warm;
            let patience = unheard.map(|(_, since)| since + DONE_PATIENCE);
            let (mut asked, mut is_filled) = (None, false);
            tokio::select! {
                () = self.0.is_over.notified() => break,
                reply = replies.next() => asked = Some(self.understood(reply)?),
                filled = self.0.feed.filled() => is_filled = filled,
                () = sleep_until(walk.next), if !walk.walk.is_over() => {}
                () = std::future::ready(()), if has_sent_all => {}
                () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                    return Err(format!("{target} has not done what it was told"));
                }
            }
            match asked {
                Some(Reply::Done(mark)) => {
                    self.0.feed.acknowledge(mark);
                    let rest = unheard.filter(|(last, _)| *last > mark);
                    unheard = rest.map(|(last, _)| (last, Instant::now()));
                }
                Some(Reply::Ask(ask)) => self.answer(moves, &sender, ask)?,
                None => {}
            }
            if is_filled || has_sent_all {
                let (mark, is_last) = self.send_batch(moves, &sender, has_sent_all).await?;
                is_warm |= is_last;
                if unheard.is_none_or(|(last, _)| last < mark) && mark > 0 {
                    let since = unheard.map_or_else(Instant::now, |(_, since)| since);
                    unheard = Some((mark, since));
                }
            }
            if self.0.feed.end() == Some(End::Broken) {
                return Err("too much was taken back that it has not heard of".into());
            }
        }
        if is_warm && self.0.feed.left_out() == 0 {
            // The new owner has all there was: nobody need ask.
            return Ok(());
        }
        self.answer_questions(moves, &sender, &mut replies).await
    }

    async fn begin(
        &self,
        moves: &Moves,
        target: &Target,
    ) -> Result<(Sender, Streaming<HandOverReply>), Why> {
        let channel = channel(target, BEGIN_PATIENCE)
            .await
            .map_err(|error| error.to_string())?;
        let (sender, messages) = mpsc::channel(UNSENT_MAX);
        let view = Arc::clone(&moves.0.parts.view.borrow());
        let partitions = self.0.partitions.iter();
        let begin = HandOverBegin {
            cluster: view.cluster().to_owned(),
            from: moves.0.parts.me.get().0,
            to: self.0.to.0,
            tenure: self.0.tenure.0,
            partitions: partitions.map(|partition| partition.0.into()).collect(),
        };
        let begin = message(What::Begin(begin));
        sender.try_send(begin).expect("the channel is new");
        let replies = CacheClient::new(channel)
            .hand_over(ReceiverStream::new(messages))
            .await
            .map_err(|status| status.message().to_owned())?;
        Ok((sender, replies.into_inner()))
    }

    fn understood(
        &self,
        reply: Option<Result<HandOverReply, tonic::Status>>,
    ) -> Result<Reply, Why> {
        match reply {
            Some(Ok(HandOverReply { what: Some(what) })) => Ok(what),
            Some(Ok(_)) => Err("an answer is not understood".into()),
            Some(Err(status)) => Err(status.message().to_owned()),
            None => Err("the receiver has ended it".into()),
        }
    }

    /// Sends what waits in the feed. The mark up to which that goes, and whether it was all.
    async fn send_batch(
        &self,
        moves: &Moves,
        sender: &Sender,
        has_walked: bool,
    ) -> Result<(u64, bool), Why> {
        let taken = self.0.feed.take(ITEMS_MAX);
        let now = moves.0.parts.clock.now();
        let is_last = has_walked && taken.items.len() < ITEMS_MAX;
        let max = moves.settings().max_message;
        let mut items = Vec::with_capacity(taken.items.len());
        let mut bytes = 0;
        let (mut entries, mut entry_bytes) = (0, 0);
        for item in taken.items {
            let weight = hand_over::weight(&item);
            if let Item::Entry(entry) = &item {
                // Nobody could be sent it anyway.
                if weight > max {
                    continue;
                }
                entries += 1;
                entry_bytes += entry.key().len() + entry.value().len();
            }
            if bytes + weight > max {
                // The mark is told with the last part.
                let part = hand_over::batch(&items, 0, false, now);
                self.pass(sender, message(What::Batch(part))).await?;
                items.clear();
                bytes = 0;
            }
            bytes += weight;
            items.push(item);
        }
        moves.0.metrics.sent_entries.increment(entries);
        moves.0.metrics.sent_bytes.increment(entry_bytes as u64);
        let batch = hand_over::batch(&items, taken.mark, is_last, now);
        self.pass(sender, message(What::Batch(batch))).await?;
        Ok((taken.mark, is_last))
    }

    async fn pass(&self, sender: &Sender, message: HandOverMessage) -> Result<(), Why> {
        let passed = timeout(DONE_PATIENCE, sender.send(message)).await;
        match passed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the receiver has gone".into()),
            Err(_) => Err(format!("it has taken nothing for {DONE_PATIENCE:?}")),
        }
    }

    /// Answers what the new owner asks for.
    async fn answer_questions(
        &self,
        moves: &Moves,
        sender: &Sender,
        replies: &mut Streaming<HandOverReply>,
    ) -> Result<(), Why> {
        let has_moved = self
            .0
            .gone
            .lock()
            .as_ref()
            .is_some_and(|gone| !gone.0.is_empty());
        let until = Instant::now() + PEEK_FOR;
        if !has_moved {
            return Ok(());
        }
        loop {
            let reply = tokio::select! {
                reply = replies.next() => reply,
                () = sleep_until(until) => return Ok(()),
            };
            match self.understood(reply)? {
                Reply::Done(_) => {}
                Reply::Ask(ask) => self.answer(moves, sender, ask)?,
            }
        }
    }

    fn answer(&self, moves: &Moves, sender: &Sender, ask: HandOverAsk) -> Result<(), Why> {
        let entry = self.kept(moves, &ask);
        let now = moves.0.parts.clock.now();
        let found = hand_over::found(ask.id, entry.as_ref(), now);
        match sender.try_send(message(What::Found(found))) {
            Ok(()) => Ok(()),
            // Who asks waits for a moment only, and goes to the origin.
            Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err("the receiver has gone".into()),
        }
    }

    /// What this node has for a key of a partition that it gave away, or gives.
    fn kept(&self, moves: &Moves, ask: &HandOverAsk) -> Option<Entry> {
        let parts = &moves.0.parts;
        let group = GroupId(ask.group);
        let hash = KeyHash::of(group, &ask.key);
        let partition = hash.partition();
        if !self.0.partitions.contains(partition) {
            return None;
        }
        let (tenure, inherits) = match &*self.0.gone.lock() {
            Some(gone) => *gone.0.get(&partition)?,
            None => {
                let view = parts.view.borrow();
                let route = view.route_of(partition);
                view.is_owner(parts.me.get(), partition)
                    .then_some((route.tenure, route.inherits))?
            }
        };
        let entry = parts.cache.peek(group, &ask.key, hash)?;
        let is_ours = entry.tenure() == tenure || Some(entry.tenure()) == inherits;
        let is_same = entry.generation() == Generation(ask.generation);
        // One that is due for a refresh would only come back as such.
        let is_fresh = entry.phase(parts.clock.now()) == Phase::Fresh;
        let is_answer = !entry.is_standby() && entry.error().is_none();
        let fits = hand_over::weight(&Item::Entry(entry.clone())) <= moves.settings().max_message;
        (is_ours && is_same && is_fresh && is_answer && fits).then_some(entry)
    }
}

fn message(what: What) -> HandOverMessage {
    HandOverMessage { what: Some(what) }
}

/// Gives a feed what was there before it, no faster than it may be sent.
struct Walker {
    walk: Walk,
    rate: u64,
    /// When it may go on.
    next: Instant,
}

impl Walker {
    fn new(rate: u64) -> Self {
        Self {
            walk: Walk::new(),
            rate,
            next: Instant::now(),
        }
    }

    /// Some more, if it is time.
    fn go_on(&mut self, source: &Source, moves: &Moves) {
        let now = Instant::now();
        if self.walk.is_over() || now < self.next {
            return;
        }
        let parts = &moves.0.parts;
        let view = Arc::clone(&parts.view.borrow());
        let is_meant = |entry: &Entry| {
            let partition = entry.partition();
            if !source.0.partitions.contains(partition) {
                return false;
            }
            let route = view.route_of(partition);
            let group = view.group(entry.group());
            let is_ours = entry.tenure() == route.tenure || Some(entry.tenure()) == route.inherits;
            is_ours && group.is_some_and(|group| group.generation == entry.generation())
        };
        let bytes = parts
            .cache
            .walk(&mut self.walk, &source.0.feed, parts.clock.now(), is_meant);
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let is_stuck = !source.0.feed.has_room();
        // A full feed is looked at again in a moment.
        let pause = if is_stuck { BURST / 10 } else { cost };
        self.next = self.next.max(now - BURST) + pause;
    }
}
