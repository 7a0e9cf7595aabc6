//! The watchdog: notices a turn that does not return, which a disk can do for minutes.
//!
//! While a turn hangs, no tick passes and nothing is sent, so others elect a leader. After [`STALL_MAX`](super::STALL_MAX)
//! the node's Raft is given up, whether or not the write returns one day.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::end::End;

/// How long a turn may take before it is worth a line in the log: an election timeout.
pub const STALL_NOTICED: Duration = Duration::from_secs(1);

/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// No turn is under way.
const IDLE: u64 = u64::MAX;

/// What thread and watchdog know of each other.
pub(super) struct Pulse {
    zero: Instant,
    /// How long a turn may take at all: [`STALL_MAX`](super::STALL_MAX).
    max: Duration,
    /// When the turn under way began, in milliseconds since `zero`.
    began: AtomicU64,
    is_given_up: AtomicBool,
    is_stopped: AtomicBool,
}

impl Pulse {
    /// Starts the watchdog's thread. It sends to `ends` when it gives up.
    pub(super) fn start(
        ends: watch::Sender<Option<End>>,
        max: Duration,
    ) -> std::io::Result<Arc<Self>> {
        let pulse = Arc::new(Self {
            zero: Instant::now(),
            max,
            began: AtomicU64::new(IDLE),
            is_given_up: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
        });
        let watched = pulse.clone();
        std::thread::Builder::new()
            .name("raft-watchdog".into())
            .spawn(move || watched.watch(&ends))?;
        Ok(pulse)
    }

    fn watch(&self, ends: &watch::Sender<Option<End>>) {
        let mut noticed = IDLE;
        while !self.is_stopped.load(Ordering::Acquire) {
            std::thread::park_timeout(LOOK_EVERY);
            let began = self.began.load(Ordering::Acquire);
            let verdict = judge(began, self.now(), self.max);
            if verdict != Verdict::Fine && noticed != began {
                noticed = began;
                tracing::warn!("raft thread waits for its disk");
            }
            if verdict == Verdict::Over && !self.is_given_up.swap(true, Ordering::AcqRel) {
                tracing::error!("raft thread given up");
                ends.send_if_modified(|known| {
                    known.get_or_insert(End::Stalled);
                    true
                });
                return;
            }
        }
    }

    fn now(&self) -> u64 {
        crate::ids::as_millis(self.zero.elapsed())
    }

    pub(super) fn begin(&self) {
        self.began.store(self.now(), Ordering::Release);
    }

    pub(super) fn finish(&self) {
        self.began.store(IDLE, Ordering::Release);
    }

    /// Whether it is over: nothing may be sent any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Slow,
    Over,
}

/// Returns what to think at `now` of a turn that began at `began`.
fn judge(began: u64, now: u64, max: Duration) -> Verdict {
    let turned = Duration::from_millis(now.saturating_sub(began));
    if began == IDLE || turned < STALL_NOTICED.min(max) {
        Verdict::Fine
    } else if turned < max {
        Verdict::Slow
    } else {
        Verdict::Over
    }
}

#[cfg(test)]
mod tests {
    use super::super::end::STALL_MAX;
    use super::*;

    #[test]
    fn a_turn_is_noticed_after_a_second_and_given_up_after_thirty() {
        assert_eq!(judge(IDLE, 99_999, STALL_MAX), Verdict::Fine);
        assert_eq!(judge(5_000, 5_999, STALL_MAX), Verdict::Fine);
        assert_eq!(judge(5_000, 6_000, STALL_MAX), Verdict::Slow);
        assert_eq!(judge(5_000, 34_999, STALL_MAX), Verdict::Slow);
        assert_eq!(judge(5_000, 35_000, STALL_MAX), Verdict::Over);
    }
}
