//! A whole look-up from a frontend's pipeline to a node's cache and back over loopback gRPC, with 1, 16
//! and 256 calls in flight, and the same through unary `Get`: what batching on one stream is worth.

mod loopback;

use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use gcache::net::{BACKLOG, listen};
use gcache::rpc;
use gcache::rpc::pipeline::Pipeline;
use gcache::rpc::proto::GetRequest;
use gcache::rpc::proto::cache_client::CacheClient;
use gcache::shutdown::Shutdown;
use loopback::{KEYS, VALUE_BYTES};
use tokio::runtime::Runtime;

/// A node on a free port of loopback that has all keys cached, and a pipeline to it.
struct Bench {
    pipeline: Pipeline,
    port: u16,
    keys: Vec<Bytes>,
}

async fn start(shutdown: &Shutdown) -> Bench {
    let config = loopback::config(&[]);
    let listener = listen(([127, 0, 0, 1], 0).into(), "bench", BACKLOG).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    loopback::node(&config, listener, shutdown);
    let bench = Bench {
        pipeline: loopback::pipeline(&config, port, shutdown).await,
        port,
        keys: (0..KEYS).map(|i| loopback::key(i).into()).collect(),
    };
    join_all((0..KEYS).map(|i| look_up(&bench, i))).await;
    bench
}

async fn look_up(bench: &Bench, i: usize) {
    loopback::look_up(&bench.pipeline, bench.keys[i % KEYS].clone()).await;
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
    let url = format!("http://127.0.0.1:{}", bench.port);
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
                            VALUE_BYTES,
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
