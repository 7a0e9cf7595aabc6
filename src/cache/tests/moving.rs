//! What is reported to others of partitions that move, in which order, and what is accepted from others.

use super::*;
use crate::ids::Partition;

const NEXT: Tenure = Tenure(20);

impl Bench {
    fn tap(&self, key: &str) -> Feed {
        let feed = Feed::new();
        let partitions = [hash(key).partition()].into_iter().collect();
        self.cache.tap(OTHER, partitions, feed.clone());
        feed
    }

    fn expect(&self, key: &str) {
        let partition = hash(key).partition();
        self.cache.expect([partition], (NEXT, STREAM), |_| true);
    }

    /// Keeps what was sent, under the tenure to come.
    fn import(&self, key: &str, value: &str, age: u64) -> bool {
        let parts = EntryParts {
            partition: hash(key).partition(),
            group: GROUP,
            key: key.as_bytes(),
            value: value.as_bytes(),
            kind: Kind::Value,
            standby: false,
            tenure: NEXT,
            generation: STAMPS.generation,
            filled_at: Millis(self.now.0 - age),
            fresh_ms: 1_000,
            stale_ms: 0,
            stale_if_error_ms: 0,
        };
        self.cache.import(&parts, STREAM, self.now)
    }

    fn own_next(&mut self) {
        self.stamps.tenure = NEXT;
    }
}

/// What a feed has to report, in short.
fn reported(feed: &Feed) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let short = |item: &Item| match item {
        Item::Entry(entry) | Item::Spare(entry) => {
            format!("{}={}", text(entry.key()), text(entry.value()))
        }
        Item::Void(void) => format!("{:?} {}", void.verb, text(&void.key)),
        Item::Keep(partitions, stamp) => format!("keep {partitions:?} {stamp}"),
    };
    feed.take(usize::MAX).items.iter().map(short).collect()
}

#[test]
fn what_happens_to_a_tapped_partition_is_reported_in_order() {
    let bench = Bench::new();
    let feed = bench.tap("a");
    bench.load_value("a", "1");
    let deleted = bench.cache.delete(GROUP, b"a", hash("a"));
    bench.load_value("a", "2");
    let expired = bench.cache.expire(GROUP, b"a", hash("a"), bench.now);
    bench.load_value("b", "of another partition");
    assert_eq!(reported(&feed), ["a=1", "Delete a", "a=2", "Expire a"]);
    assert_eq!((deleted.receipts.len(), expired.receipts.len()), (1, 1));
    feed.acknowledge(1);
    assert_eq!(deleted.receipts[0].heard(), Heard::Applied);
    assert_eq!(expired.receipts[0].heard(), Heard::Waits);
    bench.cache.untap(&feed);
    bench.delete("a");
    assert_eq!(reported(&feed), Vec::<String>::new());
}

#[test]
fn an_absence_is_reported_and_a_failure_and_what_a_standby_keeps_are_not() {
    let mut bench = Bench::new();
    let feed = bench.tap("a");
    bench.load("a", Loaded::Absent);
    assert_eq!(reported(&feed), ["a="]);
    bench.delete("a");
    bench.load("a", failed(UNAVAILABLE));
    bench.delete("a");
    bench.role = Role::Standby;
    bench.load_value("a", "for two seconds");
    assert_eq!(reported(&feed), ["Delete a", "Delete a"]);
}

#[test]
fn a_walk_reports_all_that_is_meant_once_and_what_ends_last_first() {
    let mut bench = Bench::new();
    for n in 0..1_000 {
        bench.load_value(&format!("key{n}"), "v");
        bench.later(1);
    }
    let feed = Feed::new();
    let all = (0..4_096).map(Partition).collect();
    bench.cache.tap(OTHER, all, feed.clone());
    let is_even = |entry: &Entry| entry.key().last().is_some_and(|last| last % 2 == 0);
    let mut walk = Walk::new();
    let mut bytes = 0;
    while !walk.is_over() {
        bytes += bench.cache.walk(&mut walk, &feed, bench.now, is_even);
    }
    let mut reported = reported(&feed);
    assert_eq!(reported.len(), 500);
    assert_eq!(
        bytes,
        reported
            .iter()
            .map(|pair| pair.len() as u64 - 1)
            .sum::<u64>()
    );
    reported.sort();
    reported.dedup();
    assert_eq!(reported.len(), 500);
}

#[test]
fn a_walk_waits_for_room_and_leaves_nothing_out() {
    let bench = Bench::limited(64 << 20, 10, 10);
    let value = "v".repeat(64 << 10);
    let of_shard = |n: &u64| hash(&format!("key{n}")).shard() < 8;
    for n in (0..).filter(of_shard).take(200) {
        bench.load_value(&format!("key{n}"), &value);
    }
    let feed = Feed::new();
    let (mut walk, mut count, mut rounds) = (Walk::new(), 0, 0);
    while !walk.is_over() || feed.has_room() && count < 200 {
        while feed.has_room() && !walk.is_over() {
            bench.cache.walk(&mut walk, &feed, bench.now, |_| true);
        }
        count += feed.take(usize::MAX).items.len();
        rounds += 1;
    }
    assert_eq!(count, 200);
    assert!(rounds > 2 && feed.left_out() == 0, "{rounds} {feed:?}");
}

