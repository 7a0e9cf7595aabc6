//! Copies that a standby keeps: when they answer, how long they stay, and what is reported of their use.

use super::*;
use crate::cache::{EntryParts, Feed, Item, REPORTED_EVERY_MS, StreamId, Verb, Void};
use crate::ids::Partition;

/// The stamp of the time for which the standby stands by.
const STAMP: Tenure = Tenure(12);

/// A standby with copies.
fn standby() -> Bench {
    let stamps = Stamps {
        copies: Some(STAMP),
        ..STAMPS
    };
    Bench {
        role: Role::Standby,
        stamps,
        ..Bench::new()
    }
}

impl Bench {
    fn expect_copies(&self, key: &str, stamp: Tenure) {
        let partitions = [hash(key).partition()];
        self.cache
            .expect_copies(partitions, (stamp, STREAM), |_| true);
    }

    /// Is sent a copy that is `age` old.
    pub(super) fn copy(&self, key: &str, value: &str, stamp: Tenure, age: u64) -> bool {
        let parts = EntryParts {
            partition: hash(key).partition(),
            group: GROUP,
            key: key.as_bytes(),
            value: value.as_bytes(),
            kind: Kind::Value,
            standby: false,
            tenure: stamp,
            generation: STAMPS.generation,
            filled_at: Millis(self.now.0 - age),
            fresh_ms: 1_000,
            stale_ms: 500,
            stale_if_error_ms: 5_000,
        };
        self.cache.import_copy(&parts, (STREAM, false), self.now)
    }

    /// Owns what it stood by for.
    fn inherits(&mut self, stamp: Tenure) {
        self.role = Role::Owner;
        self.stamps = Stamps {
            tenure: Tenure(20),
            inherits: Some(stamp),
            copies: None,
            ..STAMPS
        };
    }

    fn tap_group(&self, key: &str) -> Feed {
        let feed = Feed::new();
        let partitions = [hash(key).partition()].into_iter().collect();
        self.cache
            .tap_groups(OTHER, partitions, [GROUP].into(), feed.clone());
        feed
    }
}

#[test]
fn a_standby_serves_copies_of_its_time_and_no_others() {
    let mut bench = standby();
    assert!(!bench.copy("a", "unexpected", STAMP, 0));
    bench.expect_copies("a", STAMP);
    assert!(!bench.copy("a", "of another time", Tenure(11), 0));
    assert!(bench.copy("a", "1", STAMP, 300));
    let entry = bench.get("a").unwrap();
    assert_eq!((entry.value(), entry.age_ms(bench.now)), (&b"1"[..], 300));
    bench.stamps.copies = Some(Tenure(13));
    assert!(bench.get("a").is_none(), "it stands by anew");
    bench.stamps.copies = None;
    assert!(bench.get("a").is_none(), "it has no copies by its view");
    bench.role = Role::Owner;
    assert!(bench.get("a").is_none(), "an owner loads by itself");
}

#[test]
fn a_copy_past_its_time_is_not_served_and_keeps_nothing_out() {
    let mut bench = standby();
    bench.expect_copies("a", STAMP);
    assert!(bench.copy("a", "1", STAMP, 999));
    bench.later(1);
    assert!(bench.load_value("a", "2").stored);
    assert_eq!(bench.get("a").unwrap().value(), b"2");
    assert!(bench.copy("a", "3", STAMP, 0), "the owner's word is better");
    assert_eq!(bench.get("a").unwrap().value(), b"3");
    bench.assert_settled();
}

#[test]
fn who_inherits_serves_copies_and_expects_no_more_of_them() {
    let mut bench = standby();
    bench.expect_copies("a", STAMP);
    assert!(bench.copy("a", "1", STAMP, 0));
    bench.inherits(STAMP);
    bench
        .cache
        .expect_no_more_copies(|_, stamp, _| stamp == STAMP);
    assert_eq!(bench.get("a").unwrap().value(), b"1");
    bench.delete("a");
    assert!(!bench.copy("a", "1", STAMP, 0), "what is late is not kept");
    assert!(bench.get("a").is_none());
}

#[test]
fn an_heir_that_is_not_known_yet_serves_what_it_inherits_and_loads_nothing_over_it() {
    let mut bench = standby();
    bench.expect_copies("a", STAMP);
    assert!(bench.copy("a", "1", STAMP, 0));
    bench.inherits(STAMP);
    bench.role = Role::Standby;
    bench.stamps.copies = Some(Tenure(20));
    assert_eq!(bench.get("a").unwrap().value(), b"1");
    bench.role = Role::Owner;
    assert_eq!(bench.get("a").unwrap().value(), b"1");
}

#[test]
fn what_is_taken_back_by_the_owner_is_taken_back_here() {
    let bench = standby();
    bench.expect_copies("a", STAMP);
    assert!(bench.copy("a", "1", STAMP, 0));
    let owner = Bench::new();
    let feed = owner.tap_group("a");
    let voided = owner.cache.delete(GROUP, b"a", hash("a"));
    assert_eq!(voided.receipts.len(), 1);
    for item in feed.take(9).items {
        let Item::Void(void) = item else {
            panic!("{item:?}");
        };
        assert!(bench.cache.apply_void(&void, OTHER, bench.now).is_empty());
    }
    assert!(bench.get("a").is_none());
}

