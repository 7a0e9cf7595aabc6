//! The giver's side of one transfer. It sends the entries that this node has, and in between each change as
//! it happens, until the move is over. After that, if not all was sent, it answers questions for a while.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tonic::Streaming;

use super::stream::{Sender, Undone, Walker, Why, begin, message, send_batch, understood};
use super::{Moves, PEEK_FOR};
use crate::cache::{End, Entry, Feed, Item, PartitionSet, Walk};
use crate::hash::KeyHash;
use crate::ids::{Generation, GroupId, NodeId, Partition, Tenure};
use crate::ownership::streams::may_give;
use crate::rpc::pipeline::Target;
use crate::rpc::proto::hand_over_message::What;
use crate::rpc::proto::hand_over_reply::What as Reply;
use crate::rpc::proto::{HandOverAsk, HandOverBegin, HandOverReply};
use crate::rpc::transfer;

/// The tenure of each partition when it was given away, and the tenure that it inherited: entries of these
/// were valid then.
#[derive(Default)]
pub(super) struct Gone(pub(super) HashMap<Partition, (Tenure, Option<Tenure>)>);

/// One transfer. Clones share it.
#[derive(Clone)]
pub(super) struct Source(Arc<Inner>);

struct Inner {
    to: NodeId,
    tenure: Tenure,
    partitions: PartitionSet,
    feed: Feed,
    /// Set once the move is over: completed or given up.
    gone: Mutex<Option<Gone>>,
    is_over: Notify,
}

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

    /// Ends the move: the partitions in `gone` belong to the receiver now.
    pub(super) fn over(&self, gone: Gone) {
        *self.0.gone.lock() = Some(gone);
        self.0.is_over.notify_one();
    }

    /// Sends until the move is over, then answers questions. If the receiver does not acknowledge, the feed
    /// breaks: then no delete of these partitions is acknowledged until the leader has given the move up.
    pub(super) async fn run(self, moves: Moves, target: Target) {
        let shutdown = moves.0.parts.shutdown.clone();
        let ended = tokio::select! {
            ended = self.send(&moves, &target) => ended,
            () = shutdown.begun() => Err("this node stops".into()),
        };
        let (to, tenure) = (self.0.to, self.0.tenure);
        match ended {
            Ok(()) => moves.0.metrics.over.increment(1),
            // After the end of the move nothing waits for this stream.
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
        let (sender, mut replies) = self.begin(moves, target).await?;
        let mut walk = Walker::new(Walk::new(), moves.settings().max_rate);
        let mut is_warm = false;
        let mut undone = Undone::default();
        loop {
            if self.0.gone.lock().is_some() {
                break;
            }
            let is_meant = |entry: &Entry| self.0.partitions.contains(entry.partition());
            walk.go_on(moves, &self.0.feed, is_meant);
            let has_sent_all = walk.walk.is_over() && !is_warm;
            let (mut asked, mut is_filled) = (None, false);
            tokio::select! {
                () = self.0.is_over.notified() => break,
                reply = replies.next() => asked = Some(understood(reply)?),
                filled = self.0.feed.filled() => is_filled = filled,
                () = sleep_until(walk.next), if !walk.walk.is_over() => {}
                () = std::future::ready(()), if has_sent_all => {}
                () = undone.is_late() => {
                    return Err(format!("{target} has not acknowledged in time"));
                }
            }
            match asked {
                Some(Reply::Done(mark)) => {
                    self.0.feed.acknowledge(mark);
                    undone.done(mark);
                }
                Some(Reply::Ask(ask)) => self.answer(moves, &sender, ask)?,
                Some(Reply::Missing(_)) | None => {}
            }
            if is_filled || has_sent_all {
                let sent = &moves.0.metrics.sent;
                let (mark, is_last) =
                    send_batch(moves, &self.0.feed, &sender, has_sent_all, sent).await?;
                is_warm |= is_last;
                undone.sent(mark);
            }
            if self.0.feed.end() == Some(End::Broken) {
                return Err("too many deletes and expiries are unacknowledged".into());
            }
        }
        if is_warm && self.0.feed.left_out() == 0 {
            // The new owner has all entries: it has no questions.
            return Ok(());
        }
        self.answer_questions(moves, &sender, &mut replies).await
    }

    async fn begin(
        &self,
        moves: &Moves,
        target: &Target,
    ) -> Result<(Sender, Streaming<HandOverReply>), Why> {
        let view = Arc::clone(&moves.0.parts.view.borrow());
        let partitions = self.0.partitions.iter();
        let message = HandOverBegin {
            cluster: view.cluster().to_owned(),
            from: moves.0.parts.me.get().0,
            to: self.0.to.0,
            tenure: self.0.tenure.0,
            partitions: partitions.map(|partition| partition.0.into()).collect(),
            is_copying: false,
            start: moves.0.parts.renewer.start().0,
            line: moves.next_line(),
        };
        begin(target, message).await
    }

    /// Answers the new owner's questions for [`PEEK_FOR`].
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
            match understood(reply)? {
                Reply::Done(_) | Reply::Missing(_) => {}
                Reply::Ask(ask) => self.answer(moves, sender, ask)?,
            }
        }
    }

    fn answer(&self, moves: &Moves, sender: &Sender, ask: HandOverAsk) -> Result<(), Why> {
        let entry = self.kept(moves, &ask);
        let now = moves.0.parts.clock.now();
        let found = transfer::found(ask.id, entry.as_ref(), now);
        match sender.try_send(message(What::Found(found))) {
            Ok(()) => Ok(()),
            // The asker waits only a moment, and then loads from the origin.
            Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err("the receiver has gone".into()),
        }
    }

    /// This node's entry for a key of a partition that it gave away or is giving away.
    fn kept(&self, moves: &Moves, ask: &HandOverAsk) -> Option<Entry> {
        let parts = &moves.0.parts;
        let group = GroupId(ask.group);
        let hash = KeyHash::of(group, &ask.key);
        let partition = hash.partition();
        if !self.0.partitions.contains(partition) {
            return None;
        }
        let owned = match &*self.0.gone.lock() {
            Some(gone) => *gone.0.get(&partition)?,
            None => {
                let view = parts.view.borrow();
                let route = view.route_of(partition);
                view.is_owner(parts.me.get(), partition)
                    .then_some((route.tenure, route.inherits))?
            }
        };
        let entry = parts.cache.peek(group, &ask.key, hash)?;
        let generation = Generation(ask.generation);
        let may_give = may_give(&entry, owned, generation, parts.clock.now());
        let fits = transfer::weight(&Item::Entry(entry.clone())) <= moves.settings().max_message;
        (may_give && fits).then_some(entry)
    }
}
