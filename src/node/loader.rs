//! Runs loads: misses of one group that wait together go to the origin in one call.
//!
//! No timer gathers them. A miss starts a call at once while fewer than `max_concurrent_loads` of its group
//! are in flight. Beyond that it queues, and the next call to end is followed by one for the queued keys, up
//! to `max_batch`. So batches grow with the load, and have one key when there is none. A miss that has queued
//! for `miss_queue_timeout` fails. Refreshes of stale entries go the same way, with slots of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::moves::{Moves, Peek};
use crate::cache::{Fill, Freshness, Lead, LoadError, LoadErrorKind, Loaded, Role, Stamps};
use crate::clock::Clock;
use crate::ids::as_millis;
use crate::ids::{GroupId, Millis};
use crate::metrics::{LOADED_KEYS, Registry};
use crate::origin::{Origin, Row};
use crate::overload::queues::{Bounds, Class, Entered, QueueId, Queued, Queues};
use crate::rpc::transfer::CameEntry;
use crate::shutdown::Shutdown;
use crate::topology::model::group::Group;
use crate::topology::view::View;

/// The bounds of a loader, from the settings of `[origin]` and `[node]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The longest that one call may take.
    pub(super) timeout: Duration,
    /// The most keys in one call.
    pub(super) max_batch: usize,
    /// The most calls of one group in flight for misses.
    pub(super) max_concurrent_loads: usize,
    /// The most calls of one group in flight for refreshes.
    pub(super) max_concurrent_refreshes: usize,
    /// The most misses that queue on this node.
    pub(super) miss_queue: usize,
    /// The longest that a miss or a refresh may queue.
    pub(super) miss_queue_timeout: Duration,
    /// The most refreshes of one group that queue.
    pub(super) refresh_queue: usize,
}

impl Settings {
    fn bounds(&self) -> Bounds {
        Bounds {
            miss_calls: self.max_concurrent_loads,
            refresh_calls: self.max_concurrent_refreshes,
            misses: self.miss_queue,
            refreshes: self.refresh_queue,
            timeout: self.miss_queue_timeout,
        }
    }
}

/// The metrics of a loader.
#[derive(Clone)]
struct Metrics {
    registry: Registry,
    queued: Gauge,
    batch: Histogram,
    seconds: Histogram,
}

/// The bound because of which a key is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Queue,
    Timeout,
    Deadline,
}

impl Bound {
    /// The setting's name, as the metric's label has it.
    fn label(self, class: Class) -> &'static str {
        match (self, class) {
            (Self::Queue, Class::Miss) => "miss_queue",
            (Self::Queue, Class::Refresh) => "refresh_queue",
            (Self::Timeout, _) => "miss_queue_timeout",
            (Self::Deadline, _) => "deadline",
        }
    }

    fn error(self) -> LoadError {
        let message = match self {
            Self::Queue => "too many misses queue on this node",
            Self::Timeout => "queued too long for a place among the loads of its group",
            Self::Deadline => "no caller waits for this miss any more",
        };
        LoadError::new(LoadErrorKind::Overloaded, message)
    }
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
    queues: Mutex<Queues<Lead>>,
    outcomes: Mutex<HashMap<(GroupId, &'static str), Counter>>,
    metrics: Metrics,
    shutdown: Shutdown,
    /// Asks the previous owner for a key of a partition that has just moved here.
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
            queues: Mutex::new(Queues::new(settings.bounds())),
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
    /// Never blocks. A lead fails as overloaded if neither the group nor the queue has room, or once it has
    /// queued too long. `until` is when the caller gives up: a lead that is still queued then and that no
    /// other caller waits for fails too.
    ///
    /// A miss of a partition that has just moved here is first asked of its previous owner. A refresh is not:
    /// the entry here is as new as the one there.
    pub(super) fn submit(&self, lead: Lead, class: Class, until: Millis) {
        let peek = (class == Class::Miss).then(|| self.shared.peek(&lead));
        let Some(peek) = peek.flatten() else {
            return self.shared.submit(lead, class, until);
        };
        let shared = Arc::clone(&self.shared);
        self.shared.shutdown.spawn(async move {
            let key = Bytes::copy_from_slice(lead.key());
            let generation = lead.token().generation;
            match peek.ask(lead.group(), generation, key).await {
                Some(entry) => shared.finish_peeked(lead, &entry),
                None => shared.submit(lead, class, until),
            }
        });
    }
}

/// Makes calls until nothing waits in the queue.
async fn work(shared: Arc<Shared>, queue: QueueId) {
    // A shutdown ends the waiting: dropped leads wake their waiters with an error.
    while let Some(batch) = shared.take(queue) {
        // A task of its own, so that a panicking origin fails this batch and not the queue.
        let mut call = shared
            .shutdown
            .spawn(run(Arc::clone(&shared), queue.0, batch));
        tokio::select! {
            ended = &mut call => if let Err(error) = ended && error.is_panic() {
                tracing::error!(group = %queue.0, "the origin's code panicked during a load");
            },
            () = shared.shutdown.begun() => {
                call.abort();
                shared.abandon(queue);
                return;
            }
        }
    }
}

