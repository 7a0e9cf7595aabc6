//! P3: after an acknowledged delete no frontend answers with the older value, also while it loads.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, StatusCode};

use super::*;
use crate::cache::LoadError;
use crate::client::{ask, key_url};
use crate::config::{Layers, SourceFile, load, read_groups};
use crate::origin::{BoxFuture, Row};
use crate::topology::Group;

const KEYS: usize = 6;
const WRITES: u64 = 60;
const READERS: usize = 12;

/// Short lifetimes and long windows: every way of serving a value is taken all the time.
const GROUPS: &str = "
[groups.g]
table = \"t\"
key_column = \"k\"
value_column = \"v\"
ttl = \"20ms\"
stale = \"1h\"
stale_if_error = \"1h\"
";

/// An origin whose values are versions. It reads at the beginning of a load and answers later, as a
/// database does whose answer is on its way while a write commits.
#[derive(Debug, Default)]
struct Versions {
    now: [AtomicU64; KEYS],
    loads: AtomicU64,
}

impl Origin for Versions {
    fn load<'a>(
        &'a self,
        _: &'a Group,
        keys: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Vec<Row>, LoadError>> {
        Box::pin(async move {
            self.loads.fetch_add(1, Ordering::Relaxed);
            let version = |key: &Bytes| {
                let place: usize = std::str::from_utf8(key).unwrap().parse().unwrap();
                self.now[place].load(Ordering::SeqCst)
            };
            let rows = keys
                .iter()
                .map(|key| Ok(Some(version(key).to_string().into())))
                .collect();
            tokio::time::sleep(Duration::from_micros(fastrand::u64(..3_000))).await;
            Ok(rows)
        })
    }

    fn check<'a>(&'a self, _: &'a Group) -> BoxFuture<'a, Result<(), LoadError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "versions".into()
    }
}

/// Three nodes and two frontends; the frontends' addresses.
async fn start(origin: &Arc<Versions>, shutdown: &Shutdown) -> [SocketAddr; 2] {
    let config = load(&Layers::default()).unwrap().config;
    let host = IpAddr::from([127, 0, 0, 1]);
    let listeners = [(); 3].map(|()| listen((host, 0).into(), "gRPC", BACKLOG).unwrap());
    let members: Vec<Member> = (1..)
        .zip(&listeners)
        .map(|(number, listener)| member(number, host, listener.local_addr().unwrap()))
        .collect();
    let groups = read_groups(SourceFile {
        name: "groups",
        text: GROUPS,
    })
    .unwrap();
    let view = fixed_view(members.clone(), groups).unwrap();
    let world = Given {
        config: &config,
        view: watch::channel(Arc::new(view)).1,
        origin: Arc::<Versions>::clone(origin),
        registry: Registry::new(),
        clock: Clock::start(),
        shutdown: shutdown.clone(),
    };
    for (member, listener) in members.iter().zip(listeners) {
        world.node(member, listener);
    }
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let listener = listen((host, 0).into(), "HTTP", BACKLOG).unwrap();
        addresses.push(listener.local_addr().unwrap());
        until_ready(&world.frontend(listener)).await.unwrap();
    }
    addresses.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_acknowledged_delete_no_frontend_answers_with_the_older_value() {
    let (origin, shutdown) = (Arc::new(Versions::default()), Shutdown::new());
    let frontends = start(&origin, &shutdown).await;
    let url = |key: usize| {
        let any = frontends[fastrand::usize(..2)];
        key_url(&format!("http://{any}"), "g", key.to_string().as_bytes())
    };
    // What a read that begins now must at least return.
    let acknowledged: [AtomicU64; KEYS] = Default::default();
    let writer = async |key: usize| {
        for version in 1..=WRITES {
            origin.now[key].store(version, Ordering::SeqCst);
            let answer = ask(Method::DELETE, &url(key)).await.unwrap();
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
            acknowledged[key].store(version, Ordering::SeqCst);
        }
    };
    let reader = async |_| {
        let mut reads = 0_u64;
        while acknowledged
            .iter()
            .any(|version| version.load(Ordering::SeqCst) < WRITES)
        {
            let key = fastrand::usize(..KEYS);
            let floor = acknowledged[key].load(Ordering::SeqCst);
            let answer = ask(Method::GET, &url(key)).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK);
            let seen: u64 = std::str::from_utf8(&answer.body).unwrap().parse().unwrap();
            assert!(
                seen >= floor,
                "key {key}: {seen} after {floor} was acknowledged"
            );
            reads += 1;
        }
        reads
    };
    let (_, reads) = tokio::join!(
        join_all((0..KEYS).map(writer)),
        join_all((0..READERS).map(reader)),
    );
    let (reads, loads) = (
        reads.iter().sum::<u64>(),
        origin.loads.load(Ordering::Relaxed),
    );
    assert!(
        reads > WRITES && loads > WRITES,
        "{reads} reads, {loads} loads: no race was run"
    );
    // Less than the patience that a node has with a frontend which does not end its stream.
    assert!(shutdown.finish(Duration::from_millis(1_900)).await);
}