#[test]
fn groups_that_are_not_copied_are_not_reported() {
    let bench = Bench::new();
    let feed = Feed::new();
    let partitions = [hash("a").partition()].into_iter().collect();
    let other = [GroupId(GROUP.0 + 1)].into();
    bench
        .cache
        .tap_groups(OTHER, partitions, other, feed.clone());
    bench.load_value("a", "1");
    assert!(
        bench
            .cache
            .delete(GROUP, b"a", hash("a"))
            .receipts
            .is_empty()
    );
    assert!(feed.take(9).items.is_empty());
    // The same feed again: in the place of what it was given before.
    let partitions = [hash("a").partition()].into_iter().collect();
    bench
        .cache
        .tap_groups(OTHER, partitions, [GROUP].into(), feed.clone());
    bench.load_value("a", "2");
    assert_eq!(feed.take(9).items.len(), 1);
}

#[test]
fn use_is_reported_once_in_a_while_and_keeps_a_copy_as_long_as_its_original() {
    let mut owner = Bench::new();
    let feed = owner.tap_group("a");
    owner.rules.ttl_ms = 60_000;
    owner.load_value("a", "1");
    assert!(feed.take(9).used.is_empty());
    for _ in 0..10 {
        owner.get("a").unwrap();
        assert!(matches!(owner.ask("a"), Found::Fresh(_)));
    }
    assert_eq!(feed.take(9).used, [hash("a")]);
    assert!(matches!(owner.ask("a"), Found::Fresh(_)));
    assert!(feed.take(9).used.is_empty(), "it was reported a moment ago");
    owner.later(REPORTED_EVERY_MS);
    assert!(matches!(owner.ask("a"), Found::Fresh(_)));
    assert_eq!(feed.take(9).used, [hash("a")]);

    let bench = standby();
    assert_eq!(bench.cache.used(&[hash("a")]), [hash("a")], "it is missing");
    owner
        .cache
        .offer_again(&[hash("a"), hash("b")], &feed, owner.now, |_| true);
    assert_eq!(feed.take(9).items.len(), 1);
    bench.expect_copies("a", STAMP);
    assert!(bench.copy("a", "1", STAMP, 0));
    assert!(bench.cache.used(&[hash("a")]).is_empty());
}

#[test]
fn copies_are_counted_by_themselves() {
    let bench = standby();
    bench.expect_copies("a", STAMP);
    assert!(bench.copy("a", "1", STAMP, 0));
    bench.load_value("b", "2");
    let stats = bench.cache.stats().groups[&GROUP];
    assert_eq!((stats.entries, stats.copies), (2, 1));
    assert!(0 < stats.copied_bytes && stats.copied_bytes < stats.bytes);
    bench.delete("a");
    let stats = bench.cache.stats().groups[&GROUP];
    assert_eq!((stats.entries, stats.copies, stats.copied_bytes), (1, 0, 0));
    bench.cache.check();
}

#[test]
fn a_later_stamp_takes_the_place_of_an_earlier_one_and_an_owner_expects_nothing() {
    let bench = standby();
    bench.expect_copies("a", STAMP);
    bench.expect_copies("a", Tenure(11));
    assert!(bench.copy("a", "1", STAMP, 0));
    bench.expect_copies("a", Tenure(14));
    assert!(!bench.copy("a", "2", STAMP, 0) && bench.copy("a", "2", Tenure(14), 0));
    let of_b: Partition = hash("b").partition();
    bench
        .cache
        .expect_copies([of_b], (STAMP, STREAM), |_| false);
    assert!(!bench.copy("b", "1", STAMP, 0));
}

#[test]
fn what_is_still_on_its_way_of_an_owner_that_was_started_again_is_not_kept() {
    let bench = standby();
    bench.expect_copies("a", STAMP);
    let partitions = [hash("a").partition()];
    let later = stream(8);
    bench
        .cache
        .expect_copies(partitions, (STAMP, later), |_| true);
    assert!(!bench.copy("a", "1", STAMP, 0));
    // Nor if what it said first comes last.
    bench.expect_copies("a", STAMP);
    bench
        .cache
        .expect_no_more_copies(|_, _, stream| stream == STREAM);
    assert!(!bench.copy("a", "1", STAMP, 0));
    let restarted = StreamId {
        start: Incarnation(4),
        number: 0,
    };
    assert!(restarted > later);
}

#[test]
fn a_member_that_reports_a_delete_hears_nothing_of_it_again() {
    let bench = Bench::new();
    let feed = bench.tap_group("a");
    let void = Void {
        group: GROUP,
        key: b"a"[..].into(),
        hash: hash("a"),
        verb: Verb::Delete,
    };
    assert!(bench.cache.apply_void(&void, OTHER, bench.now).is_empty());
    assert!(feed.take(9).items.is_empty());
    let another = NodeId(OTHER.0 + 1);
    assert_eq!(bench.cache.apply_void(&void, another, bench.now).len(), 1);
}

