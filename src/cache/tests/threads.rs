//! Many threads at once: one loader per key, and books that balance afterwards.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn each_key_is_loaded_by_one_thread() {
    const THREADS: usize = 8;
    const KEYS: usize = 200;
    let bench = Bench::new();
    let loads: Vec<AtomicUsize> = (0..KEYS).map(|_| AtomicUsize::new(0)).collect();
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for (i, loads) in loads.iter().enumerate() {
                    match bench.ask(&format!("{i}")) {
                        Found::Lead { lead, .. } => {
                            loads.fetch_add(1, Ordering::Relaxed);
                            lead.finish(Loaded::Value(b"v"), &bench.fill());
                        }
                        Found::Fresh(_) | Found::Wait { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert!(loads.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    bench.assert_settled();
}

#[test]
fn threads_that_fill_evict_and_delete_keep_the_books_and_the_budget() {
    const BUDGET: u64 = 300_000;
    let bench = Bench::limited(BUDGET, 100, 100);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let bench = &bench;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                for _ in 0..5_000 {
                    let key = format!("{}", random.u32(..2_000));
                    let large = random.u32(..200) == 0;
                    let value = vec![0; if large { 20_000 } else { random.usize(..200) }];
                    match bench.ask(&key) {
                        Found::Lead { lead, .. } => {
                            lead.finish(Loaded::Value(&value), &bench.fill());
                        }
                        Found::Fresh(_) if random.bool() => {
                            bench.delete(&key);
                        }
                        _ => {}
                    }
                    assert!(bench.cache.inner.budget.used() <= BUDGET);
                }
            });
        }
    });
    bench.assert_settled();
    assert!(bench.cache.stats().counts.evicted > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_landing_between_a_waiters_look_and_his_sleep_is_not_missed() {
    let bench = Bench::new();
    for round in 0..5_000 {
        let key = format!("{round}");
        let (lead, first) = bench.lead(&key);
        let waiting = [
            tokio::spawn(first.outcome()),
            tokio::spawn(bench.join(&key).outcome()),
        ];
        lead.finish(Loaded::Value(b"v"), &bench.fill());
        for task in waiting {
            let outcome = tokio::time::timeout(std::time::Duration::from_secs(10), task);
            assert_eq!(value(&outcome.await.unwrap().unwrap()), "v");
        }
    }
    bench.assert_settled();
}
