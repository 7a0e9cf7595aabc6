//! Loads: batches, queues and origins that fail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Mood, call, inside, inside_with, status};
use crate::rpc::proto::{Call, Op, Role, Status, Via};

#[tokio::test]
async fn misses_that_wait_together_go_in_one_call() {
    let node = inside_with(1, 0, |settings| settings.max_concurrent_loads = 1);
    let keys: Vec<String> = (0..100).map(|i| format!("key-{i}")).collect();
    let all = async {
        let first = node.get("first");
        let rest = async {
            node.origin.asked.notified().await;
            let rest = join_all(keys.iter().map(|key| node.get(key)));
            node.origin.permits.add_permits(2);
            rest.await
        };
        tokio::join!(first, rest).1
    };
    assert!(all.await.iter().all(|item| status(item) == Status::Ok));
    let sizes: Vec<_> = node.origin.calls.lock().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 100]);
}

#[tokio::test]
async fn an_origin_that_panics_or_miscounts_fails_only_its_callers() {
    let node = inside_with(1, 10, |settings| settings.max_concurrent_loads = 1);
    for mood in [Mood::Panics, Mood::LosesARow] {
        *node.origin.mood.lock() = mood;
        assert_eq!(status(&node.get("Tom").await), Status::Internal);
    }
    *node.origin.mood.lock() = Mood::Well;
    assert_eq!(status(&node.get("Tom").await), Status::Ok);
    assert_eq!(node.cache.stats().flights, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_origin_is_given_up_and_then_left_alone_for_a_moment() {
    let node = inside(1, 0);
    assert_eq!(status(&node.get("Tom").await), Status::OriginTimeout);
    assert_eq!(status(&node.get("Tom").await), Status::OriginTimeout);
    assert_eq!(
        node.origin.calls.lock().len(),
        1,
        "the second came within error_ttl"
    );
    tokio::time::sleep(Duration::from_millis(600)).await;
    node.origin.permits.add_permits(1);
    assert_eq!(status(&node.get("Tom").await), Status::Ok);
}

#[tokio::test]
async fn a_failed_call_fails_every_key_in_it_with_its_reason() {
    let node = inside(1, 10);
    *node.origin.mood.lock() = Mood::IsDown;
    let item = node.get("Tom").await;
    assert_eq!(
        (status(&item), item.answer.message.as_str()),
        (Status::OriginUnavailable, "down")
    );
}

#[tokio::test]
async fn a_full_queue_refuses_and_what_was_queued_is_served() {
    let node = inside_with(1, 0, |settings| {
        settings.max_concurrent_loads = 1;
        settings.miss_queue = 2;
    });
    let refused = AtomicUsize::new(0);
    let get = |key| {
        let (node, refused) = (&node, &refused);
        async move {
            let item = node.get(key).await;
            refused.fetch_add(
                usize::from(status(&item) == Status::Overloaded),
                Ordering::Relaxed,
            );
        }
    };
    let busy = async {
        node.origin.asked.notified().await;
        let rest = async { tokio::join!(get("b"), get("c"), get("d"), get("e")) };
        node.origin.permits.add_permits(2);
        rest.await
    };
    tokio::join!(get("a"), busy);
    assert_eq!(refused.load(Ordering::Relaxed), 2);
    assert_eq!(node.origin.calls.lock().concat(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_full_queue_of_one_group_does_not_refuse_another() {
    let node = inside_with(1, 0, |settings| {
        settings.max_concurrent_loads = 1;
        settings.miss_queue = 8;
    });
    let elsewhere = Call {
        group: 2,
        ..call(Op::Get, Role::Owner)
    };
    let behind = async {
        node.origin.asked.notified().await;
        let slow = join_all(["b", "c", "d", "e", "f", "g", "h", "i"].map(|key| node.get(key)));
        // "x" is loaded at once, since its group has room; "y" gets a place in the queue, which "i" no longer
        // did.
        let others = async {
            let others = join_all(["x", "y"].map(|key| node.ask(elsewhere, key)));
            node.origin.permits.add_permits(10);
            others.await
        };
        tokio::join!(slow, others)
    };
    let (_, (slow, others)) = tokio::join!(node.get("a"), behind);
    let refused = slow
        .iter()
        .filter(|item| status(item) == Status::Overloaded)
        .count();
    assert_eq!(refused, 2, "three quarters of the queue are behind \"a\"");
    assert!(
        others.iter().all(|item| status(item) == Status::Ok),
        "{others:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_queued_miss_that_no_caller_waits_for_any_more_is_not_loaded() {
    let node = inside_with(1, 0, |settings| settings.max_concurrent_loads = 1);
    let hurried = Call {
        deadline_ms: 50,
        ..call(Op::Get, Role::Owner)
    };
    let behind = async {
        node.origin.asked.notified().await;
        let patient = async {
            let patient = node.get("awaited");
            tokio::pin!(patient);
            let early = tokio::time::timeout(Duration::from_secs(1), &mut patient).await;
            assert!(early.is_err(), "it waits behind the first");
            node.origin.permits.add_permits(2);
            patient.await
        };
        tokio::join!(
            node.ask(hurried, "late"),
            node.ask(hurried, "awaited"),
            patient
        )
    };
    let (first, (late, left, patient)) = tokio::join!(node.get("first"), behind);
    assert_eq!(
        (status(&late), status(&left)),
        (Status::Deadline, Status::Deadline)
    );
    assert_eq!((status(&first), status(&patient)), (Status::Ok, Status::Ok));
    assert_eq!(node.origin.calls.lock().concat(), ["first", "awaited"]);
}

/// A call to a group whose entries are fresh for one second and stale for another.
fn waning() -> Call {
    Call {
        group: 6,
        ..call(Op::Get, Role::Owner)
    }
}

#[tokio::test(start_paused = true)]
async fn a_queued_refresh_that_callers_wait_for_is_loaded_as_a_miss() {
    let node = inside_with(1, 2, |settings| {
        settings.miss_queue_timeout = Duration::from_secs(3);
    });
    for key in ["a", "b"] {
        assert_eq!(status(&node.ask(waning(), key).await), Status::Ok);
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    // The refresh of the first hangs and that of the second queues behind it.
    for key in ["a", "b"] {
        assert_eq!(node.ask(waning(), key).await.answer.via(), Via::Stale);
        // So that they do not go in one call.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waits = node.ask(waning(), "b");
    let begins = async {
        while node.origin.calls.lock().len() < 4 {
            node.origin.asked.notified().await;
        }
        node.origin.permits.add_permits(2);
    };
    let (answer, ()) = tokio::join!(waits, begins);
    assert_eq!(
        (status(&answer), answer.answer.via()),
        (Status::Ok, Via::Miss)
    );
    assert_eq!(node.origin.calls.lock().concat(), ["a", "b", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_queued_too_long_is_dropped_and_begun_anew_by_the_next_reader() {
    let node = inside_with(1, 2, |settings| {
        settings.miss_queue_timeout = Duration::from_millis(100);
    });
    for key in ["a", "b"] {
        assert_eq!(status(&node.ask(waning(), key).await), Status::Ok);
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for key in ["a", "b"] {
        assert_eq!(node.ask(waning(), key).await.answer.via(), Via::Stale);
        // So that they do not go in one call.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(node.cache.stats().flights, 2);
    tokio::time::sleep(Duration::from_millis(101)).await;
    assert_eq!(node.cache.stats().flights, 1);
    node.origin.permits.add_permits(2);
    assert_eq!(node.ask(waning(), "b").await.answer.via(), Via::Stale);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(node.ask(waning(), "b").await.answer.via(), Via::Hit);
}

#[tokio::test(start_paused = true)]
async fn a_miss_that_queued_too_long_fails_long_before_its_deadline() {
    let node = inside_with(1, 0, |settings| {
        settings.max_concurrent_loads = 1;
        settings.miss_queue_timeout = Duration::from_millis(100);
    });
    let began = Instant::now();
    let behind = async {
        node.origin.asked.notified().await;
        let answer = node.get("b").await;
        assert_eq!(status(&answer), Status::Overloaded);
        assert_eq!(began.elapsed().as_millis(), 100, "the clock is paused");
        node.origin.permits.add_permits(1);
    };
    assert_eq!(status(&tokio::join!(node.get("a"), behind).0), Status::Ok);
}
