//! What a worker has seen in the last second. Each worker has its own, so that counting takes no lock;
//! the collector adds them up.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::connection::{Asked, Cause};
use super::replies::Replies;

/// Latencies above it are recorded as it: longer than any request may take and wait.
const HIGHEST_LATENCY_US: u64 = 3600 * 1_000_000;

/// Latencies are distinguished in steps of a thousandth.
const DIGITS: u8 = 3;

/// A request that is sent this long after its time is late. Timers and a busy machine make it less.
pub(super) const LATE: Duration = Duration::from_millis(1);

/// Counts and latencies of requests, those of the warm-up aside.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Of answered requests, in microseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) failures: BTreeMap<Cause, u64>,
    pub(super) replies: Replies,
    pub(super) body_bytes: u64,
    pub(super) late: u64,
    pub(super) greatest_lag: Duration,
    /// Requests of the warm-up, which are counted nowhere else.
    pub(super) warmup: u64,
    /// Never sent: no connection was free in time.
    pub(super) unsent: u64,
    /// Sent, and cut off by an interrupt.
    pub(super) unfinished: u64,
    pub(super) connects: u64,
    /// When the last answer or failure came.
    pub(super) last: Option<Instant>,
}

impl Record {
    pub(super) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, HIGHEST_LATENCY_US, DIGITS);
        Self {
            latency: latency.expect("the bounds are valid"),
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            replies: Replies::default(),
            body_bytes: 0,
            late: 0,
            greatest_lag: Duration::ZERO,
            warmup: 0,
            unsent: 0,
            unfinished: 0,
            connects: 0,
            last: None,
        }
    }

    /// Counts a request. Its latency is counted from `due`, none in a closed loop: then from when it
    /// was sent.
    pub(super) fn count(&mut self, asked: &Asked, due: Option<Instant>) {
        self.last = self.last.max(Some(asked.ended));
        if let (Some(due), Some(sent)) = (due, asked.sent) {
            let lag = sent.saturating_duration_since(due);
            self.late += u64::from(lag > LATE);
            self.greatest_lag = self.greatest_lag.max(lag);
        }
        match &asked.result {
            Ok(reply) => {
                let from = due.or(asked.sent).unwrap_or(asked.ended);
                let latency = asked.ended.saturating_duration_since(from);
                let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                self.latency.saturating_record(latency_us);
                *self.statuses.entry(reply.status).or_default() += 1;
                self.replies
                    .count(reply.cache_status.as_ref().map(AsRef::as_ref));
                self.body_bytes += reply.body_bytes;
            }
            Err(cause) => *self.failures.entry(*cause).or_default() += 1,
        }
    }

    /// Adds what another has counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.latency
            .add(&other.latency)
            .expect("all have the same bounds");
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (cause, count) in &other.failures {
            *self.failures.entry(*cause).or_default() += count;
        }
        self.replies.add(&other.replies);
        self.body_bytes += other.body_bytes;
        self.late += other.late;
        self.greatest_lag = self.greatest_lag.max(other.greatest_lag);
        self.warmup += other.warmup;
        self.unsent += other.unsent;
        self.unfinished += other.unfinished;
        self.connects += other.connects;
        self.last = self.last.max(other.last);
    }

    /// Requests that were answered, whatever the status.
    pub(super) fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Requests without an answer.
    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Counts what no caller wants: requests without an answer, and answers that blame the server.
    pub(super) fn errors(&self) -> u64 {
        let of_servers = self.statuses.range(500..).map(|(_, count)| count);
        self.failed() + of_servers.sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Reply;
    use super::*;

    fn asked(sent: Instant, took: Duration, result: Result<u16, Cause>) -> Asked {
        Asked {
            sent: Some(sent),
            ended: sent + took,
            result: result.map(|status| Reply {
                status,
                cache_status: None,
                body_bytes: 10,
                body_hash: 0,
            }),
        }
    }

    #[test]
    fn a_latency_counts_from_when_it_was_due() {
        let (due, lag, took) = (Instant::now(), LATE * 50, Duration::from_millis(2));
        let mut record = Record::new();
        record.count(&asked(due + lag, took, Ok(200)), Some(due));
        record.count(&asked(due, took, Ok(503)), Some(due));
        record.count(&asked(due + lag, took, Err(Cause::Timeout)), Some(due));
        assert_eq!((record.late, record.greatest_lag), (2, lag));
        let (min, max) = (record.latency.min(), record.latency.max());
        assert!(
            min.abs_diff(2_000) <= 2 && max.abs_diff(52_000) <= 52,
            "{min} {max}"
        );
        assert_eq!(
            (record.answered(), record.failed(), record.errors()),
            (2, 1, 2)
        );

        let mut closed = Record::new();
        closed.count(&asked(due + lag, took, Ok(200)), None);
        assert_eq!((closed.late, closed.latency.len()), (0, 1));
        record.add(&closed);
        assert_eq!((record.answered(), record.body_bytes), (3, 30));
        assert_eq!(record.latency.len(), 3);
    }
}
