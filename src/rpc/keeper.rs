//! Keeps one pipeline's stream: connects, pings, delivers answers, and judges reachability.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::Streaming;

use super::connect::connect;
use super::outbox::{Outbox, outbox};
use super::pipeline::{Settings, Shared};
use super::proto::cache_client::CacheClient;
use super::proto::{PipelineReply, PipelineRequest};
use super::wire;
use crate::shutdown::Shutdown;

/// A silent stream is given up after this many ping time-outs. Until then it is only not used, so
/// that a process that was merely frozen is back with its first answer.
const ABANDON_AFTER_TIMEOUTS: u32 = 10;

/// A pipeline on which nobody waits is pinged only every so many ticks: pings are most of what an idle
/// process does. A call to a node that froze meanwhile is noticed within a tick and a time-out.
const QUIET_TICKS: u32 = 5;

/// Runs until shutdown: a stream, a pause, a stream.
pub(super) async fn keep(shared: Arc<Shared>, shutdown: Shutdown) {
    let mut pause = shared.settings.reconnect_min;
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            ended = converse(&shared) => ended,
            () = shutdown.begun() => "shutdown".to_owned(),
        };
        *shared.outbox.lock() = None;
        if shutdown.has_begun() {
            shared.pending.close();
            return;
        }
        close(&shared, &ended);
        tracing::debug!(peer = %shared.target, reason = %ended, "pipeline ended");
        // A stream that lasted earns a fresh start.
        if began.elapsed() > shared.settings.reconnect_max {
            pause = shared.settings.reconnect_min;
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            () = shutdown.begun() => return,
        }
        pause = (pause * 2).min(shared.settings.reconnect_max);
    }
}

/// Half to all of `pause`, so that frontends do not knock in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn open(shared: &Shared) {
    if shared.pending.open() {
        shared.metrics.reachable.set(1.0);
        tracing::info!(peer = %shared.target, "node reachable");
    }
}

fn close(shared: &Shared, reason: &str) {
    if shared.pending.close() {
        shared.metrics.reachable.set(0.0);
        tracing::warn!(peer = %shared.target, reason, "node unreachable");
    }
}

/// One stream, from connecting to its end; says why it ended.
async fn converse(shared: &Shared) -> String {
    let wait = shared.settings.connect_timeout;
    let (outbox, inbound) = match timeout(wait * 2, start(shared)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(reason)) => return reason,
        Err(_) => return format!("no stream within {wait:?} twice"),
    };
    *shared.outbox.lock() = Some(outbox.clone());
    shared.metrics.connects.increment(1);
    let mut watch = Watch::new(&shared.settings);
    let reason = listen(shared, &outbox, inbound, &mut watch).await;
    outbox.close();
    reason
}

type Stream = (Outbox<PipelineRequest>, Streaming<PipelineReply>);

/// Connects and opens the stream; it is open once the node's headers are here, which only a node
/// that runs can send: a frozen one still accepts connections.
async fn start(shared: &Shared) -> Result<Stream, String> {
    let settings = &shared.settings;
    let channel = connect(&shared.target, settings.connect_timeout)
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
    Ok((outbox, inbound))
}

