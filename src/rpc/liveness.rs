//! Whether a node still answers: the rule, without the stream.
//!
//! Driven by the keeper, one tick per `ping_interval`. Time is `tokio::time`, so that tests pause it.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::Settings;

/// A silent stream is given up after this many ping time-outs. Until then it is only not used, so
/// that a process that was merely frozen is back with its first answer.
const ABANDON_AFTER_TIMEOUTS: u32 = 10;

/// A pipeline on which nobody waits is pinged only every so many ticks: pings are most of what an idle
/// process does. A call to a node that froze meanwhile is noticed within a tick and a time-out.
const QUIET_TICKS: u32 = 5;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    Silent,
    Dead,
}

/// A tick that comes later than this after its time shows that this process is short of time: then an
/// answer may have come and wait behind other work. On a busy machine it is common; below it, a
/// runtime's own scheduling.
const LATE: Duration = Duration::from_millis(25);

/// Whether a ping is unanswered, and for how long: by the clock, and by how often we looked in time.
///
/// A process that is itself starved finds its time-outs passed while the answer waits to be read. So
/// silence counts only when as many ticks as fit in the time-out came one after the other and none
/// of them late. A frontend that is starved for good gives the stream up after many ticks of any kind.
pub(super) struct Watch {
    /// How many pings were sent.
    number: u64,
    /// When the ping was sent since which nothing was heard. One is enough: the stream loses nothing.
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
    pub(super) fn new(settings: &Settings) -> Self {
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
    pub(super) fn heard(&mut self) {
        if self.asked.take().is_some() {
            self.ticks = 0;
        }
    }

    pub(super) fn wants_ping(&self, is_awaited: bool) -> bool {
        self.asked.is_none() && (is_awaited || self.ticks >= QUIET_TICKS)
    }

    /// Notes that a ping is sent now; returns its number.
    pub(super) fn asked(&mut self) -> u64 {
        self.asked = Some(Instant::now());
        self.ticks = 0;
        self.in_time = 0;
        self.number += 1;
        self.number
    }

    pub(super) fn tick(&mut self) -> Verdict {
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
    use crate::overload::shares::Bounds;

    fn settings() -> Settings {
        Settings {
            ping_interval: Duration::from_millis(100),
            ping_timeout: Duration::from_millis(300),
            connect_timeout: Duration::from_secs(1),
            reconnect_min: Duration::from_millis(50),
            reconnect_max: Duration::from_secs(1),
            max_in_flight: Bounds {
                in_all: 1,
                per_group: 1,
            },
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
