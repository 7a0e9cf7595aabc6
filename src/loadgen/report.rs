//! What a run came to: for programs as JSON, whose field names stand here; for people in `table`. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::connection::Cause;
use super::plan::{Pacing, Plan};
use super::record::Record;
use super::replies::Replies;
use super::verify::Verification;

/// What a run came to. Its JSON has these names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What was asked for.
    pub plan: Planned,
    /// From the end of the warm-up to the last answer, or to the end of the plan if that came later.
    pub measured_seconds: f64,
    /// Whether a signal ended the run early.
    pub interrupted: bool,
    /// All that were due, the warm-up's aside: answered, failed, unsent and unfinished ones.
    pub requests: u64,
    /// Requests with an answer, whatever its status.
    pub answered_requests: u64,
    /// Requests without an answer.
    pub failed_requests: u64,
    /// Never sent: no connection was free until a second after the end.
    pub unsent_requests: u64,
    /// Sent, and cut off by the signal.
    pub unfinished_requests: u64,
    /// Requests of the warm-up, which no other number includes.
    pub warmup_requests: u64,
    /// Answers per second measured.
    pub answered_per_second: f64,
    /// Sent more than 1 ms after they were due; always 0 in a closed loop.
    pub late_requests: u64,
    /// The longest that one was sent after it was due.
    pub greatest_lag_us: u64,
    /// Connections opened, also those opened again.
    pub connects: u64,
    /// Of all bodies.
    pub body_bytes: u64,
    /// What latencies count from: `intended_send`, or `send` in a closed loop.
    pub latency_from: &'static str,
    /// Of answered requests; none if there is none.
    pub latency_us: Option<Latency>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer by cause: `connect`, `timeout`, `closed`, `protocol`.
    pub failures: BTreeMap<&'static str, u64>,
    /// Answers by how they came about.
    pub replies: Replies,
    /// Answers that did not wait for the origin, of all answers.
    pub hit_ratio: Option<f64>,
    /// The comparison with the origin, if one was asked for.
    pub verification: Option<Verification>,
    /// Why the timeline is not complete, if one was asked for and it is not.
    pub timeline_failure: Option<String>,
}

/// What was planned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    /// Base URLs of the frontends.
    pub urls: Vec<String>,
    /// The cache group.
    pub group: String,
    /// The size of the key space.
    pub keys: u64,
    /// How an index becomes a key.
    pub key_format: String,
    /// Which keys how often.
    pub distribution: String,
    /// Decides the sequence of keys.
    pub seed: u64,
    /// `open` or `closed`.
    pub pacing: &'static str,
    /// Of an open loop.
    pub rate_per_second: Option<f64>,
    /// Of an open loop: `even` or `poisson`.
    pub arrivals: Option<String>,
    /// Of a closed loop; in an open loop the bound.
    pub connections: usize,
    /// How long requests were to be recorded.
    pub duration_seconds: f64,
    /// How long requests were to be sent before that.
    pub warmup_seconds: f64,
    /// How long one request may take.
    pub timeout_seconds: f64,
}

/// Latencies of answered requests, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: u64,
    /// Half of them are at most as long.
    pub p50: u64,
    /// 90 % are at most as long.
    pub p90: u64,
    /// 99 % are at most as long.
    pub p99: u64,
    /// 99.9 % are at most as long.
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
    /// The mean.
    pub mean: f64,
}

impl Report {
    /// The report of a run that was `measured` for this long.
    pub(super) fn new(plan: &Plan, record: &Record, measured: Duration, interrupted: bool) -> Self {
        let (answered, failed) = (record.answered(), record.failed());
        let measured_seconds = measured.as_secs_f64();
        Self {
            plan: Planned::new(plan),
            measured_seconds,
            interrupted,
            requests: answered + failed + record.unsent + record.unfinished,
            answered_requests: answered,
            failed_requests: failed,
            unsent_requests: record.unsent,
            unfinished_requests: record.unfinished,
            warmup_requests: record.warmup,
            answered_per_second: if measured.is_zero() {
                0.0
            } else {
                answered as f64 / measured_seconds
            },
            late_requests: record.late,
            greatest_lag_us: micros(record.greatest_lag),
            connects: record.connects,
            body_bytes: record.body_bytes,
            latency_from: match plan.pacing {
                Pacing::Open { .. } => "intended_send",
                Pacing::Closed { .. } => "send",
            },
            latency_us: (answered > 0).then(|| Latency::of(record)),
            statuses: record.statuses.clone(),
            failures: failures(record),
            replies: record.replies,
            hit_ratio: record.replies.hit_ratio(),
            verification: None,
            timeline_failure: None,
        }
    }

    /// Returns what makes the run a failure, if anything: nothing was answered, or what was answered is
    /// wrong, or what was to be written was not.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        if self.answered_requests + self.warmup_requests == 0 {
            return Some("no request was answered".into());
        }
        let wrong = self.verification.as_ref().and_then(wrong);
        wrong.or_else(|| {
            let reason = self.timeline_failure.as_ref()?;
            Some(format!("the timeline is not complete: {reason}"))
        })
    }

    /// The report as JSON, with a line's end.
    #[must_use]
    pub fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("a report has nothing but plain data");
        text + "\n"
    }
}

