//! One load per key, which survives its callers (P1, P2), and the bounds on waiting.

use std::time::Duration;

use super::*;

#[test]
fn the_first_caller_leads_and_the_others_wait_for_the_same_bytes() {
    let bench = Bench::new();
    let (lead, first) = bench.lead("k");
    let second = bench.join("k");
    assert_eq!(
        (lead.key(), lead.group(), lead.hash()),
        (&b"k"[..], GROUP, hash("k"))
    );
    assert_eq!(bench.cache.stats().waiters, 2);
    let own = lead.finish(Loaded::Value(b"v"), &bench.fill());
    let (first, second) = (outcome_now(first).unwrap(), outcome_now(second).unwrap());
    assert!(own.stored && first.stored && second.stored);
    assert!(first.entry.is_same(&second.entry) && first.entry.is_same(&own.entry));
    assert_eq!(bench.get("k").unwrap().value(), b"v");
    bench.assert_settled();
}

#[test]
fn whoever_comes_after_the_landing_finds_the_entry_and_starts_no_second_load() {
    let bench = Bench::new();
    bench.load_value("k", "v");
    assert!(matches!(bench.ask("k"), Found::Fresh(_)));
    bench.assert_settled();
}

#[test]
fn a_load_survives_the_caller_who_started_it() {
    let bench = Bench::new();
    let (lead, wait) = bench.lead("k");
    let other = bench.join("k");
    drop(wait);
    assert_eq!(bench.cache.stats().waiters, 1);
    lead.finish(Loaded::Value(b"v"), &bench.fill());
    assert_eq!(value(&outcome_now(other).unwrap()), "v");
    bench.assert_settled();
}

#[test]
fn a_load_nobody_waits_for_any_more_is_still_joined_and_still_stored() {
    let bench = Bench::new();
    let (lead, wait) = bench.lead("k");
    drop(wait);
    assert_eq!(bench.cache.stats().waiters, 0);
    drop(bench.join("k"));
    assert!(lead.finish(Loaded::Value(b"v"), &bench.fill()).stored);
    bench.assert_settled();
}

#[test]
fn a_panicking_load_answers_its_waiters_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let (lead, wait) = bench.lead("k");
    let load = std::panic::AssertUnwindSafe(move || {
        let _lead = lead;
        std::panic::resume_unwind(Box::new("the loader's bug"));
    });
    assert!(std::panic::catch_unwind(load).is_err());
    let outcome = outcome_now(wait).unwrap();
    assert_eq!(outcome.entry.error().unwrap().kind, LoadErrorKind::Internal);
    assert!(!outcome.stored);
    bench.assert_settled();
    assert!(
        bench.load_value("k", "v").stored,
        "the next caller leads at once"
    );
}

#[test]
fn an_aborted_refresh_leaves_the_stale_value_and_the_next_caller_refreshes() {
    let mut bench = Bench::new();
    bench.load_value("k", "v");
    bench.later(1_000);
    for _ in 0..2 {
        let Found::Stale {
            entry,
            refresh: Some(refresh),
        } = bench.ask("k")
        else {
            panic!()
        };
        assert_eq!(entry.value(), b"v");
        drop(refresh);
    }
    bench.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_waiters_deadline_ends_his_wait_and_not_the_load() {
    let bench = Bench::new();
    let (lead, wait) = bench.lead("k");
    assert!(
        tokio::time::timeout(Duration::from_secs(10), wait.outcome())
            .await
            .is_err()
    );
    let stats = bench.cache.stats();
    assert_eq!(
        (stats.flights, stats.waiters),
        (1, 0),
        "the load hangs, nobody waits"
    );
    let patient = bench.join("k");
    assert!(lead.finish(Loaded::Value(b"v"), &bench.fill()).stored);
    assert_eq!(value(&patient.outcome().await), "v");
    bench.assert_settled();
}

#[tokio::test]
async fn ten_thousand_waiters_are_all_answered_from_one_load() {
    let bench = Bench::new();
    let (lead, wait) = bench.lead("k");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(wait.outcome());
    for _ in 1..10_000 {
        tasks.spawn(bench.join("k").outcome());
    }
    // Every task is polled once and parked before the landing.
    tokio::task::yield_now().await;
    assert_eq!(bench.cache.stats().waiters, 10_000);
    let own = lead.finish(Loaded::Value(b"v"), &bench.fill());
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.len(), 10_000);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.entry.is_same(&own.entry))
    );
    bench.assert_settled();
}

