//! Keeps one pipeline's stream: connects, pings, delivers answers, and judges reachability.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::Streaming;

use super::connect::{Life, connect};
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
        *shared.outbox.lock() = None;
        if shutdown.has_begun() {
            shared.pending.close();
            shared.metrics.reachable.set(0.0);
            return;
        }
        close(&shared, &ended.reason);
        tracing::debug!(peer = %shared.target, reason = %ended.reason, "pipeline ended");
        // A stream that lasted earns a fresh start.
        if ended.lasted > shared.settings.reconnect_max {
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
    outbox.close();
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
            // Ends our direction after what is queued: the node then knows that it has everything.
            self.outbox.close();
        }
        if !self.is_draining {
            open(self.shared);
        }
        let replies = wire::replies(message).map_err(|malformed| malformed.to_string())?;
        self.shared.pending.deliver(replies);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), String> {
        let waiting = self.shared.pending.len();
        self.shared.metrics.in_flight.set(waiting as f64);
        if self.life.has_shown() {
            self.watch.heard();
        }
        match self.watch.tick() {
            Verdict::Alive => {}
            Verdict::Silent => close(self.shared, "ping unanswered"),
            Verdict::Dead => return Err("pings unanswered".into()),
        }
        if !self.is_draining && self.watch.wants_ping(waiting > 0) {
            self.outbox.ping(self.watch.asked());
        }
        Ok(())
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

/// A tick that comes later than this after its time tells that this process is short of time: then an
/// answer may have come and wait behind other work. On a busy machine it is common; below it, a
/// runtime's own scheduling.
const LATE: Duration = Duration::from_millis(25);

/// Whether a ping is unanswered, and for how long: by the clock, and by how often we looked in time.
///
/// A process that is itself starved finds its time-outs passed while the answer waits to be read. So
/// silence counts only when as many ticks as fit in the time-out came one after the other and none
/// of them late. A frontend that is starved for good gives the stream up after many ticks of any kind.
struct Watch {
    /// How many pings were sent.
    number: u64,
    /// When the unanswered ping was sent. There is never more than one: the stream loses nothing.
    asked: Option<Instant>,
    last_tick: Instant,
    /// Since that ping, or since the last answer.
    ticks: u32,
    /// The last of them, none of which was late.
    in_time: u32,
    interval: Duration,
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
            number: 0,
            asked: None,
            last_tick: Instant::now(),
            // The first tick sends the first ping.
            ticks: QUIET_TICKS,
            in_time: 0,
            interval: settings.ping_interval,
            timeout: settings.ping_timeout,
            ticks_needed: ticks as u32,
        }
    }

    /// Any byte counts: an answer, or part of a large one, is as good a sign of life as a pong.
    fn heard(&mut self) {
        if self.asked.take().is_some() {
            self.ticks = 0;
        }
    }

    fn wants_ping(&self, is_awaited: bool) -> bool {
        self.asked.is_none() && (is_awaited || self.ticks >= QUIET_TICKS)
    }

    /// Notes that a ping is sent now; returns its number.
    fn asked(&mut self) -> u64 {
        self.asked = Some(Instant::now());
        self.ticks = 0;
        self.in_time = 0;
        self.number += 1;
        self.number
    }

    fn tick(&mut self) -> Verdict {
        let now = Instant::now();
        let is_late = now - self.last_tick > self.interval + LATE;
        self.last_tick = now;
        self.ticks = self.ticks.saturating_add(1);
        self.in_time = if is_late { 0 } else { self.in_time + 1 };
        let Some(asked) = self.asked else {
            return Verdict::Alive;
        };
        let silent = now - asked;
        let abandon = ABANDON_AFTER_TIMEOUTS;
        if silent >= self.timeout * abandon && self.ticks >= self.ticks_needed * abandon {
            Verdict::Dead
        } else if silent >= self.timeout && self.in_time >= self.ticks_needed {
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
        for late in [100, 140, 100, 160, 100, 100, 130] {
            tokio::time::advance(Duration::from_millis(late)).await;
            assert_eq!(watch.tick(), Verdict::Alive);
        }
        let mut watch = Watch::new(&settings());
        watch.asked();
        let mut ticks = 0;
        while watch.tick() != Verdict::Dead {
            tokio::time::advance(Duration::from_millis(200)).await;
            ticks += 1;
            assert!(
                ticks < 40,
                "starved for good, and the peer was never given up"
            );
        }
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