#[test]
fn a_copy_that_does_not_count_keeps_nothing_out() {
    let mut bench = standby();
    bench.expect_copies("a", Tenure(30));
    assert!(bench.copy("a", "1", Tenure(30), 0));
    assert!(
        bench.load_value("a", "2").stored,
        "by its view it has no such copies"
    );
    assert!(bench.copy("a", "3", Tenure(30), 0));
    bench.inherits(STAMP);
    assert!(bench.load_value("a", "4").stored, "it inherits others");
    assert_eq!(bench.get("a").unwrap().value(), b"4");
}

#[test]
fn what_was_there_before_takes_no_room_from_what_is_in_use() {
    let bench = Bench {
        cache: Bench::limited(1_000, 10, 10).cache,
        ..standby()
    };
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    keys.iter().for_each(|key| bench.expect_copies(key, STAMP));
    let spare = |key: &str| {
        let entry = EntryParts {
            partition: hash(key).partition(),
            group: GROUP,
            key: key.as_bytes(),
            value: &[7; 100],
            kind: Kind::Value,
            standby: false,
            tenure: STAMP,
            generation: STAMPS.generation,
            filled_at: bench.now,
            fresh_ms: 1_000,
            stale_ms: 0,
            stale_if_error_ms: 0,
        };
        bench.cache.import_copy(&entry, (STREAM, true), bench.now)
    };
    let kept = keys.iter().filter(|key| spare(key)).count();
    assert!(0 < kept && kept < keys.len(), "{kept}");
    let before = bench.cache.stats().counts.evicted;
    assert!(bench.copy("h", "in use", STAMP, 0));
    assert_eq!((before, bench.cache.stats().counts.evicted > 0), (0, true));
}

#[test]
fn a_failed_load_of_a_standby_leaves_its_copy_which_answers_in_its_place() {
    // In `stale`, and after it.
    for age in [1_200, 1_600] {
        let mut bench = standby();
        bench.expect_copies("a", STAMP);
        assert!(bench.copy("a", "1", STAMP, age));
        let Found::Lead { lead, fallback, .. } = bench.ask("a") else {
            panic!("nothing is served while it is loaded");
        };
        assert_eq!(fallback.unwrap().value(), b"1");
        assert!(!lead.finish(failed(UNAVAILABLE), &bench.fill()).stored);
        let Found::Stale { entry, refresh } = bench.ask("a") else {
            panic!("the origin failed a moment ago");
        };
        assert!(entry.value() == b"1" && refresh.is_none());
        bench.later(u64::from(RULES.error_ttl_ms));
        assert!(!bench.load("a", failed(UNAVAILABLE)).stored);
        // The member that inherits it has it too, and asks the origin no earlier.
        bench.inherits(STAMP);
        assert!(matches!(bench.ask("a"), Found::Stale { refresh: None, .. }));
        bench.later(u64::from(RULES.error_ttl_ms));
        let Found::Lead { fallback, .. } = bench.ask("a") else {
            panic!("the origin may have recovered");
        };
        assert_eq!(fallback.unwrap().value(), b"1");
    }
}

#[test]
fn a_failed_load_of_an_heir_that_is_not_known_yet_leaves_what_was_handed_over() {
    let mut bench = Bench::new();
    assert!(bench.load_value("a", "handed over").stored);
    bench.inherits(STAMPS.tenure);
    bench.role = Role::Standby;
    assert!(!bench.load("a", failed(UNAVAILABLE)).stored);
    bench.role = Role::Owner;
    assert_eq!(bench.get("a").unwrap().value(), b"handed over");
}

#[test]
fn a_copy_that_comes_while_the_standby_loads_stays_whatever_its_stamp() {
    for stamp in [9, 10, 12].map(Tenure) {
        let mut bench = standby();
        bench.stamps.copies = Some(stamp);
        bench.expect_copies("a", stamp);
        for loaded in [
            Loaded::Value(b"loaded"),
            Loaded::Absent,
            failed(UNAVAILABLE),
        ] {
            let (lead, _wait) = bench.lead("a");
            assert!(bench.copy("a", "copied", stamp, 0));
            assert!(!lead.finish(loaded, &bench.fill()).stored, "{stamp}");
            assert_eq!(bench.get("a").unwrap().value(), b"copied", "{stamp}");
            bench.later(10_000);
        }
    }
}

#[test]
fn a_copy_takes_the_place_of_what_the_standby_loaded_whatever_its_stamp() {
    for stamp in [9, 10, 12].map(Tenure) {
        let mut bench = standby();
        bench.stamps.copies = Some(stamp);
        bench.expect_copies("a", stamp);
        assert!(bench.load_value("a", "loaded").stored);
        bench.later(5);
        assert!(bench.copy("a", "copied", stamp, 100), "{stamp}");
        assert_eq!(bench.get("a").unwrap().value(), b"copied", "{stamp}");
        bench.assert_settled();
    }
}
