//! Delete, expire, reset and changes of ownership, at rest and while a load is in the air (P3).

use super::*;

/// Runs `meanwhile` during a load of `k`: nobody may find its result afterwards, but those who
/// waited get it, and those who come after `meanwhile` lead anew.
#[track_caller]
fn voids_the_load_in_the_air(meanwhile: impl FnOnce(&mut Bench)) {
    let mut bench = Bench::new();
    let (lead, before) = bench.lead("k");
    meanwhile(&mut bench);
    let (successor, after) = bench.lead("k");
    assert!(!lead.finish(Loaded::Value(b"old"), &bench.fill()).stored);
    assert_eq!(value(&outcome_now(before).unwrap()), "old");
    assert!(bench.get("k").is_none(), "the old value was stored");
    assert!(
        successor
            .finish(Loaded::Value(b"new"), &bench.fill())
            .stored
    );
    assert_eq!(value(&outcome_now(after).unwrap()), "new");
    assert_eq!(bench.get("k").unwrap().value(), b"new");
    bench.assert_settled();
}

#[test]
fn a_load_during_a_delete_is_not_stored() {
    voids_the_load_in_the_air(|bench| {
        bench.delete("k");
    });
}

#[test]
fn a_load_during_an_expire_is_not_stored() {
    voids_the_load_in_the_air(|bench| {
        bench.expire("k");
    });
}

#[test]
fn a_load_during_a_reset_is_not_stored() {
    voids_the_load_in_the_air(|bench| {
        bench.stamps.generation.0 += 1;
        bench.cache.reset(GROUP, bench.stamps.generation);
    });
}

#[test]
fn a_load_during_a_change_of_ownership_is_not_stored() {
    voids_the_load_in_the_air(|bench| {
        bench.stamps.tenure.0 += 1;
        let lost = hash("k").partition();
        assert_eq!(
            bench.cache.close_partitions(|partition| partition == lost),
            1
        );
    });
}

#[test]
fn stamps_alone_keep_later_callers_out_of_an_older_flight() {
    voids_the_load_in_the_air(|bench| bench.stamps.tenure.0 += 1);
    voids_the_load_in_the_air(|bench| bench.stamps.generation.0 += 1);
}

#[test]
fn a_token_that_no_longer_holds_stores_nothing_even_if_its_flight_is_open() {
    let mut bench = Bench::new();
    let (lead, _wait) = bench.lead("k");
    bench.stamps.tenure.0 += 1;
    assert!(!lead.finish(Loaded::Value(b"v"), &bench.fill()).stored);
    assert_eq!(bench.cache.stats().entries, 0);
}

#[test]
fn losing_other_partitions_closes_nothing() {
    let bench = Bench::new();
    let (lead, _wait) = bench.lead("k");
    let kept = hash("k").partition();
    assert_eq!(
        bench.cache.close_partitions(|partition| partition != kept),
        0
    );
    assert!(lead.finish(Loaded::Value(b"v"), &bench.fill()).stored);
}

#[test]
fn a_deleted_entry_is_gone_and_a_delete_says_whether_there_was_one() {
    let bench = Bench::new();
    bench.load_value("k", "v");
    assert!(bench.delete("k"));
    assert!(bench.get("k").is_none());
    assert!(!bench.delete("k"));
    bench.assert_settled();
}

#[test]
fn an_expired_entry_is_stale_from_now_and_its_windows_begin_now() {
    let mut bench = Bench::new();
    bench.load_value("k", "v");
    bench.later(100);
    assert!(bench.expire("k"));
    let Found::Stale {
        entry,
        refresh: Some(refresh),
    } = bench.ask("k")
    else {
        panic!()
    };
    assert_eq!(entry.ttl_left_ms(bench.now), 0);
    drop(refresh);
    bench.later(500);
    let Found::Lead {
        fallback: Some(_), ..
    } = bench.ask("k")
    else {
        panic!()
    };
    bench.later(4_500);
    let Found::Lead { fallback: None, .. } = bench.ask("k") else {
        panic!()
    };
    bench.assert_settled();
}

#[test]
fn what_has_no_windows_is_dropped_by_expire() {
    let bench = Bench::new();
    bench.load("absent", Loaded::Absent);
    bench.load("failed", failed(UNAVAILABLE));
    assert!(bench.expire("absent") && bench.expire("failed"));
    assert_eq!(bench.cache.stats().entries, 0);
    assert!(!bench.expire("absent"));
    bench.assert_settled();
}

