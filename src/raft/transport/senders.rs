//! The streams that senders have opened to this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::Status;

use super::proto;
use super::wire::Refusal;
use crate::raft::envelope::Sender;

/// Where the refusals of one stream go.
pub(super) type Nacks = mpsc::Sender<Result<proto::Nack, Status>>;

/// The streams that senders have opened to this node, by which they can be answered.
#[derive(Debug, Default)]
pub(super) struct Senders(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, (Sender, Nacks)>,
}

impl Senders {
    /// Reports the refusal to `sender` on each of its streams; false if it has none.
    pub(super) fn refuse(&self, sender: Sender, refusal: Refusal) -> bool {
        let table = self.0.lock();
        let streams = table.open.values().filter(|(who, _)| *who == sender);
        // A full channel means that refusals are on their way already.
        streams.fold(false, |_, (_, nacks)| {
            let _ = nacks.try_send(Ok(refusal.into()));
            true
        })
    }

    /// Takes note of a stream of `sender`, until the place is dropped.
    pub(super) fn enter(self: &Arc<Self>, sender: Sender, nacks: Nacks) -> Entered {
        let mut table = self.0.lock();
        table.next += 1;
        let number = table.next;
        table.open.insert(number, (sender, nacks));
        Entered {
            senders: Arc::clone(self),
            number,
        }
    }
}

/// A stream's place among the senders; gone with it.
pub(super) struct Entered {
    senders: Arc<Senders>,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.senders.0.lock().open.remove(&self.number);
    }
}