#[test]
fn waiters_per_key_are_bounded_exactly() {
    let bench = Bench::limited(1 << 20, 3, 100);
    let (lead, first) = bench.lead("k");
    let others = [bench.join("k"), bench.join("k")];
    assert!(matches!(
        bench.ask("k"),
        Found::Refused {
            reason: Refused::PerKey,
            ..
        }
    ));
    let elsewhere = bench.lead("other");
    drop(first);
    let last = bench.join("k");
    assert!(matches!(
        bench.ask("k"),
        Found::Refused {
            reason: Refused::PerKey,
            ..
        }
    ));
    drop((lead, others, last, elsewhere));
    bench.assert_settled();
}

#[test]
fn waiters_per_group_are_bounded_exactly_and_a_refused_caller_opens_no_flight() {
    let bench = Bench::limited(1 << 20, 100, 3);
    let leads = [bench.lead("a"), bench.lead("b")];
    let third = bench.join("a");
    for key in ["a", "b", "c"] {
        assert!(
            matches!(
                bench.ask(key),
                Found::Refused {
                    reason: Refused::PerGroup,
                    ..
                }
            ),
            "{key}"
        );
    }
    assert_eq!(bench.cache.stats().flights, 2);
    assert_eq!(bench.cache.stats().groups[&GROUP].waiters, 3);
    let other = Request {
        group: GroupId(2),
        ..bench.request("a")
    };
    let in_other_group = bench.cache.get_or_join(&other);
    assert!(
        matches!(in_other_group, Found::Lead { .. }),
        "groups do not crowd each other out"
    );
    drop(third);
    let fourth = bench.lead("c");
    drop((leads, in_other_group, fourth));
    bench.assert_settled();
}

#[test]
fn groups_that_many_wait_for_leave_places_for_another() {
    let bench = Bench::limited(1 << 20, 100, 8);
    let in_group = |group, key| {
        let request = Request {
            group: GroupId(group),
            ..bench.request(key)
        };
        bench.cache.get_or_join(&request)
    };
    // 16 places in all: 8 for the first, then half of what is left, and so on.
    for (group, places) in [(1, 8), (2, 4), (3, 2), (4, 1)] {
        let mut waits = Vec::new();
        let refused = loop {
            match in_group(group, "a") {
                Found::Refused { reason, .. } => break reason,
                found => waits.push(found),
            }
        };
        let bound = if group == 1 {
            Refused::PerGroup
        } else {
            Refused::InAll
        };
        assert_eq!((waits.len(), refused), (places, bound), "group {group}");
        std::mem::forget(waits);
    }
    assert!(matches!(in_group(5, "a"), Found::Lead { .. }));
}

#[test]
fn a_refused_caller_gets_the_value_that_may_be_served_on_errors() {
    let mut bench = Bench::limited(1 << 20, 1, 100);
    bench.load_value("k", "v");
    bench.later(2_000);
    let (_lead, _wait) = bench.lead("k");
    let Found::Refused {
        fallback: Some(entry),
        ..
    } = bench.ask("k")
    else {
        panic!()
    };
    assert!(entry.serves_on_error(bench.now));
}

#[test]
fn a_late_guard_cannot_remove_its_successor() {
    let bench = Bench::new();
    for finishes in [false, true] {
        let (late, first) = bench.lead("k");
        bench.delete("k");
        let (successor, second) = bench.lead("k");
        if finishes {
            assert!(!late.finish(Loaded::Value(b"old"), &bench.fill()).stored);
        } else {
            drop(late);
        }
        assert!(outcome_now(first).is_some());
        let joined = bench.join("k");
        assert!(
            successor
                .finish(Loaded::Value(b"new"), &bench.fill())
                .stored
        );
        assert_eq!(value(&outcome_now(second).unwrap()), "new");
        assert_eq!(value(&outcome_now(joined).unwrap()), "new");
        bench.delete("k");
    }
    bench.assert_settled();
}

#[test]
fn keys_with_one_hash_have_flights_of_their_own() {
    let bench = Bench::new();
    let collide = |key: &'static str| Request {
        hash: hash("a"),
        ..bench.request(key)
    };
    let Found::Lead {
        lead: a,
        wait: wait_a,
        ..
    } = bench.cache.get_or_join(&collide("a"))
    else {
        panic!()
    };
    let Found::Lead {
        lead: b,
        wait: wait_b,
        ..
    } = bench.cache.get_or_join(&collide("b"))
    else {
        panic!("the other key must not join the first one's flight")
    };
    bench.cache.delete(GROUP, b"b", hash("a"));
    assert!(a.finish(Loaded::Value(b"of a"), &bench.fill()).stored);
    assert!(
        !b.finish(Loaded::Value(b"of b"), &bench.fill()).stored,
        "its flight was closed"
    );
    assert_eq!(value(&outcome_now(wait_a).unwrap()), "of a");
    assert_eq!(value(&outcome_now(wait_b).unwrap()), "of b");
    bench.assert_settled();
}