/// Delivers answers and sends pings until the stream ends or stays silent for too long.
async fn listen(
    shared: &Shared,
    outbox: &Outbox<PipelineRequest>,
    mut inbound: Streaming<PipelineReply>,
    watch: &mut Watch,
) -> String {
    let mut ticks = interval(shared.settings.ping_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        tokio::select! {
            // Answers first: a tick that came late must not outrun the answer that came in time.
            biased;
            message = inbound.message() => match message {
                Ok(Some(message)) => {
                    watch.heard();
                    open(shared);
                    match wire::replies(message) {
                        Ok(replies) => shared.pending.deliver(replies),
                        Err(malformed) => return malformed.to_string(),
                    }
                }
                Ok(None) => return "the node ended the stream".into(),
                Err(status) => return format!("{:?}: {}", status.code(), status.message()),
            },
            _ = ticks.tick() => {
                let waiting = shared.pending.len();
                shared.metrics.in_flight.set(waiting as f64);
                match watch.tick() {
                    Verdict::Alive => {}
                    Verdict::Silent => close(shared, "ping unanswered"),
                    Verdict::Dead => return "pings unanswered".into(),
                }
                if watch.wants_ping(waiting > 0) {
                    number += 1;
                    outbox.ping(number);
                    watch.asked();
                }
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Alive,
    Silent,
    Dead,
}

/// Whether a ping is unanswered, and for how long: by the clock, and by how often we looked.
///
/// A process that was itself starved finds all its time-outs passed at once. So silence counts only
/// when as many ticks as fit in the time-out came and went, each of which let the answers in first.
struct Watch {
    /// When the unanswered ping was sent. There is never more than one: the stream loses nothing.
    asked: Option<Instant>,
    /// Since that ping, or since the last answer.
    ticks: u32,
    timeout: Duration,
    ticks_needed: u32,
}

impl Watch {
    fn new(settings: &Settings) -> Self {
        let ticks = settings
            .ping_timeout
            .div_duration_f64(settings.ping_interval)
            .ceil();
        Self {
            asked: None,
            // The first tick sends the first ping.
            ticks: QUIET_TICKS,
            timeout: settings.ping_timeout,
            ticks_needed: ticks as u32,
        }
    }

    /// Any message counts: an answer is as good a sign of life as a pong.
    fn heard(&mut self) {
        if self.asked.take().is_some() {
            self.ticks = 0;
        }
    }

    fn wants_ping(&self, is_awaited: bool) -> bool {
        self.asked.is_none() && (is_awaited || self.ticks >= QUIET_TICKS)
    }

    fn asked(&mut self) {
        self.asked = Some(Instant::now());
        self.ticks = 0;
    }

    fn tick(&mut self) -> Verdict {
        self.ticks = self.ticks.saturating_add(1);
        let Some(asked) = self.asked else {
            return Verdict::Alive;
        };
        let silent = asked.elapsed();
        let long =
            |times: u32| silent >= self.timeout * times && self.ticks >= self.ticks_needed * times;
        if long(ABANDON_AFTER_TIMEOUTS) {
            Verdict::Dead
        } else if long(1) {
            Verdict::Silent
        } else {
            Verdict::Alive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            ping_interval: Duration::from_millis(100),
            ping_timeout: Duration::from_millis(300),
            connect_timeout: Duration::from_secs(1),
            reconnect_min: Duration::from_millis(50),
            reconnect_max: Duration::from_secs(1),
            max_in_flight: 1,
            max_batch: 1,
            max_message_bytes: 1 << 20,
        }
    }

    async fn after_100_ms(watch: &mut Watch) -> Verdict {
        tokio::time::advance(Duration::from_millis(100)).await;
        watch.tick()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_unanswered_for_the_timeout_is_silence_until_the_answer() {
        let mut watch = Watch::new(&settings());
        assert!(watch.wants_ping(false), "a new stream is pinged at once");
        watch.asked();
        let mut verdicts = Vec::new();
        for _ in 0..4 {
            verdicts.push(after_100_ms(&mut watch).await);
            assert!(!watch.wants_ping(true), "one unanswered ping is enough");
        }
        use Verdict::{Alive, Silent};
        assert_eq!(verdicts, [Alive, Alive, Silent, Silent]);
        watch.heard();
        assert_eq!(watch.tick(), Alive);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_pipeline_is_pinged_rarely_and_an_awaited_one_at_every_tick() {
        let mut watch = Watch::new(&settings());
        let mut pings = 0;
        for _ in 0..50 {
            if watch.wants_ping(false) {
                watch.asked();
                watch.heard();
                pings += 1;
            }
            assert_eq!(after_100_ms(&mut watch).await, Verdict::Alive);
        }
        assert_eq!(pings, 10);
        assert!(watch.wants_ping(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_starved_process_does_not_blame_its_peer() {
        let mut watch = Watch::new(&settings());
        watch.asked();
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(watch.tick(), Verdict::Alive);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_silence_ends_the_stream() {
        let mut watch = Watch::new(&settings());
        watch.asked();
        let mut ticks = 0;
        while after_100_ms(&mut watch).await != Verdict::Dead {
            ticks += 1;
            assert!(ticks < 40);
        }
        assert!(ticks >= 29, "{ticks} ticks");
    }
}
