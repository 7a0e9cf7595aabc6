//! Runs loads: misses of one group that wait together go to the origin in one call.
//!
//! No timer gathers them. A miss starts a call at once while fewer than `max_concurrent_loads` of its
//! group are in flight; beyond that it queues, and the next call to end takes what has queued, up to
//! `max_batch`. So batches grow with the load and are of one when there is none.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::moves::{Moves, Peek};
use crate::cache::{Fill, Freshness, Lead, LoadError, LoadErrorKind, Loaded, Role, Stamps};
use crate::clock::Clock;
use crate::ids::{Generation, GroupId, Millis, Tenure};
use crate::metrics::Registry;
use crate::origin::{Origin, Row};
use crate::rpc::hand_over::CameEntry;
use crate::shutdown::Shutdown;
use crate::topology::group::Group;
use crate::topology::view::View;

/// The bounds of a loader; keys of `[origin]` and `[node]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// One call's time.
    pub(super) timeout: Duration,
    /// Keys in one call.
    pub(super) max_batch: usize,
    /// Calls of one group in flight.
    pub(super) max_concurrent_loads: usize,
    /// Misses that may queue on this node.
    pub(super) miss_queue: usize,
}

/// One part in so many of the queue is out of one group's reach: a slow table must not keep the others
/// from queueing.
const GROUP_LEAVES: usize = 4;

/// What a loader counts.
#[derive(Clone)]
struct Metrics {
    registry: Registry,
    queued: Gauge,
    refused: Counter,
    batch: Histogram,
    seconds: Histogram,
}

/// One group's queue and its calls in flight.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Queued>,
    running: usize,
}

struct Queued {
    lead: Lead,
    /// When the caller who began it gives up. Past it the miss is loaded only if others wait for it.
    until: Millis,
}

/// Runs the loads of one node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Loader {
    shared: Arc<Shared>,
}

