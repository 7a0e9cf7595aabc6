//! Seconds of a run, beside each other: what the load saw and what the origin was asked; and windows of
//! them. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counters::{Total, at};

/// No shorter window is judged: in a few requests a share says little.
pub(crate) const WINDOW_REQUESTS: u64 = 20_000;

/// A line of the load's timeline, what is needed of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Second {
    /// None on the last line, which is no whole second.
    pub(crate) second: Option<u64>,
    pub(crate) ended_unix_ms: u64,
    pub(crate) answered_requests: u64,
    pub(crate) failed_requests: u64,
    pub(crate) unsent_requests: u64,
    pub(crate) late_requests: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) replies: Replies,
    /// Microseconds, and how many answers took so long.
    pub(crate) latency_counts: Vec<(u64, u64)>,
}

/// Answers by how they came about, what is needed of them.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Replies {
    pub(crate) hit: u64,
    pub(crate) stale: u64,
    pub(crate) standby: u64,
    pub(crate) last_resort: u64,
}

/// A second around a change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    /// When it began, in seconds since the change.
    pub(crate) at: f64,
    /// Answered or failed, whatever the status.
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    /// Without an answer, or with another status than 200: every key is there.
    pub(crate) failed: u64,
    pub(crate) late: u64,
    /// Answered in place of the owner.
    pub(crate) substituted: u64,
    pub(crate) origin_calls: f64,
    pub(crate) origin_keys: f64,
    pub(crate) latency_counts: Vec<(u64, u64)>,
}

/// Sums over some seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums {
    /// How many seconds.
    pub(crate) seconds: f64,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Sent more than 1 ms after they were due.
    pub(crate) late: u64,
    /// Answered in place of the owner.
    pub(crate) substituted: u64,
    /// Of all requests.
    pub(crate) hit_ratio: f64,
    pub(crate) origin_calls_per_second: f64,
    pub(crate) origin_keys_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p99_9_us: u64,
}

/// Joins the load's seconds with the origin's totals. `change` is when the change began, in milliseconds of
/// Unix time.
pub(crate) fn points(seconds: &[Second], totals: &[Total], change: f64) -> Vec<Point> {
    let whole = seconds.iter().filter(|second| second.second.is_some());
    let point = |second: &Second| {
        let ended = second.ended_unix_ms as f64;
        let (then, now) = (at(totals, ended - 1e3), at(totals, ended));
        let good = second.statuses.get(&200).copied().unwrap_or(0);
        let Replies {
            hit,
            stale,
            standby,
            last_resort,
        } = second.replies;
        Point {
            at: (ended - 1e3 - change) / 1e3,
            requests: second.answered_requests + second.failed_requests + second.unsent_requests,
            hits: hit + stale,
            failed: second.failed_requests
                + second.unsent_requests
                + (second.answered_requests - good),
            late: second.late_requests,
            substituted: standby + last_resort,
            origin_calls: now.calls - then.calls,
            origin_keys: now.keys - then.keys,
            latency_counts: second.latency_counts.clone(),
        }
    };
    whole.map(point).collect()
}

/// The points that lie wholly between two times.
pub(crate) fn between(points: &[Point], from: f64, to: f64) -> &[Point] {
    let first = points.partition_point(|point| point.at < from);
    let end = points.partition_point(|point| point.at + 1.0 <= to);
    &points[first..end.max(first)]
}

/// Every window of consecutive seconds that has at least `requests` and is no longer than it must be.
pub(crate) fn windows(points: &[Point], requests: u64) -> impl Iterator<Item = &[Point]> {
    (0..points.len()).filter_map(move |first| {
        let mut seen = 0;
        let length = points[first..].iter().position(|point| {
            seen += point.requests;
            seen >= requests
        })?;
        Some(&points[first..=first + length])
    })
}

/// The time that this share of latencies is not above; 0 if there are none.
pub(crate) fn quantile(counts: impl Iterator<Item = (u64, u64)>, share: f64) -> u64 {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    for (us, count) in counts {
        *sums.entry(us).or_default() += count;
    }
    let all: u64 = sums.values().sum();
    let rank = (all as f64 * share).ceil().max(1.0) as u64;
    let mut seen = 0;
    let found = sums.iter().find(|(_, count)| {
        seen += **count;
        seen >= rank
    });
    found.map_or(0, |(us, _)| *us)
}

impl Sums {
    pub(crate) fn of(points: &[Point]) -> Self {
        let seconds = points.len() as f64;
        let sum = |of: fn(&Point) -> u64| points.iter().map(of).sum::<u64>();
        let rate = |of: fn(&Point) -> f64| {
            let sum: f64 = points.iter().map(of).sum();
            sum / seconds.max(1.0)
        };
        let requests = sum(|point| point.requests);
        let tail = |share| {
            let counts = points.iter().flat_map(|point| point.latency_counts.clone());
            quantile(counts, share)
        };
        Self {
            seconds,
            requests,
            failed: sum(|point| point.failed),
            late: sum(|point| point.late),
            substituted: sum(|point| point.substituted),
            hit_ratio: sum(|point| point.hits) as f64 / (requests as f64).max(1.0),
            origin_calls_per_second: rate(|point| point.origin_calls),
            origin_keys_per_second: rate(|point| point.origin_keys),
            p50_us: tail(0.5),
            p99_us: tail(0.99),
            p99_9_us: tail(0.999),
        }
    }
}
