//! Windows, sums and the joining of what two clocks told.

use std::collections::BTreeMap;

use crate::counters::Total;
use crate::windows::*;

fn point(at: f64, requests: u64, hits: u64) -> Point {
    Point {
        at,
        requests,
        hits,
        origin_calls: 2.0,
        latency_counts: vec![(100, hits), (6_000, requests - hits)],
        ..Point::default()
    }
}

#[test]
fn windows_are_as_long_as_their_requests_need_and_begin_with_every_second() {
    let points: Vec<_> = [10, 10, 5, 30, 10]
        .iter()
        .enumerate()
        .map(|(at, &requests)| point(at as f64, requests, 0))
        .collect();
    let lengths: Vec<_> = windows(&points, 20).map(<[Point]>::len).collect();
    // The last second alone has too few.
    assert_eq!(lengths, [2, 3, 2, 1]);
    assert_eq!(windows(&points, 66).count(), 0);
}

#[test]
fn only_whole_seconds_are_between_two_times() {
    let points: Vec<_> = (0..5).map(|n| point(f64::from(n) - 2.5, 10, 9)).collect();
    let at = |from, to| -> Vec<f64> {
        between(&points, from, to)
            .iter()
            .map(|point| point.at)
            .collect()
    };
    assert_eq!(at(-10.0, 0.0), [-2.5, -1.5]);
    assert_eq!(at(0.0, 2.5), [0.5, 1.5]);
    assert_eq!(at(1.0, 0.0), [0.0; 0]);
}

#[test]
fn sums_have_ratios_of_sums_and_quantiles_over_all_answers() {
    let sums = Sums::of(&[point(0.0, 1000, 998), point(1.0, 1000, 1000)]);
    assert_eq!((sums.requests, sums.hit_ratio), (2000, 0.999));
    assert_eq!(sums.origin_calls_per_second, 2.0);
    assert_eq!((sums.p99_us, sums.p99_9_us), (100, 100));
    let sums = Sums::of(&[point(0.0, 1000, 997), point(1.0, 1000, 1000)]);
    assert_eq!(sums.p99_9_us, 6_000, "three of two thousand are slow");
    assert_eq!(Sums::of(&[]).p99_us, 0);
}

#[test]
fn the_origin_is_asked_in_the_second_in_which_its_counters_grew() {
    let second = |number: u64, answered: u64, good: u64| Second {
        second: (number > 0).then_some(number),
        ended_unix_ms: 10_000 + 1_000 * number,
        answered_requests: answered,
        failed_requests: 1,
        unsent_requests: 0,
        late_requests: 0,
        statuses: BTreeMap::from([(200, good)]),
        replies: Replies {
            hit: 5,
            ..Replies::default()
        },
        latency_counts: Vec::new(),
    };
    let total = |unix_ms, calls| Total {
        unix_ms,
        calls,
        ..Total::default()
    };
    let totals = [total(10_500.0, 0.0), total(12_500.0, 40.0)];
    let seconds = [second(1, 9, 9), second(2, 9, 7), second(0, 9, 9)];
    let points = points(&seconds, &totals, 11_000.0);
    let told: Vec<_> = points
        .iter()
        .map(|point| (point.at, point.requests, point.failed, point.origin_calls))
        .collect();
    assert_eq!(told, [(-1.0, 10, 1, 10.0), (0.0, 10, 3, 20.0)]);
}
