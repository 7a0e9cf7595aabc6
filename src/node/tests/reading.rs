//! Look-ups and deletes: which node answers, from where, and what it keeps.

use std::time::Duration;

use super::{MAX_VALUE_BYTES, call, inside, key_where, status, view};
use crate::rpc::proto::{Call, Op, Role, Status, Via};

#[tokio::test]
async fn a_miss_is_loaded_and_then_a_hit() {
    let node = inside(1, 10);
    let miss = node.get("Tom").await;
    assert_eq!(
        (status(&miss), miss.answer.via(), miss.answer.stored),
        (Status::Ok, Via::Miss, true)
    );
    assert_eq!(miss.value.unwrap().value(), b"Tom");
    assert_eq!(node.get("Tom").await.answer.via(), Via::Hit);
    assert_eq!(status(&node.get("absent").await), Status::Absent);
    assert_eq!(
        node.get("absent").await.answer.via(),
        Via::Hit,
        "\"no such key\" is cached too"
    );
    assert_eq!(node.origin.calls.lock().len(), 2);
}

#[tokio::test]
async fn each_role_is_answered_only_by_the_member_that_has_it() {
    use crate::topology::Role as Own;
    let node = inside(3, 100);
    let view = node.path.view();
    let keys = [Own::Owner, Own::Standby, Own::Neither].map(|own| key_where(&view, own));
    let mut table = Vec::new();
    for asked in [Role::Owner, Role::Standby, Role::LastResort] {
        for key in &keys {
            table.push(status(&node.ask(call(Op::Get, asked), key).await));
        }
    }
    use Status::{NotOwner, Ok};
    assert_eq!(
        table,
        [Ok, NotOwner, NotOwner, Ok, Ok, NotOwner, Ok, Ok, Ok]
    );
    for op in [Op::Delete, Op::Expire] {
        let refused = node.ask(call(op, Role::Standby), &keys[1]).await;
        assert_eq!(
            status(&refused),
            NotOwner,
            "only the owner carries a delete out"
        );
    }
}

#[tokio::test]
async fn a_last_resort_keeps_nothing() {
    let node = inside(3, 100);
    let key = key_where(&node.path.view(), crate::topology::Role::Neither);
    for _ in 0..2 {
        let item = node.ask(call(Op::Get, Role::LastResort), &key).await;
        assert_eq!((item.answer.via(), item.answer.stored), (Via::Miss, false));
    }
    assert_eq!(node.cache.stats().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_newer_epoch_waits_for_it_and_is_then_not_answered() {
    let node = inside(1, 10);
    let newer = Call {
        epoch: 2,
        ..call(Op::Get, Role::Owner)
    };
    let item = node.ask(newer, "Tom").await;
    assert_eq!((status(&item), item.answer.epoch), (Status::NotOwner, 1));
    let (item, ()) = tokio::join!(node.ask(newer, "Tom"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.views.send_replace(view(1, 2));
    });
    assert_eq!(status(&item), Status::Ok);
}

#[tokio::test]
async fn a_value_loaded_in_an_earlier_tenure_is_answered_and_not_kept() {
    let node = inside(1, 0);
    let (item, ()) = tokio::join!(node.get("Tom"), async {
        node.origin.asked.notified().await;
        node.views.send_replace(view(1, 2));
        node.origin.permits.add_permits(1);
    });
    assert_eq!((status(&item), item.answer.stored), (Status::Ok, false));
    assert_eq!(node.cache.stats().entries, 0);
}

#[tokio::test]
async fn a_delete_during_a_load_keeps_its_result_out() {
    let node = inside(1, 0);
    let (item, ()) = tokio::join!(node.get("Tom"), async {
        node.origin.asked.notified().await;
        assert_eq!(
            status(&node.ask(call(Op::Delete, Role::Owner), "Tom").await),
            Status::Ok
        );
        node.origin.permits.add_permits(2);
    });
    assert_eq!((status(&item), item.answer.stored), (Status::Ok, false));
    assert_eq!(node.get("Tom").await.answer.via(), Via::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_a_load_that_fills_the_cache() {
    let node = inside(1, 0);
    let hurried = Call {
        deadline_ms: 50,
        ..call(Op::Get, Role::Owner)
    };
    assert_eq!(status(&node.ask(hurried, "Tom").await), Status::Deadline);
    node.origin.permits.add_permits(1);
    // Joins the load that goes on, if it has not ended yet.
    assert_eq!(status(&node.get("Tom").await), Status::Ok);
    assert_eq!(node.get("Tom").await.answer.via(), Via::Hit);
    assert_eq!(node.origin.calls.lock().len(), 1);
}

#[tokio::test]
async fn an_unknown_group_or_a_key_that_is_not_valid_is_refused() {
    let node = inside(1, 0);
    let elsewhere = Call {
        group: 7,
        ..call(Op::Get, Role::Owner)
    };
    assert_eq!(
        status(&node.ask(elsewhere, "Tom").await),
        Status::NoSuchGroup
    );
    assert_eq!(status(&node.get(&"k".repeat(513)).await), Status::BadKey);
}

#[tokio::test]
async fn a_value_larger_than_a_message_is_reported_and_not_sent() {
    let node = inside(1, 10);
    let (fits, large) = ("k".repeat(MAX_VALUE_BYTES), "k".repeat(MAX_VALUE_BYTES + 1));
    assert_eq!(status(&node.get(&fits).await), Status::Ok);
    let item = node.get(&large).await;
    assert_eq!(
        (status(&item), item.value.is_none()),
        (Status::TooLarge, true)
    );
}
