//! Nanoseconds per operation of the cache engine and of its rivals, on one Zipf sequence.
//!
//! `cargo bench --bench cache`. Hit ratios and memory: `cargo bench --bench cache_table`.

#![expect(
    clippy::disallowed_types,
    reason = "criterion times threads of its own by the real clock"
)]

mod contenders;
mod requests;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use contenders::{CAPACITY, Contender, Gcache, Lru, Moka, QuickCache};
use criterion::{Criterion, criterion_group, criterion_main};
use gcache::cache::{Found, Loaded};
use requests::{Key, VALUE_BYTES};

/// As in the `gcache` binary: where nodes lie decides how many pages a look-up touches.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Long enough that the sequence itself is not what the processor's caches remember.
const OPERATIONS: usize = 2_000_000;

/// Runs `each` on `iterations` keys per thread and returns the wall time: divided by the
/// iterations it is the time of one operation on a thread.
fn timed(threads: usize, iterations: u64, keys: &[Key], each: impl Fn(&Key) + Sync) -> Duration {
    let start = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (start, each) = (&start, &each);
                let from = thread * keys.len() / threads;
                scope.spawn(move || {
                    start.wait();
                    let endless = keys.iter().cycle().skip(from);
                    endless.take(iterations as usize).for_each(each);
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        for thread in running {
            thread.join().expect("a bench thread does not panic");
        }
        began.elapsed()
    })
}

fn contender<C: Contender>(criterion: &mut Criterion, keys: &[Key]) {
    let value = [7u8; VALUE_BYTES];
    for threads in [1, 2] {
        let cache = C::new();
        keys.iter().for_each(|key| {
            cache.get_or_insert(key, &value);
        });
        let entries = cache.len();
        assert!(
            entries.abs_diff(CAPACITY) < CAPACITY / 50,
            "{} has {entries} entries",
            C::NAME
        );
        criterion.bench_function(&format!("get/{threads}/{}", C::NAME), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(threads, iterations, keys, |key| {
                    black_box(cache.get(black_box(key)));
                })
            });
        });
        criterion.bench_function(&format!("get_or_insert/{threads}/{}", C::NAME), |bencher| {
            bencher.iter_custom(|iterations| {
                timed(threads, iterations, keys, |key| {
                    black_box(cache.get_or_insert(black_box(key), &value));
                })
            });
        });
    }
}

fn rivals(criterion: &mut Criterion) {
    let keys = contenders::workload(OPERATIONS, 1);
    contender::<Gcache>(criterion, &keys);
    contender::<Moka>(criterion, &keys);
    contender::<QuickCache>(criterion, &keys);
    contender::<Lru>(criterion, &keys);
}

fn flights(criterion: &mut Criterion) {
    let cache = requests::cache(64 << 20);
    let key = requests::key(1);
    let request = requests::request(&key);
    let lead = cache.get_or_join(&request);
    criterion.bench_function("flight/join and leave", |bencher| {
        bencher.iter(|| black_box(cache.get_or_join(black_box(&request))));
    });
    drop(lead);
    criterion.bench_function("flight/lead, finish, delete", |bencher| {
        bencher.iter(|| {
            let Found::Lead { lead, wait, .. } = cache.get_or_join(black_box(&request)) else {
                unreachable!("the key was deleted");
            };
            lead.finish(Loaded::Value(&[7; VALUE_BYTES]), &requests::fill());
            drop(wait);
            cache.delete(request.group, request.key, request.hash);
        });
    });
    criterion.bench_function("flight/stampede of 10,000, per caller", |bencher| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("it builds");
        bencher.iter_custom(|iterations| {
            let began = Instant::now();
            for _ in 0..iterations.div_ceil(10_000) {
                runtime.block_on(stampede(&cache, &key));
            }
            began.elapsed()
        });
    });
}

/// Ten thousand callers of one cold key: one load, one task per caller.
async fn stampede(cache: &gcache::cache::Cache, key: &Key) {
    let request = requests::request(key);
    let mut tasks = tokio::task::JoinSet::new();
    let mut lead = None;
    for _ in 0..10_000 {
        match cache.get_or_join(&request) {
            Found::Lead {
                lead: first, wait, ..
            } => {
                lead = Some(first);
                tasks.spawn(wait.outcome());
            }
            Found::Wait { wait, .. } => {
                tasks.spawn(wait.outcome());
            }
            other => unreachable!("the key is cold: {other:?}"),
        }
    }
    tokio::task::yield_now().await;
    let lead = lead.expect("the first caller leads");
    lead.finish(Loaded::Value(&[7; VALUE_BYTES]), &requests::fill());
    black_box(tasks.join_all().await);
    cache.delete(request.group, request.key, request.hash);
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(400))
        .measurement_time(Duration::from_millis(1_500))
        .without_plots()
}

criterion_group!(name = benches; config = short(); targets = rivals, flights);
criterion_main!(benches);