struct Shared {
    origin: Arc<dyn Origin>,
    view: watch::Receiver<Arc<View>>,
    clock: Clock,
    settings: Settings,
    queues: Mutex<HashMap<GroupId, Queue>>,
    queued: AtomicUsize,
    outcomes: Mutex<HashMap<(GroupId, &'static str), Counter>>,
    metrics: Metrics,
    shutdown: Shutdown,
    /// Where a key may be that has just moved here.
    moves: Option<Moves>,
}

impl Loader {
    /// A loader on `origin` whose loads end with `shutdown`.
    #[must_use]
    pub(super) fn new(
        origin: Arc<dyn Origin>,
        view: watch::Receiver<Arc<View>>,
        clock: Clock,
        settings: Settings,
        registry: &Registry,
        shutdown: Shutdown,
        moves: Option<Moves>,
    ) -> Self {
        let metrics = Metrics {
            registry: registry.clone(),
            queued: registry.gauge(
                "gcache_origin_queued_keys",
                "Misses that wait for a call to the origin to end.",
                &[],
            ),
            refused: registry.counter(
                "gcache_origin_refused_keys_total",
                "Misses that failed because node.miss_queue was full or they queued too long.",
                &[],
            ),
            batch: registry.histogram(
                "gcache_origin_load_batch_keys",
                "Keys in one call to the origin.",
                &[],
            ),
            seconds: registry.histogram(
                "gcache_origin_load_seconds",
                "Duration of one call to the origin.",
                &[],
            ),
        };
        let shared = Shared {
            origin,
            view,
            clock,
            settings,
            queues: Mutex::default(),
            queued: AtomicUsize::new(0),
            outcomes: Mutex::default(),
            metrics,
            shutdown,
            moves,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Loads the lead's key in a task of its own, now or as soon as its group has room.
    ///
    /// Never blocks. If the group has no room and the queue none either, the lead fails as
    /// overloaded. `until` is when the caller gives up; a lead that is still queued then and that
    /// nobody waits for fails too.
    ///
    /// The key of a partition that has just moved here is asked of its owner before first.
    pub(super) fn submit(&self, lead: Lead, until: Millis) {
        let Some(peek) = self.shared.peek(&lead) else {
            return self.enqueue(lead, until);
        };
        let this = self.clone();
        self.shared.shutdown.spawn(async move {
            let key = Bytes::copy_from_slice(lead.key());
            let generation = lead.token().generation;
            match peek.ask(lead.group(), generation, key).await {
                Some(entry) => this.shared.finish_peeked(lead, &entry),
                None => this.enqueue(lead, until),
            }
        });
    }

    fn enqueue(&self, lead: Lead, until: Millis) {
        let shared = &self.shared;
        let group = lead.group();
        let mut queues = shared.queues.lock();
        let queue = queues.entry(group).or_default();
        let has_room = queue.running < shared.settings.max_concurrent_loads;
        if !has_room && shared.is_full_for(queue) {
            drop(queues);
            shared.metrics.refused.increment(1);
            let refused = Err(overloaded("too many misses queue on this node"));
            shared.finish(lead, &refused, shared.clock.now());
            return;
        }
        queue.waiting.push_back(Queued { lead, until });
        queue.running += usize::from(has_room);
        shared.queued.fetch_add(1, Ordering::Relaxed);
        shared.metrics.queued.increment(1.0);
        drop(queues);
        if has_room {
            shared.shutdown.spawn(work(Arc::clone(shared), group));
        }
    }
}

/// Makes calls until nothing of the group waits.
async fn work(shared: Arc<Shared>, group: GroupId) {
    // A shutdown ends what waits: dropped leads tell their waiters.
    while let Some(batch) = shared.take(group) {
        // A task of its own, so that a panicking origin fails this batch and not the queue.
        let mut call = shared
            .shutdown
            .spawn(run(Arc::clone(&shared), group, batch));
        tokio::select! {
            ended = &mut call => if let Err(error) = ended && error.is_panic() {
                tracing::error!(%group, "the origin's code panicked during a load");
            },
            () = shared.shutdown.begun() => {
                call.abort();
                shared.abandon(group);
                return;
            }
        }
    }
}

async fn run(shared: Arc<Shared>, group: GroupId, batch: Vec<Lead>) {
    let started = shared.clock.now();
    let began = Instant::now();
    let view = Arc::clone(&shared.view.borrow());
    let Some(group) = view.group(group).cloned() else {
        let gone = Err(LoadError::new(LoadErrorKind::Internal, "the group is gone"));
        return batch
            .into_iter()
            .for_each(|lead| shared.finish(lead, &gone, started));
    };
    let keys: Vec<Bytes> = batch
        .iter()
        .map(|lead| Bytes::copy_from_slice(lead.key()))
        .collect();
    shared.metrics.batch.record(keys.len() as f64);
    let rows = match tokio::time::timeout(
        shared.settings.timeout,
        shared.origin.load(&group, &keys),
    )
    .await
    {
        Ok(Ok(rows)) if rows.len() == keys.len() => Ok(rows),
        Ok(Ok(rows)) => Err(LoadError::new(
            LoadErrorKind::Internal,
            format!("the origin answered {} of {} keys", rows.len(), keys.len()),
        )),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(LoadError::new(
            LoadErrorKind::Timeout,
            format!(
                "the origin did not answer within {:?}",
                shared.settings.timeout
            ),
        )),
    };
    shared.metrics.seconds.record(began.elapsed().as_secs_f64());
    shared.count(&group, &rows, keys.len());
    match rows {
        Ok(rows) => {
            for (lead, row) in batch.into_iter().zip(&rows) {
                shared.finish(lead, row, started);
            }
        }
        Err(error) => {
            let failed = Err(error);
            batch
                .into_iter()
                .for_each(|lead| shared.finish(lead, &failed, started));
        }
    }
}

impl Shared {
    /// Whether nothing more may queue behind what waits in `queue`.
    fn is_full_for(&self, queue: &Queue) -> bool {
        let max = self.settings.miss_queue;
        let share = max - max / GROUP_LEAVES;
        self.queued.load(Ordering::Relaxed) >= max || queue.waiting.len() >= share
    }

    /// The next batch of a group; none, and one worker fewer, if nothing waits.
    fn take(&self, group: GroupId) -> Option<Vec<Lead>> {
        loop {
            let (mut batch, late) = self.pop(group);
            for lead in late {
                // Somebody may have joined since it was found late.
                if lead.is_awaited() {
                    batch.push(lead);
                } else {
                    self.metrics.refused.increment(1);
                    let nobody = Err(overloaded("nobody waits for this miss any more"));
                    self.finish(lead, &nobody, self.clock.now());
                }
            }
            if !batch.is_empty() {
                return Some(batch);
            }
            let mut queues = self.queues.lock();
            let queue = queues.entry(group).or_default();
            if queue.waiting.is_empty() {
                queue.running -= 1;
                if queue.running == 0 {
                    queues.remove(&group);
                }
                return None;
            }
        }
    }

    /// Takes from a group's queue up to `max_batch` leads to load, and those before them that came too
    /// late, at most as many.
    fn pop(&self, group: GroupId) -> (Vec<Lead>, Vec<Lead>) {
        let now = self.clock.now();
        let max = self.settings.max_batch;
        let (mut batch, mut late) = (Vec::new(), Vec::new());
        let mut queues = self.queues.lock();
        let queue = queues.entry(group).or_default();
        while batch.len() + late.len() < max
            && let Some(Queued { lead, until }) = queue.waiting.pop_front()
        {
            if now < until || lead.is_awaited() {
                batch.push(lead);
            } else {
                late.push(lead);
            }
        }
        drop(queues);
        self.left(batch.len() + late.len());
        (batch, late)
    }

    /// Notes that so many leads have left the queues.
    fn left(&self, leads: usize) {
        self.queued.fetch_sub(leads, Ordering::Relaxed);
        self.metrics.queued.decrement(leads as f64);
    }

    /// Drops what waits of a group, and one worker.
    fn abandon(&self, group: GroupId) {
        let mut queues = self.queues.lock();
        let queue = queues.entry(group).or_default();
        queue.running -= 1;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queues);
        self.left(waiting.len());
    }

    fn finish(&self, lead: Lead, row: &Row, started: Millis) {
        let loaded = match row {
            Ok(Some(value)) => Loaded::Value(value),
            Ok(None) => Loaded::Absent,
            Err(error) => Loaded::Failed(error.clone()),
        };
        let fill = self.fill(&lead, started);
        lead.finish(loaded, &fill);
    }

    /// The question to the owner before, if the lead is for a key that has just moved here.
    fn peek(&self, lead: &Lead) -> Option<Peek> {
        let moves = self.moves.as_ref().filter(|_| lead.role() == Role::Owner)?;
        moves.peek(lead.hash(), lead.token().tenure)
    }

    fn finish_peeked(&self, lead: Lead, entry: &CameEntry) {
        let fill = self.fill(&lead, lead.started());
        let parts = entry.parts(fill.now, lead.token().tenure);
        lead.finish_moved(&parts, &fill);
    }

    /// What decides now whether an answer is kept.
    fn fill(&self, lead: &Lead, started: Millis) -> Fill {
        let view = Arc::clone(&self.view.borrow());
        let (stamps, freshness) = match view.group(lead.group()) {
            Some(group) => {
                let row = view.route(lead.hash());
                let stamps = Stamps {
                    tenure: row.tenure,
                    inherits: row.inherits,
                    generation: group.generation,
                };
                (stamps, Freshness::of(&group.spec))
            }
            None => of_nothing(),
        };
        Fill {
            stamps,
            freshness,
            now: self.clock.now(),
            load_started: started,
            random: fastrand::u64(..),
        }
    }

    fn count(&self, group: &Group, rows: &Result<Vec<Row>, LoadError>, keys: usize) {
        match rows {
            Err(error) => self.outcome(group, outcome_of(error.kind), keys),
            Ok(rows) => {
                for row in rows {
                    match row {
                        Ok(Some(_)) => self.outcome(group, "found", 1),
                        Ok(None) => self.outcome(group, "absent", 1),
                        Err(error) => self.outcome(group, outcome_of(error.kind), 1),
                    }
                }
            }
        }
    }

    fn outcome(&self, group: &Group, outcome: &'static str, keys: usize) {
        let mut outcomes = self.outcomes.lock();
        let counter = outcomes.entry((group.id, outcome)).or_insert_with(|| {
            self.metrics.registry.counter(
                "gcache_origin_loaded_keys_total",
                "Keys asked of the origin, by what became of them.",
                &[("group", &group.name), ("outcome", outcome)],
            )
        });
        counter.increment(keys as u64);
    }
}

fn outcome_of(kind: LoadErrorKind) -> &'static str {
    match kind {
        LoadErrorKind::Unavailable => "unavailable",
        LoadErrorKind::Timeout => "timeout",
        LoadErrorKind::BadStatement => "bad-statement",
        LoadErrorKind::BadValue => "bad-value",
        LoadErrorKind::BadKey => "bad-key",
        LoadErrorKind::Overloaded => "overloaded",
        LoadErrorKind::Internal => "internal",
    }
}

/// For a group that went while its key was loading: its callers get the answer, and nobody else.
fn of_nothing() -> (Stamps, Freshness) {
    let stamps = Stamps {
        tenure: Tenure(u64::MAX),
        inherits: None,
        generation: Generation(u32::MAX),
    };
    let freshness = Freshness {
        ttl_ms: 0,
        jitter: 0,
        stale_ms: 0,
        stale_if_error_ms: 0,
        negative_ttl_ms: 0,
        error_ttl_ms: 0,
        max_value_bytes: 0,
    };
    (stamps, freshness)
}

fn overloaded(message: &str) -> LoadError {
    LoadError::new(LoadErrorKind::Overloaded, message)
}
