//! The calls of one pipeline that wait for their answers.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::wire::Reply;
use crate::ids::GroupId;
use crate::overload::shares::{Bounds, Full, NumberHasher, Shares};

/// Why a call was not answered by its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node cannot be reached. Nothing was sent.
    #[error("the node cannot be reached")]
    Unreachable,
    /// The node stopped answering while the call waited. It may or may not have been carried out.
    #[error("the node stopped answering")]
    Lost,
    /// Too many calls wait already, by `pipeline.max_in_flight` or `max_in_flight_per_group`. Nothing was
    /// sent.
    #[error("too many calls wait for the node")]
    Overloaded(Full),
}

struct Table {
    /// Whether the node is reachable. Kept under the same lock as the calls, so that no call can
    /// slip in between the verdict and the clearing.
    open: bool,
    /// Whether it was ever judged.
    judged: bool,
    next_id: u64,
    shares: Shares,
    waiting: HashMap<u64, oneshot::Sender<Reply>, BuildHasherDefault<NumberHasher>>,
}

/// The table of waiting calls. Shared by the callers and the keeper.
pub(super) struct Pending {
    table: Mutex<Table>,
}

/// A place in the table, given back when dropped.
pub(super) struct Ticket<'a> {
    pending: &'a Pending,
    pub(super) id: u64,
    group: GroupId,
    pub(super) answer: oneshot::Receiver<Reply>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut table = self.pending.table.lock();
        table.waiting.remove(&self.id);
        table.shares.leave(self.group);
    }
}

impl Pending {
    pub(super) fn new(bounds: Bounds) -> Self {
        let table = Table {
            open: false,
            judged: false,
            next_id: 0,
            shares: Shares::new(bounds),
            waiting: HashMap::default(),
        };
        Self {
            table: Mutex::new(table),
        }
    }

    /// Enters a call of `group`.
    pub(super) fn enter(&self, group: GroupId) -> Result<Ticket<'_>, CallError> {
        let mut table = self.table.lock();
        if !table.open {
            return Err(CallError::Unreachable);
        }
        table.shares.enter(group).map_err(CallError::Overloaded)?;
        let id = table.next_id;
        table.next_id += 1;
        let (tx, rx) = oneshot::channel();
        table.waiting.insert(id, tx);
        Ok(Ticket {
            pending: self,
            id,
            group,
            answer: rx,
        })
    }

    /// Hands a reply to its caller. A caller that left is not missed.
    pub(super) fn deliver(&self, replies: impl Iterator<Item = Reply>) {
        let mut table = self.table.lock();
        for reply in replies {
            if let Some(caller) = table.waiting.remove(&reply.answer.id) {
                let _left = caller.send(reply);
            }
        }
    }

    /// Declares the node reachable. True if it was not.
    pub(super) fn open(&self) -> bool {
        let mut table = self.table.lock();
        table.judged = true;
        !std::mem::replace(&mut table.open, true)
    }

    /// Takes no further calls; those that wait still get their answers.
    pub(super) fn drain(&self) {
        let mut table = self.table.lock();
        table.judged = true;
        table.open = false;
    }

    /// Declares the node unreachable and fails every waiting call. True if it was reachable.
    pub(super) fn close(&self) -> bool {
        let mut table = self.table.lock();
        table.judged = true;
        let was_open = std::mem::take(&mut table.open);
        let failed = std::mem::take(&mut table.waiting);
        drop(table);
        // Dropping a sender is the failure; outside the lock, since it wakes the caller.
        drop(failed);
        was_open
    }

    pub(super) fn is_open(&self) -> bool {
        self.table.lock().open
    }

    /// Whether the node was found reachable or unreachable at least once.
    pub(super) fn is_judged(&self) -> bool {
        self.table.lock().judged
    }

    pub(super) fn len(&self) -> usize {
        self.table.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::rpc::proto::Answer;

    fn reply(id: u64) -> Reply {
        let answer = Answer {
            id,
            ..Answer::default()
        };
        Reply {
            answer,
            value: Bytes::new(),
        }
    }

    const GROUP: GroupId = GroupId(1);

    fn open(per_group: usize) -> Pending {
        let pending = Pending::new(Bounds {
            in_all: 100,
            per_group,
        });
        assert!(pending.open());
        pending
    }

    #[tokio::test]
    async fn every_waiting_call_fails_when_the_node_becomes_unreachable() {
        let pending = open(2);
        let (mut a, mut b) = (pending.enter(GROUP).unwrap(), pending.enter(GROUP).unwrap());
        assert_eq!(
            pending.enter(GROUP).err(),
            Some(CallError::Overloaded(Full::PerGroup))
        );
        assert!(pending.close());
        assert!((&mut a.answer).await.is_err() && (&mut b.answer).await.is_err());
        assert_eq!(pending.enter(GROUP).err(), Some(CallError::Unreachable));
        assert!(!pending.close(), "it was closed already");
    }

    #[tokio::test]
    async fn an_answer_finds_its_call_and_a_late_one_nobody() {
        let pending = open(2);
        let (late, mut there) = (pending.enter(GROUP).unwrap(), pending.enter(GROUP).unwrap());
        let late_id = late.id;
        drop(late);
        assert_eq!(
            pending.len(),
            1,
            "a caller that leaves leaves nothing behind"
        );
        pending.deliver([reply(late_id), reply(there.id)].into_iter());
        assert_eq!((&mut there.answer).await.unwrap().answer.id, there.id);
        pending.close();
        pending.open();
        let fresh = pending.enter(GROUP).unwrap();
        assert!(
            fresh.id > there.id,
            "a number is never used twice, so no late answer can match"
        );
    }
}
