//! The timeline of a run: what each second came to, written while the run goes on, a line of JSON each.
//!
//! To watch a cluster through a change takes more than a run's sums: windows of any length can be made of
//! these lines, and the times say which of them saw the change. Called by `loadgen::run`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::Instant;

use super::record::Record;
use super::replies::Replies;
use super::report::{Latency, failures};
use super::worker::SNAPSHOT_INTERVAL;

/// A line of the timeline. Its JSON has these names. A request belongs to the second in which it ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Second {
    /// Which second since the start, from 1; none for what came after the last whole one.
    pub second: Option<u64>,
    /// When it ended, in milliseconds of Unix time; of the last line, when it was written.
    pub ended_unix_ms: u64,
    /// Requests that ended, the warm-up's aside: answered, failed, unsent and unfinished ones.
    pub requests: u64,
    /// Requests with an answer, whatever its status.
    pub answered_requests: u64,
    /// Requests without an answer.
    pub failed_requests: u64,
    /// Never sent; on the last line only.
    pub unsent_requests: u64,
    /// Sent, and cut off by a signal; on the last line only.
    pub unfinished_requests: u64,
    /// Requests of the warm-up, which no other number includes.
    pub warmup_requests: u64,
    /// Sent more than 1 ms after they were due.
    pub late_requests: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer by cause, as in the report.
    pub failures: BTreeMap<&'static str, u64>,
    /// Answers by how they came about.
    pub replies: Replies,
    /// Answers that did not wait for the origin, of all answers.
    pub hit_ratio: Option<f64>,
    /// Of answered requests; none if there is none.
    pub latency_us: Option<Latency>,
    /// All latencies, so that percentiles of longer windows can be had: pairs of microseconds and how many
    /// answers took so long, to a thousandth. Ascending.
    pub latency_counts: Vec<(u64, u64)>,
}

/// The file that lines are appended to.
#[derive(Debug)]
pub struct Timeline {
    file: File,
    path: PathBuf,
    /// When the first request is due.
    start: SystemTime,
    failure: Option<String>,
}

impl Timeline {
    /// One in this file, which is emptied if it is there.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: File::create(path)?,
            path: path.to_owned(),
            start: UNIX_EPOCH,
            failure: None,
        })
    }

    /// Notes when the first request is due.
    pub(super) fn begin(&mut self, start: Instant) {
        self.start = now() + start.saturating_duration_since(Instant::now());
    }

    /// Writes a whole second. After a failure nothing more is written.
    pub(super) fn report(&mut self, second: u64, record: &Record) {
        let ended = self.start + SNAPSHOT_INTERVAL.mul_f64(second as f64);
        self.write(&Second::new(Some(second), ended, record));
    }

    /// Writes what came after the last whole second.
    pub(super) fn end(&mut self, rest: &Record) {
        self.write(&Second::new(None, now(), rest));
    }

    /// Says why it is not complete, if it is not.
    pub(super) fn failure(self) -> Option<String> {
        self.failure
    }

    fn write(&mut self, second: &Second) {
        if self.failure.is_some() {
            return;
        }
        let line = serde_json::to_string(second).expect("a second has nothing but plain data");
        // In one piece, so that a reader of the file finds no half of a line.
        if let Err(error) = self.file.write_all((line + "\n").as_bytes()) {
            let reason = format!("cannot write {}: {error}", self.path.display());
            self.failure = Some(reason);
        }
    }
}

impl Second {
    fn new(second: Option<u64>, ended: SystemTime, record: &Record) -> Self {
        let (answered, failed) = (record.answered(), record.failed());
        let since = ended.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let counts = record.latency.iter_recorded();
        Self {
            second,
            ended_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            requests: answered + failed + record.unsent + record.unfinished,
            answered_requests: answered,
            failed_requests: failed,
            unsent_requests: record.unsent,
            unfinished_requests: record.unfinished,
            warmup_requests: record.warmup,
            late_requests: record.late,
            statuses: record.statuses.clone(),
            failures: failures(record),
            replies: record.replies,
            hit_ratio: record.replies.hit_ratio(),
            latency_us: (answered > 0).then(|| Latency::of(record)),
            latency_counts: counts
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "other programs' clocks are compared with it"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_times_the_sums_and_all_latencies() {
        let mut record = Record::new();
        for latency_us in [100, 100, 100, 5_000] {
            record.latency.record(latency_us).unwrap();
        }
        record.statuses = BTreeMap::from([(200, 3), (503, 1)]);
        record.replies.hit = 3;
        record.replies.untold = 1;
        let second = Second::new(Some(7), UNIX_EPOCH + Duration::from_millis(1234), &record);
        assert_eq!((second.second, second.ended_unix_ms), (Some(7), 1234));
        assert_eq!((second.requests, second.hit_ratio), (4, Some(0.75)));
        let [(low, three), (high, one)] = second.latency_counts[..] else {
            panic!("two latencies: {second:?}");
        };
        assert_eq!((three, one, low), (3, 1, 100));
        assert!(high.abs_diff(5_000) <= 5, "{high}");
    }

    #[test]
    fn what_cannot_be_written_is_reported_and_not_tried_again() {
        let Ok(mut timeline) = Timeline::create(Path::new("/dev/full")) else {
            return; // Not Linux.
        };
        timeline.report(1, &Record::new());
        timeline.end(&Record::new());
        let reason = timeline.failure().unwrap();
        assert!(reason.starts_with("cannot write /dev/full: "), "{reason}");
    }
}
