//! What meets a demand, and what misses it.

use crate::outcome::Settled;
use crate::scenario::Demand;
use crate::verdict::*;
use crate::windows::{Point, Sums, between};

/// Ten seconds before and ten after, of 10,000 requests; in the third one after the change this many
/// hit, this many fail, and all that miss take `slow_us`.
fn points(hits: u64, failed: u64, slow_us: u64) -> Vec<Point> {
    let point = |n: i32| {
        let (hits, failed, slow_us) = match n {
            2 => (hits, failed, slow_us),
            _ => (9_000, 0, 6_000),
        };
        Point {
            at: f64::from(n),
            requests: 10_000,
            hits,
            failed,
            origin_calls: (10_000 - hits) as f64 / 2.0,
            origin_keys: (10_000 - hits) as f64,
            latency_counts: vec![(100, hits), (slow_us, 10_000 - hits)],
            ..Point::default()
        }
    };
    (-10..10).map(point).collect()
}

fn judged(points: &[Point], steps: &[Settled], demand: Demand) -> Vec<bool> {
    let measured = Measured {
        points,
        steps,
        before: Sums::of(between(points, -10.0, 0.0)),
        during: Sums::of(between(points, 0.0, 5.0)),
        after: Sums::of(between(points, 5.0, 10.0)),
        since: Sums::of(between(points, 0.0, 10.0)),
    };
    let goals = judge(demand, &measured);
    goals.iter().map(|goal| goal.is_met).collect()
}

#[test]
fn each_demand_is_missed_by_a_bad_second_and_met_without() {
    let tail = Demand::P99RatioAfter {
        seconds: 1.0,
        ratio: 3.0,
    };
    let late = Demand::P99RatioAfter {
        seconds: 3.0,
        ratio: 3.0,
    };
    for (demand, good, bad, missed) in [
        // Two seconds are a window: half of the drop of one.
        (
            Demand::HitDropPoints(1.0),
            points(8_810, 0, 6_000),
            points(8_790, 0, 6_000),
            1,
        ),
        (
            Demand::HitFloor(0.9),
            points(7_210, 0, 6_000),
            points(7_190, 0, 6_000),
            1,
        ),
        (
            Demand::OriginRatio(1.25),
            points(8_510, 0, 6_000),
            points(8_490, 0, 6_000),
            2,
        ),
        (
            Demand::FailedShare(0.0),
            points(9_000, 0, 6_000),
            points(9_000, 1, 6_000),
            1,
        ),
        (
            Demand::FailedShare(1e-4),
            points(9_000, 10, 6_000),
            points(9_000, 11, 6_000),
            1,
        ),
        (
            Demand::NoFailureAfter(3.0),
            points(9_000, 9, 6_000),
            points(9_000, 9, 6_000),
            0,
        ),
        (
            Demand::NoFailureAfter(2.0),
            points(9_000, 0, 6_000),
            points(9_000, 1, 6_000),
            1,
        ),
        (
            Demand::TailRatio(2.0),
            points(9_000, 0, 12_000),
            points(9_000, 0, 12_001),
            1,
        ),
        (tail, points(9_000, 0, 17_999), points(9_000, 0, 18_000), 1),
        (late, points(9_000, 0, 6_000), points(9_000, 0, 90_000), 0),
    ] {
        assert!(
            judged(&good, &[], demand).iter().all(|met| *met),
            "{demand:?}"
        );
        let bad = judged(&bad, &[], demand);
        let misses = bad.iter().filter(|met| !**met).count();
        assert_eq!(misses, missed, "{demand:?}");
    }
}

#[test]
fn steps_are_judged_one_by_one_and_none_is_no_success() {
    let step = |seconds, moved| Settled {
        what: "a step".into(),
        seconds,
        moved,
        fair: 1024,
    };
    let points = points(9_000, 0, 6_000);
    for (steps, fair, soon) in [
        (vec![step(1.0, 1024), step(10.0, 1024)], true, true),
        (vec![step(1.0, 1024), step(10.1, 1025)], false, false),
        (vec![], false, false),
    ] {
        assert_eq!(judged(&points, &steps, Demand::FairMoves), [fair]);
        let soon_enough = judged(&points, &steps, Demand::ConvergedSeconds(10.0));
        assert_eq!(soon_enough, [soon]);
    }
}

#[test]
fn what_fewer_nodes_hold_less_is_no_fault_of_a_move() {
    let hits = |n: i32| match n {
        ..0 => 9_000,
        2 => 7_850,
        _ => 8_000,
    };
    let shrunk: Vec<Point> = (-10..10)
        .map(|n| Point {
            at: f64::from(n),
            requests: 20_000,
            hits: 2 * hits(n),
            origin_calls: (10_000 - hits(n)) as f64,
            origin_keys: (10_000 - hits(n)) as f64,
            ..Point::default()
        })
        .collect();
    assert_eq!(judged(&shrunk, &[], Demand::HitDropPoints(1.6)), [true]);
    assert_eq!(judged(&shrunk, &[], Demand::HitDropPoints(1.4)), [false]);
    assert_eq!(judged(&shrunk, &[], Demand::OriginRatio(1.1)), [true; 2]);
    assert_eq!(judged(&shrunk, &[], Demand::OriginRatio(1.05)), [false; 2]);
}
