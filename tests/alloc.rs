//! What the cache really allocates: nothing stays behind, and what it charges covers what it takes.
//!
//! One test, because the allocator counts for the whole process.

#![expect(
    clippy::print_stdout,
    reason = "what was measured, shown when the test fails or on request"
)]

use cap::Cap;
use gcache::cache::{Cache, Fill, Found, Freshness, Limits, Loaded, Request, Role, Stamps};
use gcache::hash::{KeyHash, SHARDS};
use gcache::ids::{Generation, GroupId, Millis, Tenure};

#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

const GROUP: GroupId = GroupId(1);

/// hashlru leaks its two list sentinels of 32 bytes when a cache is dropped: once per shard, never
/// per entry.
const SENTINEL_BYTES: usize = SHARDS * 2 * 32;

/// What a shard needs whether it has one entry or a thousand: its group sums, its flight table, the
/// first nodes of its tree. Not charged to anyone; a quarter of a MiB in all.
const FIXED_BYTES: usize = SHARDS * 1_024;

fn cache(memory_bytes: u64) -> Cache {
    Cache::new(Limits {
        memory_bytes,
        max_waiters_per_key: 100,
        max_waiters_per_group: 100,
        max_waiters: 200,
    })
}

fn request(key: &[u8], generation: u32, now: u64) -> Request<'_> {
    let generation = Generation(generation);
    Request {
        group: GROUP,
        key,
        hash: KeyHash::of(GROUP, key),
        role: Role::Owner,
        stamps: Stamps {
            tenure: Tenure(1),
            inherits: None,
            copies: None,
            generation,
        },
        now: Millis(now),
    }
}

fn load(cache: &Cache, request: &Request<'_>, value: &[u8], ttl_ms: u32) {
    let freshness = Freshness {
        ttl_ms,
        jitter: 6_554,
        stale_ms: 0,
        stale_if_error_ms: 0,
        negative_ttl_ms: 1_000,
        error_ttl_ms: 100,
        max_value_bytes: 1 << 20,
    };
    if let Found::Lead { lead, wait, .. } = cache.get_or_join(request) {
        let random = fastrand::u64(..);
        let (stamps, now) = (request.stamps, request.now);
        lead.finish(
            Loaded::Value(value),
            &Fill {
                stamps,
                freshness,
                now,
                load_started: now,
                random,
            },
        );
        drop(wait);
    }
}

fn key(index: usize) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&index.to_le_bytes());
    key
}

/// Bytes allocated beyond those at the start of `body`, after it.
fn kept_by<T>(body: impl FnOnce() -> T) -> (T, isize) {
    let before = ALLOCATOR.allocated() as isize;
    let result = body();
    (result, ALLOCATOR.allocated() as isize - before)
}

/// Fills, overwrites, deletes, expires, resets and evicts, again and again.
fn churn(cache: &Cache, rounds: u32) {
    for round in 1..=rounds {
        let now = u64::from(round) * 10_000;
        for index in 0..2_000 {
            let key = key(index);
            let request = request(&key, round, now);
            load(cache, &request, &vec![7; index % 500], 5_000);
            match index % 5 {
                0 => drop(cache.delete(GROUP, &key, request.hash).found.then_some(())),
                1 => drop(
                    cache
                        .expire(GROUP, &key, request.hash, request.now)
                        .found
                        .then_some(()),
                ),
                _ => {}
            }
        }
        match round % 3 {
            0 => drop(cache.sweep(Millis(now + 9_000), usize::MAX)),
            1 => drop(cache.reset(GROUP, Generation(round + 1)).entries),
            _ => {}
        }
    }
}

fn nothing_stays_behind_when_a_cache_is_dropped() {
    for memory_bytes in [100_000, 64 << 20] {
        // The harness's own thread allocates at times; a leak would show in each of the runs.
        let run = || kept_by(|| churn(&cache(memory_bytes), 6)).1;
        let kept = run().min(run()).min(run());
        assert_eq!(
            kept, SENTINEL_BYTES as isize,
            "after dropping a cache of {memory_bytes} bytes"
        );
    }
}

fn an_emptied_cache_gives_back_all_entries_however_often_it_was_filled() {
    let cache = cache(64 << 20);
    let emptied = |rounds| {
        churn(&cache, rounds);
        cache.reset(GROUP, Generation(u32::MAX));
        assert_eq!(cache.stats().entries, 0);
    };
    emptied(4);
    // What stays are tables that have grown; they do not grow on.
    let run = || kept_by(|| emptied(10)).1;
    let kept = run().min(run()).min(run());
    assert!(kept <= 0, "{kept} bytes more after thirty more rounds");
}

fn charges_cover_what_is_allocated() {
    println!(
        "{:>9} {:>7} {:>14} {:>14} {:>8}",
        "entries", "value", "charged each", "allocated", "beyond"
    );
    for (entries, value_bytes) in [
        (1_000, 100),
        (10_000, 100),
        (58_000, 100),
        (100_000, 100),
        (120_000, 20),
        (20_000, 3_000),
    ] {
        let cache = cache(2 << 30);
        let value = vec![7; value_bytes];
        let (peak, allocated) = kept_by(|| {
            let mut worst = 0.0f64;
            let before = ALLOCATOR.allocated();
            for index in 0..entries {
                let key = key(index);
                load(&cache, &request(&key, 1, 1_000), &value, 3_600_000);
                if index % 1_000 == 999 {
                    let taken = (ALLOCATOR.allocated() - before) as f64;
                    worst = worst.max(taken / (cache.stats().bytes as usize + FIXED_BYTES) as f64);
                }
            }
            worst
        });
        let charged = cache.stats().bytes as f64 / entries as f64;
        let each = allocated as f64 / entries as f64;
        let beyond = each - (16 + value_bytes) as f64;
        println!(
            "{entries:>9} {value_bytes:>7} {charged:>14.1} {each:>14.1} {beyond:>8.1}  peak {peak:.3}"
        );
        assert!(
            peak <= 1.0 || entries <= 1_000,
            "charged less than allocated: {peak}"
        );
        assert!(each >= 0.6 * charged, "charged far more than allocated");
    }
}

fn the_budget_holds_for_what_is_allocated_while_entries_come_and_go() {
    const BUDGET: usize = 8 << 20;
    let cache = cache(BUDGET as u64);
    let before = ALLOCATOR.allocated();
    let mut most = 0;
    for index in 0..200_000 {
        let key = key(index);
        let value = vec![7; fastrand::usize(..400)];
        load(&cache, &request(&key, 1, index as u64), &value, 3_600_000);
        most = most.max(ALLOCATOR.allocated() - before);
    }
    println!("budget {BUDGET}, at most {most} allocated");
    assert!(
        most <= BUDGET + FIXED_BYTES,
        "{most} bytes allocated under a budget of {BUDGET}"
    );
    assert!(
        most >= BUDGET * 3 / 4,
        "a quarter of the budget was not used: {most}"
    );
}

#[test]
fn memory_is_accounted_for_and_given_back() {
    nothing_stays_behind_when_a_cache_is_dropped();
    an_emptied_cache_gives_back_all_entries_however_often_it_was_filled();
    charges_cover_what_is_allocated();
    the_budget_holds_for_what_is_allocated_while_entries_come_and_go();
}
