//! Keeps one pipeline's stream: connects, pings, delivers answers, and judges reachability.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::Streaming;

use super::connect::{Life, Target, connect};
use super::liveness::{Verdict, Watch};
use super::outbox::{Outbox, outbox};
use super::pending::Pending;
use super::proto::cache_client::CacheClient;
use super::proto::{PipelineReply, PipelineRequest};
use super::settings::Settings;
use super::wire;
use crate::metrics::Registry;
use crate::net::{chain, jittered};
use crate::shutdown::Shutdown;

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

/// What the callers of a pipeline and the task that keeps its stream share.
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

/// How a stream ended.
struct Ended {
    reason: String,
    /// How long it was open; 0 if it never was.
    lasted: Duration,
}

impl Ended {
    fn unopened(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            lasted: Duration::ZERO,
        }
    }
}

/// Runs until shutdown: a stream, a pause, a stream.
pub(super) async fn keep(shared: Arc<Shared>, shutdown: Shutdown) {
    let mut pause = shared.settings.reconnect_min;
    loop {
        let ended = tokio::select! {
            ended = converse(&shared) => ended,
            () = shutdown.begun() => Ended::unopened("shutdown"),
        };
        // Ends our direction of the stream. Dropping it would not: hyper holds on to what it sends.
        if let Some(outbox) = shared.outbox.lock().take() {
            outbox.close();
        }
        if shutdown.has_begun() {
            close(&shared);
            return;
        }
        fail(&shared, &ended.reason);
        tracing::debug!(peer = %shared.target, reason = %ended.reason, "pipeline ended");
        // A stream that lasted earns a fresh start.
        if ended.lasted > shared.settings.reconnect_max {
            pause = shared.settings.reconnect_min;
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            () = shared.hurry.notified() => pause = shared.settings.reconnect_min,
            () = shutdown.begun() => return,
        }
        pause = (pause * 2).min(shared.settings.reconnect_max);
    }
}

fn open(shared: &Shared) {
    if shared.pending.open() {
        shared.metrics.reachable.set(1.0);
        tracing::info!(peer = %shared.target, "node reachable");
    }
}

/// Fails every call that waits. True if the node was reachable.
fn close(shared: &Shared) -> bool {
    shared.metrics.reachable.set(0.0);
    shared.metrics.in_flight.set(0.0);
    shared.pending.close()
}

fn fail(shared: &Shared, reason: &str) {
    if close(shared) {
        tracing::warn!(peer = %shared.target, reason, "node unreachable");
    }
}

/// One stream, from connecting to its end; says why it ended.
async fn converse(shared: &Shared) -> Ended {
    let wait = shared.settings.connect_timeout;
    let (outbox, inbound, life) = match timeout(wait * 2, start(shared)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(reason)) => return Ended::unopened(reason),
        Err(_) => return Ended::unopened(format!("no stream within {wait:?} twice")),
    };
    let opened = Instant::now();
    *shared.outbox.lock() = Some(outbox.clone());
    shared.metrics.connects.increment(1);
    let listener = Listener {
        shared,
        watch: Watch::new(&shared.settings),
        life,
        is_draining: false,
        outbox: &outbox,
    };
    let reason = listener.run(inbound).await;
    Ended {
        reason,
        lasted: opened.elapsed(),
    }
}

type Stream = (Outbox<PipelineRequest>, Streaming<PipelineReply>, Life);

/// Connects and opens the stream; it is open once the node's headers are here, which only a node
/// that runs can send: a frozen one still accepts connections.
async fn start(shared: &Shared) -> Result<Stream, String> {
    let settings = &shared.settings;
    let life = Life::default();
    let channel = connect(&shared.target, settings.connect_timeout, &life)
        .await
        .map_err(|error| chain(&error))?;
    let (outbox, sending) = outbox(settings.batch(), shared.metrics.batch.clone());
    let mut client = CacheClient::new(channel)
        .max_decoding_message_size(settings.max_message_bytes)
        .max_encoding_message_size(settings.max_message_bytes);
    let inbound = client
        .pipeline(sending)
        .await
        .map_err(|status| status.to_string())?
        .into_inner();
    Ok((outbox, inbound, life))
}

/// Delivers answers and sends pings until the stream ends or stays silent for too long.
struct Listener<'a> {
    shared: &'a Shared,
    watch: Watch,
    life: Life,
    /// The node is about to stop: it answers what it was sent and gets nothing more.
    is_draining: bool,
    outbox: &'a Outbox<PipelineRequest>,
}

impl Listener<'_> {
    async fn run(mut self, mut inbound: Streaming<PipelineReply>) -> String {
        let mut ticks = interval(self.shared.settings.ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ended = tokio::select! {
                // Answers first: a tick that came late must not outrun the answer that came in time.
                biased;
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.hear(message),
                    Ok(None) => Err("the node ended the stream".into()),
                    Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
                },
                _ = ticks.tick() => self.tick(),
            };
            if let Err(reason) = ended {
                return reason;
            }
        }
    }

    fn hear(&mut self, message: PipelineReply) -> Result<(), String> {
        self.watch.heard();
        if message.draining {
            self.is_draining = true;
            self.shared.pending.drain();
            self.shared.metrics.reachable.set(0.0);
            tracing::info!(peer = %self.shared.target, "node is stopping");
        }
        if !self.is_draining {
            open(self.shared);
        }
        let replies = wire::replies(message).map_err(|malformed| malformed.to_string())?;
        self.shared.pending.deliver(replies);
        self.end_if_drained();
        Ok(())
    }

    /// Ends our direction once a stopping node owes nothing more: then it may go. Until then it is
    /// pinged like any other, since it may die like any other.
    fn end_if_drained(&self) {
        if self.is_draining && self.shared.pending.len() == 0 {
            self.outbox.close();
        }
    }

    fn tick(&mut self) -> Result<(), String> {
        let waiting = self.shared.pending.len();
        self.shared.metrics.in_flight.set(waiting as f64);
        if self.life.has_shown() {
            self.watch.heard();
        }
        match self.watch.tick() {
            Verdict::Alive => {}
            Verdict::Silent => fail(self.shared, "ping unanswered"),
            Verdict::Dead => return Err("pings unanswered".into()),
        }
        if self.watch.wants_ping(waiting > 0) {
            self.outbox.ping(self.watch.asked());
        }
        self.end_if_drained();
        Ok(())
    }
}
