//! The calling end of a pipeline: one long-lived stream to one node, shared by every caller.
//!
//! A keeper task holds the stream, pings it, and says whether the node is *reachable*: not after a
//! refused or reset connection, nor while a ping goes unanswered for `ping_timeout`. It keeps trying,
//! so that a node which comes back is used again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use super::connect::Target;
use super::outbox::{BatchLimits, Outbox};
pub use super::pending::CallError;
use super::pending::Pending;
use super::proto::{Call, PipelineRequest};
use crate::overload::shares::Bounds;
use super::stream;
use super::wire::{CallItem, Reply};
use crate::config;
use crate::ids::GroupId;
use crate::metrics::Registry;
use crate::overload::shares::Bounds;
use crate::shutdown::Shutdown;

/// The bounds of a pipeline; each is a key of `[pipeline]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a ping is sent to a node that owes an answer.
    pub ping_interval: Duration,
    /// How long the node may stay silent before it counts as unreachable.
    pub ping_timeout: Duration,
    /// For the connection, and again for the stream's first answer.
    pub connect_timeout: Duration,
    /// The first pause after a lost connection; doubled each time, with jitter.
    pub reconnect_min: Duration,
    /// The longest pause.
    pub reconnect_max: Duration,
    /// Calls that may wait for answers.
    pub max_in_flight: Bounds,
    /// Calls in one message.
    pub max_batch: usize,
    /// Bytes in one message, either way.
    pub max_message_bytes: usize,
}

impl From<&config::Pipeline> for Settings {
    fn from(section: &config::Pipeline) -> Self {
        Self {
            ping_interval: section.ping_interval,
            ping_timeout: section.ping_timeout,
            connect_timeout: section.connect_timeout,
            reconnect_min: section.reconnect_min,
            reconnect_max: section.reconnect_max,
            max_in_flight: section.into(),
            max_batch: section.max_batch,
            max_message_bytes: usize::try_from(section.max_message.0).unwrap_or(usize::MAX),
        }
    }
}

impl From<&config::Pipeline> for Bounds {
    fn from(section: &config::Pipeline) -> Self {
        Self {
            in_all: section.max_in_flight,
            per_group: section.max_in_flight_per_group,
        }
    }
}

impl Settings {
    /// What goes into one message: far less than its limit, so that one large value cannot make the
    /// small ones behind it wait for megabytes.
    #[must_use]
    pub fn batch(&self) -> BatchLimits {
        const SOFT_BYTES: usize = 256 << 10;
        BatchLimits {
            items: self.max_batch,
            bytes: SOFT_BYTES.min(self.max_message_bytes / 2),
        }
    }
}

/// What one pipeline counts. The label `peer` is the member's name.
#[derive(Clone)]
pub struct Metrics {
    pub(super) reachable: Gauge,
    pub(super) connects: Counter,
    pub(super) in_flight: Gauge,
    pub(super) batch: Histogram,
}

impl Metrics {
    /// Registers a pipeline to `peer`.
    #[must_use]
    pub fn register(registry: &Registry, peer: &str) -> Self {
        let labels = &[("peer", peer)];
        Self {
            reachable: registry.gauge(
                "gcache_pipeline_reachable_peers",
                "1 while the peer answers pings, else 0.",
                labels,
            ),
            connects: registry.counter(
                "gcache_pipeline_connects_total",
                "Streams opened to the peer.",
                labels,
            ),
            in_flight: registry.gauge(
                "gcache_pipeline_in_flight_calls",
                "Calls that wait for the peer's answer.",
                labels,
            ),
            batch: registry.histogram(
                "gcache_pipeline_sent_batch_calls",
                "Calls in one message to the peer.",
                labels,
            ),
        }
    }
}

/// What callers and the keeper share.
pub(super) struct Shared {
    pub(super) target: Target,
    pub(super) settings: Settings,
    pub(super) pending: Pending,
    /// Where calls go; replaced with every stream.
    pub(super) outbox: Mutex<Option<Outbox<PipelineRequest>>>,
    pub(super) metrics: Metrics,
    /// The node may be back: the pause before the next attempt is over.
    pub(super) hurry: Notify,
}

/// A pipeline to one node. Clones share it; it ends with the shutdown it was opened under.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

impl Pipeline {
    /// Starts the keeper, which connects in the background. Until it has, the node is unreachable.
    #[must_use]
    pub fn open(target: Target, settings: Settings, metrics: Metrics, shutdown: &Shutdown) -> Self {
        let shared = Arc::new(Shared {
            pending: Pending::new(settings.max_in_flight),
            target,
            settings,
            outbox: Mutex::new(None),
            metrics,
            hurry: Notify::new(),
        });
        shutdown.spawn(stream::keep(Arc::clone(&shared), shutdown.clone()));
        Self { shared }
    }

    /// Whether the node answers, as far as the last pings tell.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.shared.pending.is_open()
    }

    /// There is news of the node: if it is not reachable, the next attempt to connect begins now.
    pub fn hurry(&self) {
        if !self.is_reachable() {
            self.shared.hurry.notify_one();
        }
    }

    /// Whether the first attempt to reach the node has ended, one way or the other.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.shared.pending.is_judged()
    }

    /// Sends a call and waits for its answer; `call.id` is chosen here.
    ///
    /// No deadline of its own: wrap it in the caller's. Cancel-safe: a dropped call is forgotten, its
    /// answer ignored; the node may still carry it out.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, mut call: Call, key: Bytes) -> Result<Reply, CallError> {
        let mut ticket = self.shared.pending.enter(GroupId(call.group))?;
        call.id = ticket.id;
        let sent = match &*self.shared.outbox.lock() {
            Some(outbox) => outbox.push(CallItem { call, key }),
            None => false,
        };
        if !sent {
            return Err(CallError::Unreachable);
        }
        (&mut ticket.answer).await.map_err(|_| CallError::Lost)
    }
}
