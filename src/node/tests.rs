//! The read path and the loader on an origin that does as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use super::loader::{self, Loader};
use super::metrics::ReadMetrics;
use super::read::{self, Begun, ReadPath};
use crate::cache::{Cache, Limits, LoadError, LoadErrorKind};
use crate::clock::Clock;
use crate::config::{SourceFile, read_groups};
use crate::hash::KeyHash;
use crate::ids::{Epoch, GroupId, NodeId};
use crate::metrics::Registry;
use crate::origin::{BoxFuture, Origin, Row};
use crate::rpc::proto::{Call, Op, Role, Status, Via};
use crate::rpc::wire::AnswerItem;
use crate::shutdown::Shutdown;
use crate::topology::fixed::fixed_view;
use crate::topology::group::Group;
use crate::topology::view::View;
use crate::topology::{Member, MemberStatus, Zone, place};

const GROUPS: &str = "
[groups.g]
table = \"t\"
key_column = \"k\"
value_column = \"v\"
ttl = \"60s\"

[groups.other]
table = \"t\"
key_column = \"k\"
value_column = \"v\"
ttl = \"60s\"
";
const GROUP: GroupId = GroupId(1);
/// The origin answers with the key itself, so this is below the longest key.
const MAX_VALUE_BYTES: usize = 400;
const ME: NodeId = NodeId(1);

/// What the origin does with a call.
#[derive(Clone, Copy, Default)]
enum Mood {
    /// Answers every key with itself, and `absent` with nothing.
    #[default]
    Well,
    Panics,
    LosesARow,
    IsDown,
}

/// An origin that waits for permits, notes what it was asked and has moods.
struct Told {
    permits: Semaphore,
    asked: Notify,
    calls: Mutex<Vec<Vec<Bytes>>>,
    mood: Mutex<Mood>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl Origin for Told {
    fn load<'a>(
        &'a self,
        _: &'a Group,
        keys: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Vec<Row>, LoadError>> {
        Box::pin(async move {
            self.calls.lock().push(keys.to_vec());
            self.asked.notify_one();
            self.permits.acquire().await.expect("open").forget();
            let mood = *self.mood.lock();
            let row = |key: &Bytes| Ok((key != "absent").then(|| key.clone()));
            let mut rows: Vec<Row> = keys.iter().map(row).collect();
            match mood {
                Mood::Well => {}
                Mood::Panics => panic!("the origin was told to panic"),
                Mood::LosesARow => drop(rows.pop()),
                Mood::IsDown => return Err(LoadError::new(LoadErrorKind::Unavailable, "down")),
            }
            Ok(rows)
        })
    }

    fn check<'a>(&'a self, _: &'a Group) -> BoxFuture<'a, Result<(), LoadError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "told".into()
    }
}

/// A node's inside: everything but its sockets.
struct Inside {
    path: ReadPath,
    cache: Cache,
    origin: Arc<Told>,
    views: watch::Sender<Arc<View>>,
}

fn members(count: u64) -> Vec<Member> {
    let member = |id| Member {
        id: NodeId(id),
        name: format!("node-{id}").into(),
        host: "127.0.0.1".into(),
        grpc_port: 8001,
        zone: Zone::new("z"),
        weight: 1,
        status: MemberStatus::Up,
    };
    (1..=count).map(member).collect()
}

fn groups() -> Vec<(String, crate::topology::GroupSpec)> {
    read_groups(SourceFile {
        name: "groups",
        text: GROUPS,
    })
    .unwrap()
}

/// The view of `count` members at `epoch`, as if placed then from scratch.
fn view(count: u64, epoch: u64) -> Arc<View> {
    let first = fixed_view(members(count), groups()).unwrap();
    let table = place(&members(count), None, Epoch(epoch));
    let groups = first.groups().map(|group| Group::clone(group)).collect();
    Arc::new(View::new("test", Epoch(epoch), members(count), &table, groups).unwrap())
}

fn inside(count: u64, permits: usize) -> Inside {
    inside_with(count, permits, |_| ())
}

fn inside_with(count: u64, permits: usize, change: impl FnOnce(&mut loader::Settings)) -> Inside {
    let mut settings = loader::Settings {
        timeout: Duration::from_secs(5),
        max_batch: 128,
        max_concurrent_loads: 4,
        miss_queue: 1000,
    };
    change(&mut settings);
    let origin = Arc::new(Told {
        permits: Semaphore::new(permits),
        asked: Notify::new(),
        calls: Mutex::default(),
        mood: Mutex::default(),
    });
    let (views, view) = watch::channel(view(count, 1));
    let cache = Cache::new(Limits {
        memory_bytes: 1 << 20,
        max_waiters_per_key: 1000,
        max_waiters_per_group: 1000,
    });
    let (clock, registry) = (Clock::start(), Registry::new());
    let asked: Arc<dyn Origin> = Arc::<Told>::clone(&origin);
    let loader = Loader::new(
        asked,
        view.clone(),
        clock,
        settings,
        &registry,
        Shutdown::new(),
    );
    let bounds = read::Settings {
        epoch_wait: Duration::from_millis(200),
        max_deadline: Duration::from_secs(10),
        max_value_bytes: MAX_VALUE_BYTES,
    };
    let metrics = ReadMetrics::register(&registry);
    let path = ReadPath::new(ME, cache.clone(), loader, view, clock, bounds, metrics);
    Inside {
        path,
        cache,
        origin,
        views,
    }
}

impl Inside {
    async fn ask(&self, call: Call, key: &str) -> AnswerItem {
        match self.path.begin(
            call,
            Bytes::copy_from_slice(key.as_bytes()),
            &self.path.view(),
        ) {
            Begun::Now(item) => item,
            Begun::Later(later) => later.answer().await,
        }
    }

    async fn get(&self, key: &str) -> AnswerItem {
        self.ask(call(Op::Get, Role::Owner), key).await
    }
}

fn call(op: Op, role: Role) -> Call {
    Call {
        op: op.into(),
        role: role.into(),
        group: GROUP.0,
        epoch: 1,
        ..Call::default()
    }
}

fn status(item: &AnswerItem) -> Status {
    item.answer.status()
}

/// A key for which member 1 has this role among three members.
fn key_where(view: &View, role: crate::topology::Role) -> String {
    (0..10_000)
        .map(|i| format!("key-{i}"))
        .find(|key| view.role_of(ME, KeyHash::of(GROUP, key.as_bytes()).partition()) == role)
        .expect("each role is common")
}

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
async fn each_role_is_answered_only_by_whom_it_belongs_to() {
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
        assert_eq!(status(&refused), NotOwner, "nobody stands in for a delete");
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
async fn a_newer_epoch_is_waited_for_and_then_told_to_be_unknown() {
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
async fn what_was_loaded_for_an_earlier_ownership_is_answered_and_not_kept() {
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
async fn an_origin_that_panics_or_miscounts_fails_its_callers_and_no_one_else() {
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
        // One is loaded at once, since its group has room; one takes the place that "h" could not.
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
async fn a_queued_miss_that_nobody_waits_for_any_more_is_not_loaded() {
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

#[tokio::test]
async fn a_group_or_key_that_cannot_be_is_refused() {
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
async fn a_value_larger_than_a_message_is_told_and_not_sent() {
    let node = inside(1, 10);
    let (fits, large) = ("k".repeat(MAX_VALUE_BYTES), "k".repeat(MAX_VALUE_BYTES + 1));
    assert_eq!(status(&node.get(&fits).await), Status::Ok);
    let item = node.get(&large).await;
    assert_eq!(
        (status(&item), item.value.is_none()),
        (Status::TooLarge, true)
    );
}