#[test]
fn entries_of_an_earlier_ownership_are_void_when_it_comes_back() {
    let mut bench = Bench::new();
    bench.load_value("k", "first ownership");
    // Another member owned it for one tenure; then it came back.
    bench.stamps.tenure.0 += 2;
    let (_lead, _wait) = bench.lead("k");
    assert_eq!(
        bench.cache.stats().counts.voided,
        1,
        "and its memory is given back"
    );
}

#[test]
fn entries_and_flights_of_an_inherited_tenure_stay_valid() {
    let mut bench = Bench::new();
    bench.load_value("k", "copy");
    let (lead, wait) = bench.lead("loading");
    bench.stamps.inherits = Some(bench.stamps.tenure);
    bench.stamps.tenure.0 += 5;
    assert_eq!(bench.get("k").unwrap().value(), b"copy");
    drop(bench.join("loading"));
    assert!(lead.finish(Loaded::Value(b"v"), &bench.fill()).stored);
    assert_eq!(bench.get("loading").unwrap().tenure(), STAMPS.tenure);
    drop(wait);
    bench.stamps.inherits = None;
    assert!(bench.get("k").is_none());
    bench.assert_settled();
}

#[test]
fn a_caller_with_a_late_view_neither_sees_nor_drops_nor_displaces_newer_entries() {
    let mut bench = Bench::new();
    let late = bench.stamps;
    let (lead, wait) = bench.lead("k");
    drop(wait);
    bench.stamps.tenure.0 += 1;
    bench.load_value("k", "new");
    let current = std::mem::replace(&mut bench.stamps, late);
    assert!(bench.get("k").is_none());
    assert!(!lead.finish(Loaded::Value(b"old"), &bench.fill()).stored);
    assert!(!bench.load_value("k", "old again").stored);
    bench.stamps = current;
    assert_eq!(bench.get("k").unwrap().value(), b"new");
    bench.assert_settled();
}

#[test]
fn a_reset_gives_back_the_memory_of_its_group_only() {
    let mut bench = Bench::new();
    let other = GroupId(2);
    for i in 0..3_000 {
        let key = format!("{i}");
        bench.load_value(&key, "v");
        let request = Request {
            group: other,
            hash: KeyHash::of(other, key.as_bytes()),
            ..bench.request(&key)
        };
        let Found::Lead { lead, .. } = bench.cache.get_or_join(&request) else {
            panic!()
        };
        lead.finish(Loaded::Value(b"v"), &bench.fill());
    }
    let before = bench.cache.stats();
    bench.stamps.generation.0 += 1;
    bench.load_value("new", "v");
    let reset = bench.cache.reset(GROUP, bench.stamps.generation);
    let after = bench.cache.stats();
    assert_eq!(reset.entries, 3_000);
    assert_eq!(reset.bytes, before.groups[&GROUP].bytes);
    assert_eq!(
        (after.groups[&GROUP].entries, after.groups[&other].entries),
        (1, 3_000)
    );
    assert!(bench.get("new").is_some());
    assert_eq!(
        bench.cache.reset(GROUP, bench.stamps.generation),
        Reset::default()
    );
    bench.assert_settled();
}

#[test]
fn a_newer_entry_keeps_an_inherited_load_out_only_while_it_lives() {
    for (later_ms, is_stored) in [(1_999, false), (2_000, true)] {
        let mut bench = Bench::new();
        bench.rules.ttl_ms = 60_000;
        let (lead, _wait) = bench.lead("k");
        bench.stamps.inherits = Some(bench.stamps.tenure);
        bench.stamps.tenure.0 += 1;
        bench.role = Role::Standby;
        bench.load_value("k", "newer");
        bench.later(later_ms);
        assert_eq!(
            lead.finish(Loaded::Value(b"v"), &bench.fill()).stored,
            is_stored
        );
    }
}

#[test]
fn a_load_while_all_is_cleared_is_not_stored_and_nothing_is_left() {
    voids_the_load_in_the_air(|bench| {
        bench.load_value("other", "v");
        assert_eq!(bench.cache.clear().entries, 1);
        assert_eq!(bench.cache.stats().entries, 0);
    });
}
