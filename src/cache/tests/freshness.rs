//! Lifetimes, windows, negative entries and remembered failures.

use super::*;

/// Checks that `key` is stale, without taking the refresh along.
fn stale(bench: &Bench, key: &str) -> (Entry, bool) {
    match bench.ask(key) {
        Found::Stale { entry, refresh } => (entry, refresh.is_some()),
        other => panic!("{key} should be stale, not {other:?}"),
    }
}

fn fallback(bench: &Bench, key: &str) -> (Lead, Option<Entry>) {
    match bench.ask(key) {
        Found::Lead { lead, fallback, .. } => (lead, fallback),
        other => panic!("{key} should be led, not {other:?}"),
    }
}

#[test]
fn a_value_is_fresh_then_stale_then_a_miss_with_a_fallback_then_gone() {
    let mut bench = Bench::new();
    bench.load_value("k", "v");
    bench.later(999);
    assert!(matches!(bench.ask("k"), Found::Fresh(_)));
    bench.later(1);
    assert!(stale(&bench, "k").1);
    assert!(
        bench.get("k").is_none(),
        "a look-up without a refresh sees only what is fresh"
    );
    bench.later(500);
    assert_eq!(fallback(&bench, "k").1.unwrap().value(), b"v");
    bench.later(4_499);
    assert!(fallback(&bench, "k").1.is_some());
    bench.later(1);
    assert!(
        fallback(&bench, "k").1.is_none(),
        "stale_if_error is a hard cap"
    );
    bench.assert_settled();
}

#[test]
fn a_stale_value_has_exactly_one_refresher() {
    let mut bench = Bench::new();
    bench.load_value("k", "old");
    bench.later(1_000);
    let Found::Stale {
        refresh: Some(refresh),
        ..
    } = bench.ask("k")
    else {
        panic!()
    };
    for _ in 0..10 {
        let Found::Stale {
            entry,
            refresh: None,
        } = bench.ask("k")
        else {
            panic!()
        };
        assert_eq!(entry.value(), b"old");
    }
    assert!(refresh.finish(Loaded::Value(b"new"), &bench.fill()).stored);
    assert_eq!(bench.get("k").unwrap().value(), b"new");
    bench.assert_settled();
}

#[test]
fn once_the_stale_window_closes_callers_join_the_running_refresh() {
    let mut bench = Bench::new();
    bench.load_value("k", "old");
    bench.later(1_000);
    let Found::Stale {
        refresh: Some(refresh),
        ..
    } = bench.ask("k")
    else {
        panic!()
    };
    bench.later(500);
    let Found::Wait {
        wait,
        fallback: Some(_),
    } = bench.ask("k")
    else {
        panic!()
    };
    refresh.finish(Loaded::Value(b"new"), &bench.fill());
    assert_eq!(value(&outcome_now(wait).unwrap()), "new");
    bench.assert_settled();
}

#[test]
fn a_failed_refresh_keeps_the_stale_value_and_spares_the_origin_for_error_ttl() {
    let mut bench = Bench::new();
    bench.load_value("k", "v");
    bench.later(1_000);
    let Found::Stale {
        refresh: Some(refresh),
        ..
    } = bench.ask("k")
    else {
        panic!()
    };
    assert!(!refresh.finish(failed(UNAVAILABLE), &bench.fill()).stored);
    bench.later(199);
    assert!(
        !stale(&bench, "k").1,
        "the origin is not asked within error_ttl"
    );
    bench.later(1);
    assert!(stale(&bench, "k").1, "and is asked again after it");
    bench.assert_settled();
}

#[test]
fn past_the_stale_window_a_failure_is_answered_with_the_old_value_up_to_its_cap() {
    let mut bench = Bench::new();
    bench.load_value("k", "v");
    bench.later(5_900);
    let (lead, kept) = fallback(&bench, "k");
    assert!(kept.is_some_and(|entry| entry.serves_on_error(bench.now)));
    lead.finish(failed(UNAVAILABLE), &bench.fill());
    let (entry, is_refreshed) = stale(&bench, "k");
    assert_eq!(
        (entry.phase(bench.now), is_refreshed),
        (Phase::StaleOnError, false)
    );
    bench.later(100);
    assert!(!entry.serves_on_error(bench.now));
    assert!(
        fallback(&bench, "k").1.is_none(),
        "the cap holds although error_ttl is not over"
    );
    bench.assert_settled();
}