#[test]
fn what_is_sent_counts_from_the_activation_on_with_its_age() {
    let mut bench = Bench::new();
    assert!(!bench.import("a", "unexpected", 0));
    bench.expect("a");
    assert!(bench.import("a", "1", 400));
    assert!(bench.get("a").is_none(), "void before");
    bench.own_next();
    assert_eq!(bench.get("a").unwrap().value(), b"1");
    assert_eq!(bench.get("a").unwrap().age_ms(bench.now), 400);
    bench.later(600);
    assert!(bench.get("a").is_none(), "its freshness goes on, not anew");
    assert!(!bench.import("a", "ended", 1_000));
}

#[test]
fn the_owner_is_heard_and_nothing_older_comes_back_for_what_was_taken_back_here() {
    let mut bench = Bench::new();
    bench.expect("a");
    bench.import("a", "1", 0);
    let void = Void {
        group: GROUP,
        key: b"a"[..].into(),
        hash: hash("a"),
        verb: Verb::Delete,
    };
    assert!(bench.cache.apply_void(&void, OTHER, bench.now).is_empty());
    bench.own_next();
    assert!(bench.get("a").is_none());
    assert!(bench.import("a", "2", 0), "the owner has loaded it anew");
    assert!(bench.cache.is_expected(hash("a"), NEXT));
    bench.delete("a");
    assert!(!bench.cache.is_expected(hash("a"), NEXT));
    assert!(
        !bench.import("a", "2", 0),
        "it may be older than the delete"
    );
    // The same, said again, changes nothing.
    bench.expect("a");
    assert!(!bench.import("a", "2", 0));
}

#[test]
fn what_is_expected_no_more_is_not_accepted() {
    let bench = Bench::new();
    let partitions = [hash("a").partition()];
    bench.cache.expect(partitions, (NEXT, STREAM), |_| false);
    assert!(!bench.import("a", "1", 0), "it may own it already");
    bench.expect("a");
    bench.cache.expect_no_more(|_, tenure, _| tenure < NEXT);
    assert!(bench.import("a", "1", 0));
    bench.cache.expect_no_more(|_, tenure, _| tenure == NEXT);
    assert!(!bench.import("a", "1", 0));
}

#[test]
fn a_partition_of_which_too_much_is_taken_back_is_closed() {
    let bench = Bench::new();
    bench.expect("a");
    let partition = hash("a").partition();
    let of_it = |n: &u64| hash(&n.to_string()).partition() == partition;
    let keys = (0..).filter(of_it).take(ARRIVAL_VOIDS_MAX + 1);
    for n in keys {
        bench.delete(&n.to_string());
    }
    assert!(!bench.import("a", "1", 0));
    bench.assert_settled();
}

#[test]
fn a_later_stream_takes_the_place_of_an_earlier_one_and_forgets_nothing() {
    let mut bench = Bench::new();
    bench.expect("a");
    bench.own_next();
    bench.delete("b");
    let later = stream(8);
    let partitions = ["a", "b"].map(|key| hash(key).partition());
    bench.cache.expect(partitions, (NEXT, later), |_| true);
    bench.delete("a");
    assert!(!bench.import("a", "of a giver that was started again", 0));
    assert!(
        !bench.cache.is_expected(hash("a"), NEXT),
        "it was taken back here"
    );
    bench.cache.expect_no_more(|_, _, stream| stream == STREAM);
    assert!(
        bench.cache.is_expected(hash("b"), NEXT),
        "that was another stream"
    );
    bench.assert_settled();
}

#[test]
fn a_flight_ends_with_what_the_old_owner_keeps_unless_it_was_closed() {
    let mut bench = Bench::new();
    bench.own_next();
    let parts = EntryParts {
        partition: Partition(0),
        group: GROUP,
        key: b"",
        value: b"1",
        kind: Kind::Value,
        standby: false,
        tenure: STAMPS.tenure,
        generation: STAMPS.generation,
        filled_at: Millis(bench.now.0 - 300),
        fresh_ms: 1_000,
        stale_ms: 0,
        stale_if_error_ms: 0,
    };
    let (lead, wait) = bench.lead("a");
    assert!(lead.finish_moved(&parts, &bench.fill()).stored);
    assert_eq!(outcome_now(wait).unwrap().entry.value(), b"1");
    let kept = bench.get("a").unwrap();
    assert_eq!((kept.tenure(), kept.age_ms(bench.now)), (NEXT, 300));
    let (lead, _wait) = bench.lead("b");
    bench.delete("b");
    assert!(!lead.finish_moved(&parts, &bench.fill()).stored);
    assert!(bench.get("b").is_none());
}

#[test]
fn a_copy_of_the_next_owner_is_not_sent_back_to_it() {
    let bench = Bench::new();
    let feed = bench.tap("a");
    // This member will stand by for the next owner, which copies to it already.
    let partition = hash("a").partition();
    bench
        .cache
        .expect_copies([partition], (NEXT, STREAM), |_| true);
    assert!(bench.copy("a", "of the next owner", NEXT, 0));
    assert!(reported(&feed).is_empty());
    assert!(bench.load_value("a", "own").stored);
    assert_eq!(reported(&feed), ["a=own"]);
}
