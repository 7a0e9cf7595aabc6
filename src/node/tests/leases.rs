//! Reads and deletes at a node without a lease, and at one whose tenure is not settled.

use super::{GROUP, Inside, ME, call, inside, status, view_of};
use crate::cache::{End, Feed};
use crate::hash::KeyHash;
use crate::ids::{Epoch, GroupId, Millis, NodeId};
use crate::node::follow::follow;
use crate::node::known::Known;
use crate::rpc::proto::{Call, Detail, Op, Role, Status, Via};
use crate::rpc::wire::AnswerItem;
use crate::shutdown::Shutdown;

/// The groups in the order of their names, which is also the order of their ids.
const PROUD: GroupId = GroupId(3);
const STRICT: GroupId = GroupId(4);

fn of(group: GroupId, op: Op) -> Call {
    Call {
        group: group.0,
        ..call(op, Role::Owner)
    }
}

fn essence(item: &AnswerItem) -> (Status, Via, Detail, bool) {
    let answer = &item.answer;
    (status(item), answer.via(), answer.detail(), answer.stored)
}

/// Lets the lease run out.
fn isolate(node: &Inside) {
    node.held.set(node.clock.now(), Epoch(u64::MAX));
}

/// Gives the node a lease, while what it owns is not settled.
fn arrive(node: &Inside) {
    node.held.set(Millis(u64::MAX), Epoch(0));
}

#[tokio::test(start_paused = true)]
async fn an_isolated_owner_serves_what_it_has_and_keeps_nothing_new() {
    let node = inside(1, 10);
    node.get("Tom").await;
    isolate(&node);
    let hit = node.get("Tom").await;
    assert_eq!(
        essence(&hit),
        (Status::Ok, Via::Hit, Detail::Isolated, false)
    );
    for _ in 0..2 {
        let miss = node.get("Ada").await;
        let expected = (Status::Ok, Via::Miss, Detail::Isolated, false);
        assert_eq!(essence(&miss), expected);
    }
    // After its ttl the value is not served, not even as stale.
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    assert_eq!(node.get("Tom").await.answer.via(), Via::Miss);
    node.held.set(Millis(u64::MAX), Epoch(u64::MAX));
    assert_eq!(node.get("Tom").await.answer.detail(), Detail::None);
}

#[tokio::test(start_paused = true)]
async fn the_setting_of_a_group_decides_what_an_isolated_owner_answers() {
    let node = inside(1, 10);
    for group in [GROUP, PROUD, STRICT] {
        node.ask(of(group, Op::Get), "Tom").await;
    }
    isolate(&node);
    let mut answers = Vec::new();
    for group in [GROUP, PROUD, STRICT] {
        let answer = node.ask(of(group, Op::Get), "Tom").await;
        answers.push((status(&answer), answer.answer.via()));
    }
    let refused = (Status::Isolated, Via::Hit);
    let expected = [(Status::Ok, Via::Hit), refused, (Status::Ok, Via::Miss)];
    assert_eq!(answers, expected);
}

#[tokio::test(start_paused = true)]
async fn an_isolated_owner_acknowledges_no_delete_and_does_not_wait_for_ever() {
    let node = inside(1, 10);
    isolate(&node);
    let began = node.clock.now();
    for op in [Op::Delete, Op::Expire] {
        let refused = node.ask(of(GROUP, op), "Tom").await;
        assert_eq!(status(&refused), Status::Isolated);
    }
    assert!(node.clock.now().since(began) <= 2_100);
}

