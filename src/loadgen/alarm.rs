//! A thread that rings when a request is due.
//!
//! tokio's timers have whole milliseconds, and a cache answers in a tenth of one: they would be most of
//! every latency. A parked thread wakes within a few tens of microseconds. Busy waiting would be
//! more exact, and take a core from the cluster that is measured.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::pace::Due;
use crate::shutdown::Shutdown;

/// How much later than asked Linux wakes a thread, so that it may wake several at once.
const TIMER_SLACK: Duration = Duration::from_micros(50);

/// The longest time without a look at the shutdown.
const LONGEST_PARK: Duration = Duration::from_millis(100);

/// Less is not worth parking for.
const SHORTEST_PARK: Duration = Duration::from_micros(5);

/// Rings `bell` whenever one or several of `times`, counted from `start`, have come. Blocks until the
/// last has, or shutdown begins.
pub(super) fn ring(
    times: impl Iterator<Item = Due>,
    start: Instant,
    bell: &Arc<Notify>,
    shutdown: &Shutdown,
) {
    let mut times = times.peekable();
    while let Some(due) = times.peek() {
        if shutdown.has_begun() {
            return;
        }
        let left = (start + due.at).saturating_duration_since(Instant::now());
        if left > SHORTEST_PARK {
            let park = left.saturating_sub(TIMER_SLACK).max(SHORTEST_PARK);
            std::thread::park_timeout(park.min(LONGEST_PARK));
            continue;
        }
        if !left.is_zero() {
            std::thread::yield_now();
            continue;
        }
        let now = start.elapsed();
        while times.next_if(|due| due.at <= now).is_some() {}
        bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::Pace;
    use super::super::plan::Arrivals;
    use super::*;

    #[tokio::test]
    async fn every_due_time_is_rung_for_and_none_early() {
        let pace = Pace::new(1000.0, Arrivals::Even, Duration::from_millis(50), 1);
        let (bell, start) = (Arc::new(Notify::new()), Instant::now());
        let rung = Arc::clone(&bell);
        let times = pace.clone();
        let ringing =
            tokio::task::spawn_blocking(move || ring(times, start, &rung, &Shutdown::new()));
        let last = pace.last().unwrap();
        while start.elapsed() < last.at {
            bell.notified().await;
        }
        ringing.await.unwrap();
        assert!(start.elapsed() >= last.at);
    }

    #[tokio::test]
    async fn a_shutdown_ends_it() {
        let pace = Pace::new(0.001, Arrivals::Poisson, Duration::from_hours(1), 1);
        let shutdown = Shutdown::new();
        shutdown.begin();
        ring(pace, Instant::now(), &Arc::new(Notify::new()), &shutdown);
    }
}
