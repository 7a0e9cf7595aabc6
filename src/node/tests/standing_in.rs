//! A standby with copies while the origin fails, before and after it is the owner.

use std::sync::Arc;
use std::time::Duration;

use super::{Inside, ME, Mood, call, groups, inside, members, status};
use crate::cache::{EntryParts, Kind, StreamId};
use crate::hash::KeyHash;
use crate::ids::{Epoch, Generation, GroupId, Incarnation, Millis, NodeId, Tenure};
use crate::rpc::proto::{Call, Op, Role, Status, Via};
use crate::rpc::wire::AnswerItem;
use crate::topology::model::group::Group;
use crate::topology::model::partitions::{Assignment, Copies, PartitionTable};
use crate::topology::view::View;

/// The group that has two copies, fresh for one second and usable for a minute more if the origin fails.
const TWOFOLD: GroupId = GroupId(5);

/// The stamp of the copies.
const STAMP: Tenure = Tenure(4);

/// Member 2 owns everything, and this node stands by with copies.
fn stands_by() -> Arc<View> {
    view(Assignment {
        owner: Some(NodeId(2)),
        standby: Some(ME),
        tenure: Tenure(3),
        since: Epoch(3),
        copies: Copies {
            since: Epoch(STAMP.0),
            are_kept: true,
        },
        ..Assignment::default()
    })
}

/// Member 2 was failed over: this node has inherited its copies.
fn inherits() -> Arc<View> {
    view(Assignment {
        owner: Some(ME),
        tenure: Tenure(6),
        inherits: Some(STAMP),
        since: Epoch(6),
        ..Assignment::default()
    })
}

fn view(assignment: Assignment) -> Arc<View> {
    let table = PartitionTable::from_fn(|_| assignment);
    let groups = (1..).zip(groups()).map(|(id, (name, spec))| Group {
        id: GroupId(id),
        name: name.into(),
        generation: Generation(1),
        copies_since: Epoch(0),
        spec,
    });
    Arc::new(View::new("test", Epoch(6), members(2), &table, groups.collect()).unwrap())
}

/// Is sent a copy of Tom's value, `age_ms` old.
fn copy(node: &Inside, age_ms: u64) {
    let hash = KeyHash::of(TWOFOLD, b"Tom");
    let stream = StreamId {
        start: Incarnation(1),
        number: 1,
    };
    let expected = (STAMP, stream);
    node.cache
        .expect_copies([hash.partition()], expected, |_| true);
    let now = node.clock.now();
    let parts = EntryParts {
        partition: hash.partition(),
        group: TWOFOLD,
        key: b"Tom",
        value: b"copied",
        kind: Kind::Value,
        standby: false,
        tenure: STAMP,
        generation: Generation(1),
        filled_at: Millis(now.0 - age_ms),
        fresh_ms: 1_000,
        stale_ms: 0,
        stale_if_error_ms: 60_000,
    };
    assert!(node.cache.import_copy(&parts, (stream, false), now));
}

async fn ask(node: &Inside, role: Role) -> AnswerItem {
    let call = Call {
        group: TWOFOLD.0,
        epoch: 6,
        ..call(Op::Get, role)
    };
    node.ask(call, "Tom").await
}

/// How it was answered, and how often the origin had been asked by then.
fn essence(node: &Inside, item: &AnswerItem) -> (Status, Via, usize) {
    (
        status(item),
        item.answer.via(),
        node.origin.calls.lock().len(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_copy_answers_for_a_failing_origin_at_the_standby_and_at_the_heir() {
    let node = inside(2, 10);
    node.views.send_replace(stands_by());
    tokio::time::advance(Duration::from_secs(10)).await;
    copy(&node, 1_500);
    *node.origin.mood.lock() = Mood::IsDown;
    let first = ask(&node, Role::Standby).await;
    assert_eq!(essence(&node, &first), (Status::Ok, Via::StaleIfError, 1));
    // Within error_ttl the origin is left alone, by the heir too.
    let again = ask(&node, Role::Standby).await;
    assert_eq!(essence(&node, &again), (Status::Ok, Via::StaleIfError, 1));
    node.views.send_replace(inherits());
    let heir = ask(&node, Role::Owner).await;
    assert_eq!(essence(&node, &heir), (Status::Ok, Via::StaleIfError, 1));
    tokio::time::advance(Duration::from_millis(600)).await;
    let later = ask(&node, Role::Owner).await;
    assert_eq!(essence(&node, &later), (Status::Ok, Via::StaleIfError, 2));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_comes_during_a_standbys_load_stays() {
    let node = inside(2, 0);
    node.views.send_replace(stands_by());
    tokio::time::advance(Duration::from_secs(10)).await;
    let copied = async {
        node.origin.asked.notified().await;
        copy(&node, 0);
        node.origin.permits.add_permits(1);
    };
    let (loaded, ()) = tokio::join!(ask(&node, Role::Standby), copied);
    assert_eq!(essence(&node, &loaded), (Status::Ok, Via::Miss, 1));
    node.views.send_replace(inherits());
    let heir = ask(&node, Role::Owner).await;
    assert_eq!(essence(&node, &heir), (Status::Ok, Via::Hit, 1));
}
