//! The budget, eviction, collisions and entries made elsewhere.

use super::super::shard::Shard;
use super::*;

fn value_of(bytes: usize) -> Vec<u8> {
    vec![b'v'; bytes]
}

#[test]
fn the_budget_is_never_passed_and_the_least_recently_used_go_first() {
    let bench = Bench::limited(4 << 20, 10, 10);
    bench.load_value("kept", "v");
    for i in 0..20_000 {
        bench.load(&format!("{i}"), Loaded::Value(&value_of(i % 1_000)));
        assert!(bench.cache.inner.budget.used() <= 4 << 20);
        assert!(
            bench.get("kept").is_some(),
            "a key in use was evicted at {i}"
        );
    }
    let stats = bench.cache.stats();
    assert!(
        stats.bytes > (4 << 20) - 2_000,
        "the budget is used up to the last entry"
    );
    assert!(stats.counts.evicted > 10_000);
    bench.assert_settled();
}

#[test]
fn room_is_made_in_other_shards_when_the_own_one_is_empty() {
    let bench = Bench::limited(200_000, 10, 10);
    for i in 0..2_000 {
        bench.load_value(&format!("{i}"), "small");
    }
    assert!(bench.load("big", Loaded::Value(&value_of(150_000))).stored);
    bench.assert_settled();
}

#[test]
fn what_can_never_fit_is_served_and_stored_nowhere_and_evicts_nothing() {
    let bench = Bench::limited(100_000, 10, 10);
    bench.load_value("small", "v");
    let outcome = bench.load("big", Loaded::Value(&value_of(100_000)));
    assert_eq!(
        (outcome.stored, outcome.entry.value().len()),
        (false, 100_000)
    );
    assert!(bench.get("small").is_some());
    assert_eq!(bench.cache.stats().counts.rejected, 1);
    bench.assert_settled();
}

#[test]
fn a_value_above_max_value_bytes_is_served_and_not_stored() {
    let bench = Bench::new();
    let limit = RULES.max_value_bytes as usize;
    assert!(bench.load("at", Loaded::Value(&value_of(limit))).stored);
    let over = bench.load("over", Loaded::Value(&value_of(limit + 1)));
    assert_eq!((over.stored, over.entry.value().len()), (false, limit + 1));
    bench.assert_settled();
}

#[test]
fn a_cache_without_memory_coalesces_and_stores_nothing() {
    let bench = Bench::limited(0, 10, 10);
    let (lead, first) = bench.lead("k");
    let second = bench.join("k");
    assert!(!lead.finish(Loaded::Value(b"v"), &bench.fill()).stored);
    assert!(outcome_now(first).is_some() && outcome_now(second).is_some());
    bench.assert_settled();
}

#[test]
fn a_key_with_the_hash_of_another_is_a_miss_and_displaces_it() {
    let bench = Bench::new();
    let collide = |key: &'static str| Request {
        hash: hash("a"),
        ..bench.request(key)
    };
    let load = |key: &'static str| {
        let Found::Lead { lead, .. } = bench.cache.get_or_join(&collide(key)) else {
            panic!()
        };
        lead.finish(Loaded::Value(key.as_bytes()), &bench.fill());
    };
    load("a");
    load("b");
    assert!(bench.cache.get(&collide("a")).is_none());
    assert_eq!(bench.cache.get(&collide("b")).unwrap().value(), b"b");
    assert!(
        !bench.cache.delete(GROUP, b"a", hash("a")).found,
        "a delete is for its own key"
    );
    assert!(!bench.cache.expire(GROUP, b"a", hash("a"), bench.now).found);
    assert!(bench.cache.get(&collide("b")).is_some());
    bench.assert_settled();
}

#[test]
fn the_same_bytes_in_another_group_are_another_key() {
    let bench = Bench::new();
    bench.load_value("k", "v");
    let other = Request {
        group: GroupId(2),
        ..bench.request("k")
    };
    assert!(bench.cache.get(&other).is_none(), "even with one hash");
}

#[test]
fn a_transferred_entry_is_void_until_its_tenure_is_activated() {
    let mut bench = Bench::new();
    let next = Tenure(STAMPS.tenure.0 + 1);
    let source = Bench::new().load_value("k", "moved").entry;
    assert!(bench.cache.put(&Entry::new(&EntryParts {
        tenure: next,
        ..source.parts()
    })));
    assert!(bench.get("k").is_none());
    bench.stamps.tenure = next;
    assert_eq!(bench.get("k").unwrap().value(), b"moved");
    bench.assert_settled();
}

#[test]
fn a_transferred_entry_does_not_replace_a_newer_one() {
    let mut bench = Bench::new();
    let old = Bench::new().load_value("k", "old").entry;
    bench.later(1);
    bench.load_value("k", "new");
    assert!(!bench.cache.put(&old));
    let older_tenure = EntryParts {
        tenure: Tenure(1),
        filled_at: Millis(999_999),
        ..old.parts()
    };
    assert!(!bench.cache.put(&Entry::new(&older_tenure)));
    assert_eq!(bench.get("k").unwrap().value(), b"new");
    bench.assert_settled();
}

#[test]
fn a_handle_outlives_the_entry_in_the_cache() {
    let bench = Bench::new();
    bench.load_value("k", "v");
    let entry = bench.get("k").unwrap();
    bench.delete("k");
    drop(bench);
    assert_eq!(entry.value(), b"v");
}

#[test]
fn a_shard_without_a_free_slot_evicts_by_number_and_keeps_its_books() {
    let entry = Bench::new().load_value("k", "v").entry;
    let budget = Budget::new(u64::MAX);
    let mut shard = Shard::new(0);
    for hash in 0..3_000 {
        assert!(budget.try_reserve(super::super::budget::charge(&entry)));
        shard.insert(hash, entry.clone(), &budget);
    }
    let mut stats = Stats::default();
    shard.add_to(&mut stats);
    assert_eq!(
        (stats.entries, stats.counts.evicted),
        (1_024, 3_000 - 1_024)
    );
    assert_eq!(stats.bytes, budget.used());
    shard.check();
}
