//! Counters of many processes that start and die on the way, as sums that only grow. Pure.

use std::collections::BTreeMap;

use super::metrics;

/// Counters of a node since it started, and gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// Calls to the origin.
    pub(crate) calls: f64,
    /// Keys that these asked for.
    pub(crate) keys: f64,
    /// Seconds that they took.
    pub(crate) call_seconds: f64,
    pub(crate) evicted: f64,
    pub(crate) entries: f64,
}

/// A moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) unix_ms: f64,
    /// By index, of those that answered.
    pub(crate) nodes: BTreeMap<usize, Counters>,
    /// Processor seconds since each process began, summed by what it is.
    pub(crate) cpu: BTreeMap<&'static str, f64>,
}

/// What all nodes together had counted at a moment, since the first sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Total {
    pub(crate) unix_ms: f64,
    pub(crate) calls: f64,
    pub(crate) keys: f64,
    pub(crate) call_seconds: f64,
}

impl Counters {
    /// Reads a node's metrics.
    pub(crate) fn read(text: &str) -> Self {
        let sum = |name| metrics::sum(text, name, &[]);
        Self {
            calls: sum("gcache_origin_load_seconds_count"),
            keys: sum("gcache_origin_loaded_keys_total"),
            call_seconds: sum("gcache_origin_load_seconds_sum"),
            evicted: sum("gcache_cache_evicted_entries_total"),
            entries: sum("gcache_cache_entries"),
        }
    }
}

/// Sums over nodes. One that was not there counts from 0, one that began anew goes on from there, and of
/// one that is gone stays what it had counted.
pub(crate) fn totals(samples: &[Sample]) -> Vec<Total> {
    let mut known: BTreeMap<usize, Counters> = match samples.first() {
        Some(first) => first.nodes.clone(),
        None => BTreeMap::new(),
    };
    let mut total = Total::default();
    let mut totals = Vec::new();
    for sample in samples {
        total.unix_ms = sample.unix_ms;
        for (&node, now) in &sample.nodes {
            let before = known.insert(node, *now).unwrap_or_default();
            // All of them began anew if one did.
            let before = match now.calls < before.calls || now.keys < before.keys {
                true => Counters::default(),
                false => before,
            };
            total.calls += now.calls - before.calls;
            total.keys += now.keys - before.keys;
            total.call_seconds += now.call_seconds - before.call_seconds;
        }
        totals.push(total);
    }
    totals
}

/// The total at a moment: on the line between the two samples around it, and outside of them the nearest.
pub(crate) fn at(totals: &[Total], unix_ms: f64) -> Total {
    let after = totals.partition_point(|total| total.unix_ms < unix_ms);
    let (Some(first), Some(last)) = (totals.first(), totals.last()) else {
        return Total::default();
    };
    if after == 0 {
        return *first;
    }
    let Some(right) = totals.get(after) else {
        return *last;
    };
    let left = totals[after - 1];
    let share = (unix_ms - left.unix_ms) / (right.unix_ms - left.unix_ms);
    let between = |a: f64, b: f64| a + (b - a) * share;
    Total {
        unix_ms,
        calls: between(left.calls, right.calls),
        keys: between(left.keys, right.keys),
        call_seconds: between(left.call_seconds, right.call_seconds),
    }
}
