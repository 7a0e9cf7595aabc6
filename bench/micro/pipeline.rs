//! A whole look-up from a frontend's pipeline to a node's cache and back over loopback gRPC, with 1, 16
//! and 256 calls in flight, and the same through unary `Get`: what batching on one stream is worth.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use gcache::clock::Clock;
use gcache::config::{Config, Layers, SourceFile, load, read_groups};
use gcache::ids::NodeId;
use gcache::metrics::Registry;
use gcache::net::{BACKLOG, listen};
use gcache::origin::{self, memory::Faults};
use gcache::rpc::pipeline::{Metrics, Pipeline, Target};
use gcache::rpc::proto::cache_client::CacheClient;
use gcache::rpc::proto::{Call, GetRequest};
use gcache::shutdown::Shutdown;
use gcache::topology::view::fixed::fixed_view;
use gcache::topology::{Member, MemberStatus, Zone};
use gcache::{node, rpc};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const GROUPS: &str =
    "[groups.rows]\ntable = \"rows\"\nkey_column = \"k\"\nvalue_column = \"v\"\nttl = \"1h\"\n";
const KEYS: usize = 1024;

/// A node on a free port of loopback, and a pipeline to it.
struct Bench {
    pipeline: Pipeline,
    target: Target,
    keys: Vec<Bytes>,
}

async fn start(shutdown: &Shutdown) -> Bench {
    let config: Config = load(&Layers::default())
        .expect("the defaults are valid")
        .config;
    let listener = listen(([127, 0, 0, 1], 0).into(), "bench", BACKLOG).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let groups = read_groups(SourceFile {
        name: "groups",
        text: GROUPS,
    })
    .expect("valid");
    let member = Member {
        id: NodeId(1),
        name: "bench".into(),
        host: "127.0.0.1".into(),
        grpc_port: port,
        zone: Zone::new("default"),
        weight: 1,
        status: MemberStatus::Up,
    };
    let view = fixed_view(vec![member], groups).expect("valid");
    let value = "v".repeat(100);
    let rows: String = (0..KEYS)
        .map(|i| format!("key:{i:012},{value}\n"))
        .collect();
    let parts = node::Parts {
        place: node::Place::Fixed {
            me: NodeId(1),
            view: watch::channel(Arc::new(view)).1,
        },
        listener,
        origin: origin::embedded("rows", &format!("k,v\n{rows}"), Faults::default())
            .expect("valid"),
        registry: Registry::new(),
        clock: Clock::start(),
        shutdown: shutdown.clone(),
    };
    let _ready = node::start(&config, parts);
    let target = Target {
        host: "127.0.0.1".into(),
        port,
        from: [127, 0, 0, 1].into(),
    };
    let metrics = Metrics::register(&Registry::new(), "bench");
    let pipeline = Pipeline::open(target.clone(), (&config.pipeline).into(), metrics, shutdown);
    while !pipeline.is_reachable() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let keys: Vec<Bytes> = (0..KEYS).map(|i| format!("key:{i:012}").into()).collect();
    let bench = Bench {
        pipeline,
        target,
        keys,
    };
    join_all((0..KEYS).map(|i| look_up(&bench, i))).await;
    bench
}

async fn look_up(bench: &Bench, i: usize) {
    let call = Call {
        group: 1,
        epoch: 1,
        ..Call::default()
    };
    let key = bench.keys[i % KEYS].clone();
    let reply = bench
        .pipeline
        .call(call, key)
        .await
        .expect("the node is there");
    assert_eq!(reply.value.len(), 100, "{:?}", reply.answer);
}

fn pipeline(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let shutdown = Shutdown::new();
    let bench = runtime.block_on(start(&shutdown));
    let mut group = c.benchmark_group("look-up over loopback");
    for in_flight in [1, 16, 256] {
        group.throughput(Throughput::Elements(in_flight as u64));
        group.bench_function(format!("pipeline, {in_flight} in flight"), |b| {
            b.to_async_rounds(&runtime, || {
                join_all((0..in_flight).map(|i| look_up(&bench, i)))
            });
        });
    }
    let url = format!("http://{}", bench.target);
    let client = runtime
        .block_on(CacheClient::connect(url))
        .expect("the node is there");
    for in_flight in [1, 16, 256] {
        group.throughput(Throughput::Elements(in_flight as u64));
        group.bench_function(format!("unary, {in_flight} in flight"), |b| {
            b.to_async_rounds(&runtime, || {
                join_all((0..in_flight).map(|i| {
                    let (mut client, key) = (client.clone(), bench.keys[i % KEYS].clone());
                    async move {
                        let request = GetRequest {
                            group: "rows".into(),
                            key,
                        };
                        let reply = client.get(request).await.expect("a hit").into_inner();
                        assert_eq!(
                            reply.value.len(),
                            100,
                            "via {}",
                            rpc::proto::Via::Hit as i32
                        );
                    }
                }))
            });
        });
    }
    group.finish();
    runtime.block_on(shutdown.finish(Duration::from_secs(1)));
}

/// Times rounds of calls inside the runtime, so that a round costs no entering of it.
trait Rounds {
    fn to_async_rounds<F, T>(&mut self, runtime: &Runtime, round: F)
    where
        F: FnMut() -> T,
        T: Future;
}

impl Rounds for criterion::Bencher<'_> {
    fn to_async_rounds<F, T>(&mut self, runtime: &Runtime, mut round: F)
    where
        F: FnMut() -> T,
        T: Future,
    {
        self.iter_custom(|rounds| {
            runtime.block_on(async {
                let began = tokio::time::Instant::now();
                for _ in 0..rounds {
                    round().await;
                }
                began.elapsed()
            })
        });
    }
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
