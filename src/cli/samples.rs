//! What members cache and how often they are asked, as they count it themselves: from the metrics on
//! their admin ports, looked at twice.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use tokio::time::{Instant, sleep};

use crate::client::{Bounds, ask_within};
use crate::metrics::{CACHE_ENTRIES, CACHE_MEMORY, LOADED_KEYS, NODE_CALLS};
use crate::topology::model::member::MemberRecord;

/// Between the two looks. Long enough for a rate, short enough for a person who waits for it.
const BETWEEN: Duration = Duration::from_secs(2);

/// How long a member may take to answer, and how much it may say.
const BOUNDS: Bounds = Bounds {
    deadline: Duration::from_secs(1),
    body_bytes: 16 << 20,
};

/// Outcomes of look-ups that the cache answered; see [`NODE_CALLS`].
const HITS: [&str; 5] = [
    "hit",
    "negative-hit",
    "error-hit",
    "stale",
    "stale-if-error",
];

/// Outcomes of look-ups that waited for a load.
const MISSES: [&str; 2] = ["miss", "collapsed"];

/// What a member caches, and what it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// Charged to entries.
    pub(super) bytes: f64,
    pub(super) entries: f64,
    /// Look-ups per second.
    pub(super) requests: f64,
    /// Those that the cache answered, per second.
    pub(super) hits: f64,
    /// Keys asked of the origin per second.
    pub(super) loads: f64,
}

/// Samples each of the members; none for one that does not answer both times.
pub(super) async fn of(members: &[&MemberRecord]) -> Vec<Option<Sample>> {
    let began = Instant::now();
    let first = look(members).await;
    sleep(BETWEEN).await;
    let passed = began.elapsed().as_secs_f64();
    let second = look(members).await;
    let both = first.into_iter().zip(second);
    both.map(|(first, second)| Some(rate(first?, second?, passed)))
        .collect()
}

/// The counts are of two moments; the sizes of the later one.
fn rate(first: Sample, second: Sample, seconds: f64) -> Sample {
    // A count that went down was begun anew: the node has restarted between the two.
    let rate = |first: f64, second: f64| (second - first).max(0.0) / seconds;
    Sample {
        requests: rate(first.requests, second.requests),
        hits: rate(first.hits, second.hits),
        loads: rate(first.loads, second.loads),
        ..second
    }
}

async fn look(members: &[&MemberRecord]) -> Vec<Option<Sample>> {
    join_all(members.iter().map(async |member| {
        let host = match member.host.contains(':') {
            true => format!("[{}]", member.host),
            false => member.host.to_string(),
        };
        let url = format!("http://{host}:{}/metrics", member.admin_port);
        let answer = ask_within(Method::GET, &url, BOUNDS).await.ok()?;
        let text = str::from_utf8(&answer.body).ok()?;
        answer.status.is_success().then(|| read(text, &member.name))
    }))
    .await
}

/// The counts of one member in an exposition, which in `gcache dev` is of all of them.
fn read(text: &str, member: &str) -> Sample {
    let sum = |name: &str, label: Option<String>| -> f64 {
        let own = format!("node=\"{member}\"");
        let samples = text.lines().filter_map(|line| {
            let (shown, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let is_it = shown.is_empty() || (shown.starts_with('{') && shown.ends_with('}'));
            let is_own = !shown.contains("node=\"") || shown.contains(&own);
            let has = label.as_ref().is_none_or(|label| shown.contains(label));
            (is_it && is_own && has).then(|| value.parse::<f64>().ok())?
        });
        samples.sum()
    };
    let calls = |outcome: &&str| {
        let label = format!("outcome=\"{outcome}\"");
        sum(NODE_CALLS, Some(label))
    };
    let hits: f64 = HITS.iter().map(calls).sum();
    let misses: f64 = MISSES.iter().map(calls).sum();
    Sample {
        bytes: sum(CACHE_MEMORY, None),
        entries: sum(CACHE_ENTRIES, None),
        requests: hits + misses,
        hits,
        loads: sum(LOADED_KEYS, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_distinguished_from_the_others_of_one_exposition() {
        let text = "# TYPE gcache_cache_entries gauge\n\
            gcache_cache_entries{node=\"n1\"} 5\n\
            gcache_cache_entries{node=\"n11\"} 70\n\
            gcache_node_calls_total{node=\"n1\",group=\"a\",outcome=\"hit\"} 3\n\
            gcache_node_calls_total{node=\"n1\",group=\"a\",outcome=\"negative-hit\"} 1\n\
            gcache_node_calls_total{node=\"n1\",group=\"b\",outcome=\"miss\"} 2\n\
            gcache_node_calls_total{node=\"n1\",group=\"b\",outcome=\"deleted\"} 9\n";
        let sample = read(text, "n1");
        assert_eq!(
            (sample.entries, sample.hits, sample.requests),
            (5.0, 4.0, 6.0)
        );
        let alone = read("gcache_cache_memory_bytes 77\n", "n1");
        assert_eq!(alone.bytes, 77.0);
    }

    #[test]
    fn rates_are_of_what_was_counted_between_the_two_looks() {
        let at = |hits, bytes| Sample {
            hits,
            bytes,
            ..Sample::default()
        };
        let sample = rate(at(100.0, 1.0), at(300.0, 9.0), 2.0);
        assert_eq!((sample.hits, sample.bytes), (100.0, 9.0));
        assert_eq!(rate(at(100.0, 1.0), at(5.0, 9.0), 2.0).hits, 0.0);
    }
}
