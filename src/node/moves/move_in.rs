//! The receiver's side of one transfer: this node keeps incoming entries under the new tenure, voids what the
//! giver voids (deletes or expires), and asks the giver for missing keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Moves;
use crate::cache::{Heard, Receipt, StreamId};
use crate::hash::KeyHash;
use crate::ids::{Generation, GroupId, Incarnation, NodeId, Partition, Tenure};
use crate::rpc::proto::hand_over_message::What;
use crate::rpc::proto::hand_over_reply::What as Reply;
use crate::rpc::proto::{
    HandOverAsk, HandOverBatch, HandOverBegin, HandOverMessage, HandOverReply,
};
use crate::rpc::transfer::{self, Came, CameEntry};
use crate::topology::model::member::MAX_MEMBERS;

/// The most incoming streams at once: from each member one transfer, one that has just ended, and one of
/// copies.
pub(super) const TRANSFERS_MAX: usize = 3 * MAX_MEMBERS;

/// How long the giver may take to send its first message.
const BEGIN_PATIENCE: Duration = Duration::from_secs(1);

/// How long other members may take to apply a delete or expiry that this node forwards to them.
const HEARD_PATIENCE: Duration = Duration::from_secs(1);

/// The most replies that wait for a slow giver.
const UNSENT_MAX: usize = 256;

/// The most questions under way to one giver. Further misses go to the origin.
const ASKED_MAX: usize = 1_024;

/// How long the previous owner may take to answer.
const PEEK_PATIENCE: Duration = Duration::from_millis(10);

/// The link to the giver of a partition. Clones share it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    tenure: Tenure,
    line: StreamId,
    sender: mpsc::Sender<Result<HandOverReply, Status>>,
    numbers: AtomicU64,
    asked: Mutex<HashMap<u64, oneshot::Sender<Option<CameEntry>>>>,
}

/// Forgets a question when its asker stops waiting.
struct Asked<'a> {
    link: &'a Inner,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.link.asked.lock().remove(&self.id);
    }
}

impl Moves {
    /// Takes an incoming transfer or stream of copies; returns the stream of replies to it.
    /// Cancel-safe: once a task takes the messages in, the task goes on by itself.
    ///
    /// # Errors
    /// The first message does not come in time or is none that begins a stream, is for another member or
    /// cluster, names an unknown partition, or [`TRANSFERS_MAX`] streams come in already.
    pub(in crate::node) async fn receive(
        &self,
        mut messages: Streaming<HandOverMessage>,
    ) -> Result<impl Stream<Item = Result<HandOverReply, Status>> + use<>, Status> {
        let first = timeout(BEGIN_PATIENCE, messages.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("nothing was sent"))??;
        let Some(What::Begin(begin)) = first.and_then(|message| message.what) else {
            return Err(Status::invalid_argument(
                "a transfer begins with its partitions",
            ));
        };
        let place = self.0.transfers.clone().try_acquire_owned();
        let place = place.map_err(|_| {
            Status::resource_exhausted(format!("{TRANSFERS_MAX} transfers come in already"))
        })?;
        let (sender, replies) = mpsc::channel(UNSENT_MAX);
        let line = StreamId {
            start: Incarnation(begin.start),
            number: begin.line,
        };
        let partitions = self.expect(&begin, line)?;
        if begin.is_copying {
            let (moves, shutdown) = (self.clone(), self.0.parts.shutdown.clone());
            self.0.parts.shutdown.spawn(async move {
                tokio::select! {
                    ended = moves.keep_copies((NodeId(begin.from), line), &sender, messages) => if let Err(why) = ended {
                        tracing::debug!(from = begin.from, why, "no more copies are kept");
                        let _gone = sender.try_send(Err(Status::aborted(why)));
                    },
                    () = shutdown.begun() => {}
                }
                drop(place);
            });
            return Ok(ReceiverStream::new(replies));
        }
        let link = Link(Arc::new(Inner {
            tenure: Tenure(begin.tenure),
            line,
            sender,
            numbers: AtomicU64::new(0),
            asked: Mutex::default(),
        }));
        let mut links = self.0.links.write();
        for partition in &partitions {
            links.insert(*partition, link.clone());
        }
        self.set_has_links(&links);
        drop(links);
        let (moves, shutdown) = (self.clone(), self.0.parts.shutdown.clone());
        self.0.parts.shutdown.spawn(async move {
            let from = NodeId(begin.from);
            tokio::select! {
                ended = moves.take_in(from, &link, messages) => if let Err(why) = ended {
                    tracing::debug!(%from, why, "transfer ended");
                    let _gone = link.0.sender.try_send(Err(Status::aborted(why)));
                },
                () = shutdown.begun() => {}
            }
            moves.forget(&link, &partitions);
            drop(place);
        });
        Ok(ReceiverStream::new(replies))
    }

    /// Forgets a link that has ended.
    fn forget(&self, link: &Link, partitions: &[Partition]) {
        let mut links = self.0.links.write();
        for partition in partitions {
            let is_it = |known: &Link| Arc::ptr_eq(&known.0, &link.0);
            if links.get(partition).is_some_and(is_it) {
                links.remove(partition);
            }
        }
        self.set_has_links(&links);
        drop(links);
        let (tenure, line) = (link.0.tenure, link.0.line);
        let is_over =
            |partition, known, on| (known, on) == (tenure, line) && partitions.contains(&partition);
        self.0.parts.cache.expect_no_more(is_over);
    }