/// Fails leads that have queued too long in a queue, until its queue is empty.
async fn watch(shared: Arc<Shared>, queue: QueueId) {
    while let Some(next) = shared.fail_overdue(queue) {
        let wait = next.since(shared.clock.now());
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            () = shared.shutdown.begun() => return,
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
    fn submit(self: &Arc<Self>, lead: Lead, class: Class, until: Millis) {
        let queue = (lead.group(), class);
        let now = self.clock.now();
        match self.queues(|queues| queues.enter(queue, lead, until, now)) {
            Entered::Work => drop(self.shutdown.spawn(work(Arc::clone(self), queue))),
            Entered::Watch => drop(self.shutdown.spawn(watch(Arc::clone(self), queue))),
            Entered::Wait => {}
            Entered::Full(lead) => self.refuse(lead, class, Bound::Queue),
        }
    }

    /// Takes the next batch of a queue. None if nothing waits: then the queue has one call fewer in flight.
    fn take(&self, queue: QueueId) -> Option<Vec<Lead>> {
        loop {
            let now = self.clock.now();
            let max = self.settings.max_batch;
            let taken = self.queues(|queues| queues.take(queue, max, now))?;
            let mut batch = Vec::with_capacity(taken.len());
            for Queued { item, until, .. } in taken {
                if now < until || item.is_awaited() {
                    batch.push(item);
                } else {
                    self.refuse(item, queue.1, Bound::Deadline);
                }
            }
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }

    /// Fails leads that have queued too long in a queue. Returns when to look again.
    fn fail_overdue(self: &Arc<Self>, queue: QueueId) -> Option<Millis> {
        let now = self.clock.now();
        let (overdue, next) = self.queues(|queues| queues.overdue(queue, now));
        for lead in overdue {
            if queue.1 == Class::Refresh && lead.is_awaited() {
                // The stale entry is gone, so callers that came since wait for this load as for a miss.
                let patience = as_millis(self.settings.miss_queue_timeout);
                self.submit(lead, Class::Miss, now.plus(patience));
            } else {
                self.refuse(lead, queue.1, Bound::Timeout);
            }
        }
        next
    }

    /// Drops the waiting leads of a queue, and one of its calls.
    fn abandon(&self, queue: QueueId) {
        // Outside the lock: dropped leads wake their waiters.
        drop(self.queues(|queues| queues.abandon(queue)));
    }

    /// Works on the queues, and then updates the gauge of queued misses.
    fn queues<T>(&self, work: impl FnOnce(&mut Queues<Lead>) -> T) -> T {
        let mut queues = self.queues.lock();
        let done = work(&mut queues);
        self.metrics.queued.set(queues.misses() as f64);
        done
    }

    /// Fails a lead because of `bound`, and counts it.
    fn refuse(&self, lead: Lead, class: Class, bound: Bound) {
        if let Some(group) = self.view.borrow().group(lead.group()) {
            let labels = [("group", &*group.name), ("limit", bound.label(class))];
            // Registering again only finds the counter.
            let refused = self.metrics.registry.counter(
                "gcache_origin_refused_keys_total",
                "Keys that were not asked of the origin, by the bound that prevented it.",
                &labels,
            );
            refused.increment(1);
        }
        self.finish(lead, &Err(bound.error()), self.clock.now());
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

    /// Prepares a question to the previous owner, if the lead's key has just moved here.
    fn peek(&self, lead: &Lead) -> Option<Peek> {
        let moves = self.moves.as_ref().filter(|_| lead.role() == Role::Owner)?;
        moves.peek(lead.hash(), lead.token().tenure)
    }

    fn finish_peeked(&self, lead: Lead, entry: &CameEntry) {
        let fill = self.fill(&lead, lead.started());
        let parts = entry.parts(fill.now, lead.token().tenure);
        lead.finish_moved(&parts, &fill);
    }

    /// The facts by which the cache decides whether it keeps an answer, as of now.
    fn fill(&self, lead: &Lead, started: Millis) -> Fill {
        let view = Arc::clone(&self.view.borrow());
        let (stamps, freshness) = match view.group(lead.group()) {
            Some(group) => {
                let stamps = view.stamps(lead.hash().partition(), group);
                (stamps, Freshness::of(&group.spec))
            }
            None => (Stamps::NOTHING, FOR_NO_ONE),
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
                LOADED_KEYS,
                "Keys asked of the origin, by outcome.",
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

/// The freshness of a group that was removed while its key was loading: only the callers that wait get the
/// answer.
const FOR_NO_ONE: Freshness = Freshness {
    ttl_ms: 0,
    jitter: 0,
    stale_ms: 0,
    stale_if_error_ms: 0,
    negative_ttl_ms: 0,
    error_ttl_ms: 0,
    max_value_bytes: 0,
};
