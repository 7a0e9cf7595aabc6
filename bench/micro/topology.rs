//! How long a look-up in the view takes, and how long placing the partitions takes.
//!
//! `cargo bench --bench topology`. A look-up is on the path of every request: a few ns. Placing is
//! done once per change of the members, by the leader: milliseconds.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gcache::hash::KeyHash;
use gcache::ids::{Epoch, NodeId};
use gcache::topology::{Member, MemberStatus, View, Zone, place};

/// Members of weights 1 to 4 in three zones.
fn members(count: u64) -> Vec<Member> {
    let member = |id| Member {
        id: NodeId(id),
        name: format!("node-{id}").into(),
        host: format!("10.0.0.{id}").into(),
        grpc_port: 8001,
        zone: Zone::new(format!("zone-{}", id % 3)),
        weight: 1 + (id % 4) as u32,
        status: MemberStatus::Up,
    };
    (1..=count).map(member).collect()
}

/// Hashes in an order that no cache or branch predictor foresees; a power of two of them.
fn hashes() -> Vec<KeyHash> {
    (0..1u64 << 16)
        .map(|n| KeyHash(xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes())))
        .collect()
}

fn look_ups(criterion: &mut Criterion) {
    let hashes = hashes();
    let mut turn = 0;
    let mut next = || {
        turn = (turn + 1) & (hashes.len() - 1);
        hashes[turn]
    };
    for count in [12, 100] {
        let members = members(count);
        let table = place(&members, None, Epoch(1));
        let view = View::new("bench", Epoch(1), members, &table, vec![]).expect("sound parts");
        criterion.bench_function(&format!("route/{count}"), |bencher| {
            bencher.iter(|| black_box(view.route(next())));
        });
        criterion.bench_function(&format!("route to owner's member/{count}"), |bencher| {
            bencher.iter(|| {
                view.route(next())
                    .owner
                    .map(|owner| black_box(view.at(owner).grpc_port))
            });
        });
        criterion.bench_function(&format!("last resort/{count}"), |bencher| {
            bencher.iter(|| black_box(view.last_resort(next(), |_| true)));
        });
    }
}

fn placements(criterion: &mut Criterion) {
    for count in [12, 100] {
        let before = members(count);
        let after = members(count + 1);
        let table = place(&before, None, Epoch(1));
        criterion.bench_function(&format!("place from scratch/{count}"), |bencher| {
            bencher.iter(|| place(black_box(&before), None, Epoch(1)));
        });
        criterion.bench_function(&format!("place a join/{count}"), |bencher| {
            bencher.iter(|| place(black_box(&after), Some(&table), Epoch(2)));
        });
        criterion.bench_function(&format!("build a view/{count}"), |bencher| {
            bencher.iter_batched(
                || before.clone(),
                |members| View::new("bench", Epoch(1), members, &table, vec![]),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, look_ups, placements);
criterion_main!(benches);
