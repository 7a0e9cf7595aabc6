//! What the tasks of one worker share: their work, and what they have counted of it.
//!
//! Made by `worker`; `closed` and `open` count in it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::connection::{Asked, Route};
use super::keys::Keys;
use super::ledger::Ledger;
use super::plan::Plan;
use super::record::Record;
use crate::shutdown::Shutdown;

/// How long requests may still take after an interrupt.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// What all workers of a run work on.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) plan: Arc<Plan>,
    pub(super) keys: Arc<Keys>,
    /// One per target.
    pub(super) routes: Arc<[Route]>,
    pub(super) ledger: Option<Arc<Ledger>>,
    pub(super) start: Instant,
    pub(super) shutdown: Shutdown,
    pub(super) snapshots: mpsc::Sender<Snapshot>,
    /// Which worker this is, of how many.
    pub(super) number: usize,
    pub(super) workers: usize,
    /// Rung when a request of this worker is due; an open loop's only.
    pub(super) bell: Arc<Notify>,
}

/// What a worker has counted since its last snapshot.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The seconds since the start, none for what came after the last whole one.
    pub(super) second: Option<u64>,
    pub(super) record: Record,
}

/// What the tasks of one worker share.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) work: Work,
    record: RefCell<Record>,
    in_flight: Cell<u64>,
}

impl Share {
    pub(super) fn new(work: Work) -> Self {
        Self {
            work,
            record: RefCell::new(Record::new()),
            in_flight: Cell::new(0),
        }
    }

    /// Changes what was counted. `change` must not call back.
    pub(super) fn record(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.borrow_mut());
    }

    /// A request has begun; [`Share::ended`] follows, unless it is cut off.
    pub(super) fn began(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// Counts a request for the key with this index, which began or was due `at`. In a closed loop
    /// `is_paced` is false: nobody said when it was due.
    pub(super) fn ended(&self, asked: &Asked, index: u64, at: Duration, is_paced: bool) {
        self.in_flight.set(self.in_flight.get() - 1);
        if let (Some(ledger), Ok(reply)) = (&self.work.ledger, &asked.result) {
            ledger.note(index, reply);
        }
        self.record(|record| {
            if at < self.work.plan.warmup {
                record.warmup += 1;
            } else {
                record.count(asked, is_paced.then(|| self.work.start + at));
            }
        });
    }

    /// Waits for the tasks that send requests; after an interrupt, not for long.
    pub(super) async fn finish(&self, mut tasks: JoinSet<()>) {
        let interrupted = async {
            self.work.shutdown.begun().await;
            sleep(INTERRUPT_GRACE).await;
        };
        let ended = async { while tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = ended => {}
            () = interrupted => self.record(|record| record.unfinished += self.in_flight.get()),
        }
        tasks.shutdown().await;
    }

    /// Hands over what was counted since the last snapshot.
    pub(super) async fn snapshot(&self, second: Option<u64>) {
        let record = self.record.replace(Record::new());
        // The collector outlives the workers, unless the process is ending: then nobody asks.
        let _sent = self.work.snapshots.send(Snapshot { second, record }).await;
    }
}
