//! The standby's side of copies: this node keeps the entries that an owner keeps, stamped with the epoch
//! since when it is their standby, and voids what the owner voids (deletes or expires).

use std::collections::HashMap;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Moves;
use super::move_in::all_heard;
use crate::cache::{Receipt, StreamId};
use crate::hash::KeyHash;
use crate::ids::{NodeId, Partition, Tenure};
use crate::ownership::streams::may_keep_copies;
use crate::rpc::proto::hand_over_message::What;
use crate::rpc::proto::hand_over_reply::What as Reply;
use crate::rpc::proto::{HandOverBatch, HandOverMessage, HandOverMissing, HandOverReply};
use crate::rpc::transfer::{self, Came};

/// The state of one stream from an owner.
struct Keeper {
    from: NodeId,
    line: StreamId,
    /// The stamps of copies, by partition.
    stamps: HashMap<Partition, Tenure>,
}

/// The channel for replies to an owner.
pub(super) type Back = mpsc::Sender<Result<HandOverReply, Status>>;

impl Moves {
    /// Keeps what one owner sends, until the stream ends.
    pub(super) async fn keep_copies(
        &self,
        (from, line): (NodeId, StreamId),
        back: &Back,
        mut messages: Streaming<HandOverMessage>,
    ) -> Result<(), String> {
        let mut keeper = Keeper {
            from,
            line,
            stamps: HashMap::new(),
        };
        let ended = loop {
            let Some(message) = messages.next().await else {
                break Ok(());
            };
            let kept = match message.map(|message| message.what) {
                Ok(Some(What::Batch(batch))) => self.keep_copied(&mut keeper, back, batch).await,
                Ok(_) => Err("a message is not understood".into()),
                Err(status) => Err(status.message().to_owned()),
            };
            if kept.is_err() {
                break kept;
            }
        };
        // The copies that have come stay: from now on the owner acknowledges no delete that this node has not
        // applied.
        let is_over =
            |partition, stamp, on| on == line && keeper.stamps.get(&partition) == Some(&stamp);
        self.0.parts.cache.expect_no_more_copies(is_over);
        ended
    }

    async fn keep_copied(
        &self,
        keeper: &mut Keeper,
        back: &Back,
        batch: HandOverBatch,
    ) -> Result<(), String> {
        let parts = &self.0.parts;
        let now = parts.clock.now();
        let items = transfer::items(batch.items, batch.bytes);
        let items = items.ok_or("a message does not add up")?;
        let mut receipts: Vec<Receipt> = Vec::new();
        let (mut kept, mut passed) = (0, 0);
        for item in items {
            match item {
                Came::Void(void) => {
                    receipts.extend(parts.cache.apply_void(&void, keeper.from, now))
                }
                Came::Keep(partitions, stamp) => self.expect_copies(keeper, &partitions, stamp),
                Came::Entry(entry) => {
                    let stamp = keeper.stamps.get(&entry.partition()).copied();
                    let is_kept = stamp.is_some_and(|stamp| {
                        let copy = entry.parts(now, stamp);
                        let how = (keeper.line, entry.is_spare());
                        parts.cache.import_copy(&copy, how, now)
                    });
                    kept += u64::from(is_kept);
                    passed += u64::from(!is_kept);
                }
            }
        }
        self.0.metrics.copies_kept.increment(kept);
        self.0.metrics.copies_passed.increment(passed);
        all_heard(receipts).await?;
        if batch.mark > 0 {
            say(back, Reply::Done(batch.mark)).await?;
        }
        let used: Vec<KeyHash> = batch.used.into_iter().map(KeyHash).collect();
        let missing = parts.cache.used(&used);
        if !missing.is_empty() {
            // Bounded: at most the keys of one message.
            let hashes = missing.iter().map(|hash| hash.0).collect();
            say(back, Reply::Missing(HandOverMissing { hashes })).await?;
        }
        Ok(())
    }

    /// Expects copies of these partitions from now on.
    fn expect_copies(&self, keeper: &mut Keeper, partitions: &[Partition], stamp: Tenure) {
        keeper
            .stamps
            .extend(partitions.iter().map(|partition| (*partition, stamp)));
        let parts = &self.0.parts;
        let me: NodeId = parts.me.get();
        let may_expect = |partition| may_keep_copies(&parts.view.borrow(), me, partition, stamp);
        let partitions = partitions.iter().copied();
        let expected = (stamp, keeper.line);
        parts.cache.expect_copies(partitions, expected, may_expect);
    }
}

async fn say(back: &Back, what: Reply) -> Result<(), String> {
    let reply = HandOverReply { what: Some(what) };
    let sent = back.send(Ok(reply)).await;
    sent.map_err(|_| "the owner has gone".to_owned())
}