    /// Checks the beginning of a transfer, and expects entries of its partitions; returns these.
    fn expect(&self, begin: &HandOverBegin, line: StreamId) -> Result<Vec<Partition>, Status> {
        let parts = &self.0.parts;
        let view = parts.view.clone();
        let me = parts.me.get();
        let cluster = view.borrow().cluster().to_owned();
        if begin.cluster != cluster || begin.to != me.0 {
            return Err(Status::failed_precondition(format!(
                "this is member {me} of cluster {cluster}"
            )));
        }
        let all: Option<Vec<Partition>> = begin.partitions.iter().copied().map(known).collect();
        let all = all.ok_or_else(|| Status::invalid_argument("there is no such partition"))?;
        // Judged by the latest view, under the cache's lock, so that no delete can have come to this node as
        // the owner before.
        let may_expect = |partition| !view.borrow().is_owner(me, partition);
        let tenure = Tenure(begin.tenure);
        let expected = all.iter().copied();
        parts.cache.expect(expected, (tenure, line), may_expect);
        Ok(all)
    }

    async fn take_in(
        &self,
        from: NodeId,
        link: &Link,
        mut messages: Streaming<HandOverMessage>,
    ) -> Result<(), String> {
        while let Some(message) = messages.next().await {
            let message = message.map_err(|status| status.message().to_owned())?;
            match message.what {
                Some(What::Batch(batch)) => self.keep(from, link, batch).await?,
                Some(What::Found(found)) => {
                    let asked = link.0.asked.lock().remove(&found.id);
                    if let Some(asked) = asked {
                        let _late = asked.send(transfer::came(found));
                    }
                }
                Some(What::Begin(_)) | None => return Err("a message is not understood".into()),
            }
        }
        Ok(())
    }

    /// Applies a batch in its order, then acknowledges its mark.
    async fn keep(&self, from: NodeId, link: &Link, batch: HandOverBatch) -> Result<(), String> {
        let parts = &self.0.parts;
        let (mark, is_warm) = (batch.mark, batch.is_warm);
        let items = transfer::items(batch.items, batch.bytes);
        let items = items.ok_or("a message does not add up")?;
        let now = parts.clock.now();
        let mut receipts: Vec<Receipt> = Vec::new();
        let (mut kept, mut passed) = (0, 0);
        for item in items {
            match item {
                Came::Void(void) => receipts.extend(parts.cache.apply_void(&void, from, now)),
                Came::Keep(..) => return Err("a transfer carries no copies".into()),
                Came::Entry(entry) => {
                    let (tenure, line) = (link.0.tenure, link.0.line);
                    let is_kept = parts.cache.import(&entry.parts(now, tenure), line, now);
                    kept += u64::from(is_kept);
                    passed += u64::from(!is_kept);
                }
            }
        }
        self.0.metrics.kept_entries.increment(kept);
        self.0.metrics.passed_entries.increment(passed);
        all_heard(receipts).await?;
        if mark > 0 {
            let done = HandOverReply {
                what: Some(Reply::Done(mark)),
            };
            let sent = link.0.sender.send(Ok(done)).await;
            sent.map_err(|_| "the giver has gone")?;
        }
        if is_warm {
            self.warmed(from, link.0.tenure);
        }
        Ok(())
    }

    /// Prepares a question to the previous owner, if it may be asked for a key of this tenure.
    pub(in crate::node) fn peek(&self, hash: KeyHash, tenure: Tenure) -> Option<Peek> {
        if !self.0.has_links.load(Ordering::Acquire) {
            return None;
        }
        let link = self.0.links.read().get(&hash.partition())?.clone();
        let may_ask = link.0.tenure == tenure && self.0.parts.cache.is_expected(hash, tenure);
        let moves = self.clone();
        may_ask.then_some(Peek { moves, link })
    }
}

/// Waits until the members that this node forwards deletes to have applied them. Only then may the giver
/// acknowledge them.
/// Cancel-safe.
///
/// # Errors
/// A member has not applied a delete within [`HEARD_PATIENCE`], or takes no more of them.
pub(super) async fn all_heard(receipts: Vec<Receipt>) -> Result<(), String> {
    for receipt in receipts {
        match timeout(HEARD_PATIENCE, receipt.wait()).await {
            Ok(Heard::Applied) => {}
            Ok(_) | Err(_) => return Err("the next member does not acknowledge".into()),
        }
    }
    Ok(())
}

/// A question to the previous owner.
pub(in crate::node) struct Peek {
    moves: Moves,
    link: Link,
}

impl Peek {
    /// Asks for the previous owner's entry of the key. None if it has none or does not answer within
    /// [`PEEK_PATIENCE`]. Cancel-safe: a late answer is dropped.
    pub(in crate::node) async fn ask(
        self,
        group: GroupId,
        generation: Generation,
        key: Bytes,
    ) -> Option<CameEntry> {
        let metrics = &self.moves.0.metrics;
        let link = &*self.link.0;
        let id = link.numbers.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut asked = link.asked.lock();
            if asked.len() >= ASKED_MAX {
                metrics.late.increment(1);
                return None;
            }
            asked.insert(id, sender);
        }
        let _asked = Asked { link, id };
        let ask = HandOverAsk {
            id,
            group: group.0,
            generation: generation.0,
            key,
        };
        let ask = HandOverReply {
            what: Some(Reply::Ask(ask)),
        };
        if link.sender.try_send(Ok(ask)).is_err() {
            metrics.late.increment(1);
            return None;
        }
        match timeout(PEEK_PATIENCE, answer).await {
            Ok(Ok(Some(entry))) => {
                metrics.found.increment(1);
                Some(entry)
            }
            Ok(Ok(None)) => {
                metrics.missing.increment(1);
                None
            }
            Ok(Err(_)) | Err(_) => {
                metrics.late.increment(1);
                None
            }
        }
    }
}

/// The partition with this number, if there is one.
fn known(number: u32) -> Option<Partition> {
    let number = u16::try_from(number).ok()?;
    (usize::from(number) < crate::hash::PARTITIONS).then_some(Partition(number))
}
