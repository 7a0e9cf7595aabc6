//! Tests of the read path and the loader, with an origin that a test controls.

mod checking;
mod inspecting;
mod leases;
mod loading;
mod reading;
mod standing_in;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use super::lease::Held;
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
use crate::rpc::proto::{Call, Op, Role, Status};
use crate::rpc::wire::AnswerItem;
use crate::shutdown::Shutdown;
use crate::topology::model::group::Group;
use crate::topology::view::View;
use crate::topology::view::fixed::fixed_view;
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

[groups.proud]
table = \"t\"
key_column = \"k\"
value_column = \"v\"
ttl = \"60s\"
on_isolated = \"refuse\"

[groups.strict]
table = \"t\"
key_column = \"k\"
value_column = \"v\"
ttl = \"60s\"
on_isolated = \"origin\"

[groups.twofold]
table = \"t\"
key_column = \"k\"
value_column = \"v\"
ttl = \"1s\"
ttl_jitter = 0.0
stale_if_error = \"60s\"
copies = 2

[groups.waning]
table = \"t\"
key_column = \"k\"
value_column = \"v\"
ttl = \"1s\"
ttl_jitter = 0.0
stale = \"1s\"
";
const GROUP: GroupId = GroupId(1);
/// Below the length of the longest key, because the origin answers with the key itself.
const MAX_VALUE_BYTES: usize = 400;
const ME: NodeId = NodeId(1);

/// How the origin answers a call.
#[derive(Clone, Copy, Default)]
enum Mood {
    /// Answers every key with itself, and `absent` with nothing.
    #[default]
    Well,
    Panics,
    LosesARow,
    IsDown,
}

/// An origin that waits for permits, records its calls and has moods.
struct Obedient {
    permits: Semaphore,
    asked: Notify,
    calls: Mutex<Vec<Vec<Bytes>>>,
    mood: Mutex<Mood>,
}

impl std::fmt::Debug for Obedient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Obedient")
    }
}

impl Origin for Obedient {
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
                Mood::Panics => panic!("the origin was asked to panic"),
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
        "obedient".into()
    }
}

/// A node without its sockets.
struct Inside {
    path: ReadPath,
    cache: Cache,
    origin: Arc<Obedient>,
    views: watch::Sender<Arc<View>>,
    held: Held,
    clock: Clock,
}

pub(super) fn members(count: u64) -> Vec<Member> {
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

pub(super) fn groups() -> Vec<(String, crate::topology::GroupSpec)> {
    read_groups(SourceFile {
        name: "groups",
        text: GROUPS,
    })
    .unwrap()
}

/// The view of `count` members at `epoch`, with all partitions placed anew in that epoch.
fn view(count: u64, epoch: u64) -> Arc<View> {
    view_of("test", count, epoch)
}

fn view_of(cluster: &str, count: u64, epoch: u64) -> Arc<View> {
    let first = fixed_view(members(count), groups()).unwrap();
    let table = place(&members(count), None, Epoch(epoch));
    let groups = first.groups().map(|group| Group::clone(group)).collect();
    Arc::new(View::new(cluster, Epoch(epoch), members(count), &table, groups).unwrap())
}

fn inside(count: u64, permits: usize) -> Inside {
    inside_with(count, permits, |_| ())
}

fn inside_with(count: u64, permits: usize, change: impl FnOnce(&mut loader::Settings)) -> Inside {
    let mut settings = loader::Settings {
        timeout: Duration::from_secs(5),
        max_batch: 128,
        max_concurrent_loads: 4,
        max_concurrent_refreshes: 1,
        miss_queue: 1000,
        miss_queue_timeout: Duration::from_secs(60),
        refresh_queue: 1000,
    };
    change(&mut settings);
    let origin = Arc::new(Obedient {
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
        max_waiters: 2000,
    });
    let (clock, registry, held) = (Clock::start(), Registry::new(), Held::always());
    let asked: Arc<dyn Origin> = Arc::<Obedient>::clone(&origin);
    let loader = Loader::new(
        asked,
        view.clone(),
        clock,
        settings,
        &registry,
        Shutdown::new(),
        None,
    );
    let bounds = read::Settings {
        epoch_wait: Duration::from_millis(200),
        max_deadline: Duration::from_secs(10),
        max_value_bytes: MAX_VALUE_BYTES,
    };
    let metrics = ReadMetrics::register(&registry);
    let path = ReadPath::new(
        (ME.into(), held.clone()),
        cache.clone(),
        loader,
        view,
        clock,
        bounds,
        metrics,
    );
    Inside {
        path,
        cache,
        origin,
        views,
        held,
        clock,
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

/// A key for which member 1 of three has `role`.
fn key_where(view: &View, role: crate::topology::Role) -> String {
    (0..10_000)
        .map(|i| format!("key-{i}"))
        .find(|key| view.role_of(ME, KeyHash::of(GROUP, key.as_bytes()).partition()) == role)
        .expect("each role is common")
}