impl Planned {
    fn new(plan: &Plan) -> Self {
        let (pacing, rate_per_second, arrivals, connections) = match plan.pacing {
            Pacing::Open {
                rate_per_second,
                arrivals,
                max_connections,
            } => (
                "open",
                Some(rate_per_second),
                Some(arrivals.to_string()),
                max_connections,
            ),
            Pacing::Closed { connections } => ("closed", None, None, connections),
        };
        Self {
            urls: plan.targets.iter().map(|t| t.url.clone()).collect(),
            group: plan.group.clone(),
            keys: plan.keys,
            key_format: plan.key_format.clone(),
            distribution: plan.distribution.to_string(),
            seed: plan.seed,
            pacing,
            rate_per_second,
            arrivals,
            connections,
            duration_seconds: plan.duration.as_secs_f64(),
            warmup_seconds: plan.warmup.as_secs_f64(),
            timeout_seconds: plan.timeout.as_secs_f64(),
        }
    }
}

/// Returns what a comparison with the origin found wrong.
fn wrong(found: &Verification) -> Option<String> {
    if found.is_clean() {
        return None;
    }
    Some(if found.keys_different > 0 {
        format!(
            "{} of {} keys were answered with something else than the origin has",
            found.keys_different, found.keys_compared
        )
    } else if let Some(failure) = &found.failure {
        format!(
            "{} keys could not be compared with the origin: {failure}",
            found.keys_failed
        )
    } else {
        "no key was compared with the origin".into()
    })
}

/// Requests without an answer by every cause there is.
pub(super) fn failures(record: &Record) -> BTreeMap<&'static str, u64> {
    let count = |cause: &Cause| record.failures.get(cause).copied().unwrap_or(0);
    let causes = Cause::ALL.iter();
    causes.map(|cause| (cause.name(), count(cause))).collect()
}

impl Latency {
    pub(super) fn of(record: &Record) -> Self {
        let latency = &record.latency;
        Self {
            min: latency.min(),
            p50: latency.value_at_quantile(0.5),
            p90: latency.value_at_quantile(0.9),
            p99: latency.value_at_quantile(0.99),
            p99_9: latency.value_at_quantile(0.999),
            max: latency.max(),
            mean: latency.mean(),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::plan::tests::options;
    use super::super::plan::{Options, Plan};
    use super::super::verify::Difference;
    use super::*;

    /// An open loop that had a bit of everything.
    pub(in crate::loadgen) fn eventful() -> Report {
        let mut record = Record::new();
        for latency_us in 1..=1000 {
            record.latency.record(latency_us).unwrap();
        }
        record.statuses = BTreeMap::from([(200, 990), (503, 10)]);
        record.failures = BTreeMap::from([(Cause::Timeout, 3), (Cause::Connect, 1)]);
        record.replies = Replies {
            hit: 890,
            stale: 10,
            miss: 90,
            untold: 10,
            stored: 89,
            standby: 5,
            ..Replies::default()
        };
        record.body_bytes = 5 << 20;
        record.late = 7;
        record.greatest_lag = Duration::from_micros(2345);
        record.connects = 12;
        record.unsent = 6;
        let plan = Plan::new(options()).unwrap();
        let mut report = Report::new(&plan, &record, Duration::from_secs(10), false);
        report.verification = Some(Verification {
            keys_compared: 400,
            keys_different: 1,
            keys_changed: 2,
            differences: vec![Difference {
                key: "key-7".into(),
                served_bytes: Some(3),
                origin_bytes: None,
            }],
            ..Verification::default()
        });
        report
    }

    #[test]
    fn the_json_has_units_in_its_names_and_the_plan() {
        let json: serde_json::Value = serde_json::from_str(&eventful().json()).unwrap();
        for (path, expected) in [
            ("/plan/urls/0", "\"http://127.0.0.1:9999\""),
            ("/plan/pacing", "\"open\""),
            ("/plan/rate_per_second", "1000.0"),
            ("/plan/distribution", "\"zipf:0.99\""),
            ("/plan/timeout_seconds", "10.0"),
            ("/requests", "1010"),
            ("/answered_requests", "1000"),
            ("/answered_per_second", "100.0"),
            ("/greatest_lag_us", "2345"),
            ("/latency_from", "\"intended_send\""),
            ("/latency_us/p99_9", "999"),
            ("/statuses/503", "10"),
            ("/failures/timeout", "3"),
            ("/failures/closed", "0"),
            ("/replies/hit", "890"),
            ("/hit_ratio", "0.9"),
            ("/verification/differences/0/served_bytes", "3"),
            ("/verification/differences/0/origin_bytes", "null"),
        ] {
            let value = json.pointer(path);
            assert_eq!(
                value.map(ToString::to_string).as_deref(),
                Some(expected),
                "{path}"
            );
        }
    }

    #[test]
    fn a_run_fails_if_nothing_was_answered_or_something_wrong_was() {
        let reason = eventful().failure().unwrap();
        assert!(
            reason.starts_with("1 of 400 keys were answered"),
            "{reason}"
        );
        let plain = Report {
            verification: None,
            ..eventful()
        };
        assert_eq!(plain.failure(), None);
        let cut_short = Report {
            timeline_failure: Some("no space".into()),
            ..plain
        };
        let reason = cut_short.failure().unwrap();
        assert_eq!(reason, "the timeline is not complete: no space");
        let plan = Plan::new(Options {
            connections: Some(1),
            ..options()
        });
        let idle = Report::new(&plan.unwrap(), &Record::new(), Duration::ZERO, true);
        assert_eq!(idle.failure().unwrap(), "no request was answered");
        assert_eq!((idle.latency_from, idle.latency_us), ("send", None));
        let incomplete = Report {
            verification: Some(Verification {
                keys_compared: 1,
                keys_failed: 2,
                failure: Some("gone".into()),
                ..Verification::default()
            }),
            ..eventful()
        };
        assert!(incomplete.failure().unwrap().ends_with("origin: gone"));
    }
}