#[tokio::test(start_paused = true)]
async fn a_new_owner_is_a_standby_until_its_tenure_is_settled() {
    let node = inside(1, 10);
    arrive(&node);
    let first = node.get("Tom").await;
    assert_eq!(
        essence(&first),
        (Status::Ok, Via::Miss, Detail::Standby, true)
    );
    assert_eq!(node.get("Tom").await.answer.via(), Via::Hit);
    // The value was kept for two seconds, as by a standby.
    tokio::time::advance(std::time::Duration::from_millis(2_001)).await;
    assert_eq!(node.get("Tom").await.answer.via(), Via::Miss);
    // Once the node acts as the owner, it does not serve values that it kept as a standby.
    node.held.set(Millis(u64::MAX), Epoch(u64::MAX));
    let owned = node.get("Tom").await;
    assert_eq!(essence(&owned), (Status::Ok, Via::Miss, Detail::None, true));
}

#[tokio::test(start_paused = true)]
async fn a_delete_waits_until_all_members_know_the_new_owner() {
    let node = inside(1, 10);
    arrive(&node);
    let delete = node.ask(of(GROUP, Op::Delete), "Tom");
    let settle = async {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        node.held.set(Millis(u64::MAX), Epoch(1));
    };
    let (deleted, ()) = tokio::join!(delete, settle);
    assert_eq!(status(&deleted), Status::Ok);
    assert!(node.clock.now() >= Millis(700));
    // Not for ever.
    arrive(&node);
    let refused = node.ask(of(GROUP, Op::Delete), "Tom").await;
    assert_eq!(status(&refused), Status::Isolated);
}

/// Taps Tom's partition with `feed`.
fn tap(node: &Inside, feed: &Feed) {
    let partition = KeyHash::of(GROUP, b"Tom").partition();
    let set = [partition].into_iter().collect();
    node.cache.tap(NodeId(2), set, feed.clone());
}

#[tokio::test(start_paused = true)]
async fn a_delete_waits_until_the_next_owner_of_the_key_has_applied_it() {
    let node = inside(1, 10);
    let feed = Feed::new();
    tap(&node, &feed);
    let delete = node.ask(of(GROUP, Op::Delete), "Tom");
    let receiver = async {
        assert!(feed.filled().await);
        let mark = feed.take(1).mark;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        feed.acknowledge(mark);
    };
    let (deleted, ()) = tokio::join!(delete, receiver);
    assert_eq!(status(&deleted), Status::Ok);
    assert!(node.clock.now() >= Millis(300));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_does_not_reach_the_next_owner_is_tried_until_its_deadline_and_then_refused()
{
    let node = inside(1, 10);
    let feed = Feed::new();
    feed.finish(End::Broken);
    tap(&node, &feed);
    let refused = node.ask(of(GROUP, Op::Delete), "Tom").await;
    assert_eq!(status(&refused), Status::Isolated);
    assert!(node.clock.now() >= Millis(4_000));
    // Once the move is given up, a delete is done at once.
    let delete = node.ask(of(GROUP, Op::Delete), "Tom");
    let given_up = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        node.cache.untap(&feed);
    };
    let (deleted, ()) = tokio::join!(delete, given_up);
    assert_eq!(status(&deleted), Status::Ok);
    assert!(node.clock.now() < Millis(5_000));
}

#[tokio::test]
async fn nothing_is_kept_of_a_cluster_that_was_recovered() {
    let node = inside(1, 10);
    let known = Known {
        from: std::net::Ipv4Addr::UNSPECIFIED.into(),
        me: ME.into(),
        view: node.views.subscribe(),
        held: node.held.clone(),
        renewer: None,
    };
    let shutdown = Shutdown::new();
    shutdown.spawn(follow(known, None, node.cache.clone(), shutdown.clone()));
    tokio::task::yield_now().await;
    node.get("Tom").await;
    assert_eq!(node.cache.stats().entries, 1);
    // The same epoch, tenures and generations, of another cluster.
    node.views.send_replace(view_of("recovered", 1, 1));
    let cleared = async {
        while node.cache.stats().entries > 0 {
            tokio::task::yield_now().await;
        }
    };
    let cleared = tokio::time::timeout(std::time::Duration::from_secs(30), cleared).await;
    assert!(cleared.is_ok(), "what was cached is kept");
    assert_eq!(node.get("Tom").await.answer.via(), Via::Miss);
}