#[test]
fn overload_does_not_keep_the_origin_from_being_asked() {
    let mut bench = Bench::new();
    bench.load_value("k", "v");
    bench.later(1_000);
    let Found::Stale {
        refresh: Some(refresh),
        ..
    } = bench.ask("k")
    else {
        panic!()
    };
    refresh.finish(failed(LoadErrorKind::Overloaded), &bench.fill());
    assert!(stale(&bench, "k").1);
}

#[test]
fn a_failure_without_a_value_is_remembered_for_error_ttl() {
    let mut bench = Bench::new();
    assert!(bench.load("k", failed(UNAVAILABLE)).stored);
    bench.later(199);
    let Found::Fresh(entry) = bench.ask("k") else {
        panic!()
    };
    let error = entry.error().unwrap();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (UNAVAILABLE, "it failed")
    );
    bench.later(1);
    assert!(bench.load_value("k", "v").stored);
    bench.assert_settled();
}

#[test]
fn failures_that_are_not_the_origins_are_not_remembered() {
    let bench = Bench::new();
    for kind in [
        LoadErrorKind::Overloaded,
        LoadErrorKind::BadKey,
        LoadErrorKind::Internal,
    ] {
        let outcome = bench.load("k", failed(kind));
        assert_eq!(
            (outcome.stored, outcome.entry.error().unwrap().kind),
            (false, kind)
        );
    }
    assert_eq!(bench.cache.stats().entries, 0);
}

#[test]
fn absence_is_believed_for_negative_ttl_and_replaces_a_stale_value() {
    let mut bench = Bench::new();
    bench.load_value("k", "v");
    bench.later(1_000);
    let Found::Stale {
        refresh: Some(refresh),
        ..
    } = bench.ask("k")
    else {
        panic!()
    };
    assert!(refresh.finish(Loaded::Absent, &bench.fill()).stored);
    bench.later(299);
    let Found::Fresh(entry) = bench.ask("k") else {
        panic!()
    };
    assert_eq!((entry.kind(), entry.value()), (Kind::Negative, &b""[..]));
    bench.later(1);
    assert!(fallback(&bench, "k").1.is_none());
}

#[test]
fn an_answer_that_is_not_stored_still_ends_the_older_one() {
    type Case = (&'static str, Loaded<'static>, fn(&mut Freshness));
    let cases: [Case; 3] = [
        ("absent, no negative_ttl", Loaded::Absent, |rules| {
            rules.negative_ttl_ms = 0
        }),
        ("too large", Loaded::Value(&[0; 100]), |rules| {
            rules.max_value_bytes = 99
        }),
        ("no ttl", Loaded::Value(b"v"), |rules| {
            (rules.ttl_ms, rules.stale_ms, rules.stale_if_error_ms) = (0, 0, 0);
        }),
    ];
    for (case, loaded, change) in cases {
        let mut bench = Bench::new();
        bench.load_value("k", "old");
        bench.later(1_000);
        change(&mut bench.rules);
        let Found::Stale {
            refresh: Some(refresh),
            ..
        } = bench.ask("k")
        else {
            panic!("{case}")
        };
        assert!(!refresh.finish(loaded, &bench.fill()).stored, "{case}");
        assert!(fallback(&bench, "k").1.is_none(), "{case}");
        bench.assert_settled();
    }
}

#[test]
fn the_sweep_drops_what_has_ended_and_nothing_else_and_is_bounded() {
    let mut bench = Bench::new();
    for i in 0..1_000 {
        bench.load_value(&format!("early {i}"), "v");
    }
    bench.later(3_000);
    for i in 0..500 {
        bench.load_value(&format!("late {i}"), "v");
    }
    bench.later(2_999);
    assert_eq!(
        bench.cache.sweep(bench.now, usize::MAX),
        0,
        "windows are not over"
    );
    bench.later(1 + 256);
    assert_eq!(bench.cache.sweep(bench.now, 0), 0);
    assert_eq!(bench.cache.sweep(bench.now, 300), 300);
    bench.cache.check();
    assert_eq!(bench.cache.sweep(bench.now, usize::MAX), 700);
    let stats = bench.cache.stats();
    assert_eq!((stats.entries, stats.counts.expired), (500, 1_000));
    bench.assert_settled();
}
