//! The paths inside the cache engine and the view: calls of the library, nothing between.

use std::hint::black_box;

use futures_util::FutureExt;
use gcache::cache::{Cache, Found, Loaded, Request, Wait};
use gcache::hash::KeyHash;
use gcache::ids::{Epoch, GroupId, NodeId};
use gcache::topology::{Member, MemberStatus, View, Zone, place};

use crate::measure::Meter;
use crate::requests::{Key, VALUE_BYTES, cache, fill, key, request};

/// Entries of a cache that keys are looked up in: more than the processor's caches hold, which does not
/// count here, and few enough that filling it takes no time.
const ENTRIES: usize = 10_000;

const VALUE: [u8; VALUE_BYTES] = [7; VALUE_BYTES];

/// Distinct keys; made beforehand, because making them is no part of any path.
fn keys(count: usize) -> Vec<Key> {
    (0..count).map(|index| key(index as u32)).collect()
}

/// Misses, loads and stores.
fn store(cache: &Cache, key: &Key) {
    match cache.get_or_join(&request(black_box(key))) {
        Found::Lead { lead, wait, .. } => {
            lead.finish(Loaded::Value(&VALUE), &fill());
            drop(wait);
        }
        other => unreachable!("the key is new: {other:?}"),
    }
}

fn filled(memory_bytes: u64, keys: &[Key]) -> Cache {
    let cache = cache(memory_bytes);
    keys.iter().for_each(|key| store(&cache, key));
    cache
}

pub(crate) fn look_up(operations: usize, meter: &Meter) {
    let members: Vec<_> = (1..=12).map(member).collect();
    let table = place(&members, None, Epoch(1));
    let view = View::new("counts", Epoch(1), members, &table, vec![]).expect("sound parts");
    let keys = keys(ENTRIES);
    let span = meter.begin();
    for key in keys.iter().cycle().take(operations) {
        let route = view.route(KeyHash::of(GroupId(1), black_box(key)));
        let owner = route.owner.expect("every partition has an owner");
        black_box(view.at(owner).grpc_port);
    }
    meter.end(span);
}

fn member(id: u64) -> Member {
    Member {
        id: NodeId(id),
        name: format!("node-{id}").into(),
        host: format!("10.0.0.{id}").into(),
        grpc_port: 8001,
        zone: Zone::new(format!("zone-{}", id % 3)),
        weight: 1,
        status: MemberStatus::Up,
    }
}

pub(crate) fn get(operations: usize, meter: &Meter) {
    let keys = keys(ENTRIES);
    let cache = filled(64 << 20, &keys);
    let span = meter.begin();
    for key in keys.iter().cycle().take(operations) {
        match cache.get_or_join(&request(black_box(key))) {
            Found::Fresh(entry) => black_box(entry.value()[0]),
            other => unreachable!("everything is cached: {other:?}"),
        };
    }
    meter.end(span);
}

pub(crate) fn insert(operations: usize, meter: &Meter) {
    let keys = keys(ENTRIES + operations);
    let (before, new) = keys.split_at(ENTRIES);
    let cache = filled(256 << 20, before);
    let span = meter.begin();
    new.iter().for_each(|key| store(&cache, key));
    meter.end(span);
    assert_eq!(cache.stats().counts.evicted, 0);
}

pub(crate) fn insert_evicting(operations: usize, meter: &Meter) {
    let keys = keys(3 * ENTRIES + operations);
    let (before, new) = keys.split_at(3 * ENTRIES);
    // Room for half of what is there before, so that every shard has its usual size.
    let cache = filled(4 << 20, before);
    let evicted = cache.stats().counts.evicted;
    let span = meter.begin();
    new.iter().for_each(|key| store(&cache, key));
    meter.end(span);
    let evicted = (cache.stats().counts.evicted - evicted) as usize;
    assert!(evicted.abs_diff(operations) < 100, "{evicted} evicted");
}

pub(crate) fn join(operations: usize, meter: &Meter) {
    let cache = cache(64 << 20);
    let key = key(1);
    let lead = cache.get_or_join(&request(&key));
    let span = meter.begin();
    for _ in 0..operations {
        drop(black_box(waits(&cache, &request(black_box(&key)))));
    }
    meter.end(span);
    drop(lead);
}

fn waits(cache: &Cache, request: &Request<'_>) -> Wait {
    match cache.get_or_join(request) {
        Found::Wait { wait, .. } => wait,
        other => unreachable!("the flight is open: {other:?}"),
    }
}

pub(crate) fn land(operations: usize, meter: &Meter) {
    let keys = keys(ENTRIES);
    let cache = cache(64 << 20);
    let span = meter.begin();
    for key in keys.iter().cycle().take(operations) {
        let request = request(black_box(key));
        let Found::Lead { lead, wait, .. } = cache.get_or_join(&request) else {
            unreachable!("the key was deleted");
        };
        let second = waits(&cache, &request);
        lead.finish(Loaded::Value(&VALUE), &fill());
        for wait in [wait, second] {
            let outcome = wait
                .outcome()
                .now_or_never()
                .expect("the flight has landed");
            assert!(outcome.stored);
        }
        cache.delete(request.group, request.key, request.hash);
    }
    meter.end(span);
}
