//! Look-ups at a node over its pipeline, against Redis's GET at the same depth: so many connections,
//! each with a group of 16 in flight, and the next group when all 16 have answered.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use gcache::rpc::pipeline::Pipeline;
use gcache::shutdown::Shutdown;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::fill_and_check;
use crate::fill;
use crate::node;
use crate::place::Place;
use crate::process::{Process, find};
use crate::rounds::{Scale, median, note};
use crate::servers::{self, Server};
use crate::workload::{KEYS, VALUE_BYTES, key, rows_file, value};

/// Look-ups in one group.
const DEPTH: usize = 16;

/// The numbers of connections.
const CONNECTIONS: [usize; 3] = [1, 4, 50];

/// Look-ups by which the rate of redis-benchmark, which counts and does not watch the clock, is learnt.
const TRIAL: usize = 200_000;

/// Both at one number of connections.
#[derive(Serialize)]
pub(crate) struct Comparison {
    pub(crate) connections: usize,
    pub(crate) gcache: Measured,
    pub(crate) redis: Measured,
    /// Per second of the server's processor time, the median of the rounds' ratios.
    pub(crate) gcache_over_redis_per_core: f64,
    pub(crate) gcache_over_redis: f64,
}

/// Medians, and the samples they are of.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) per_server_core_second: f64,
    samples: Vec<Sample>,
}

/// One slot.
#[derive(Clone, Copy, Serialize)]
struct Sample {
    per_second: f64,
    per_server_core_second: f64,
}

/// Measures at each number of connections, in turns.
pub(crate) async fn measure(place: &Place, scale: &Scale) -> anyhow::Result<Vec<Comparison>> {
    let rows = rows_file(place)?;
    let gcache = servers::gcache(place, &rows, &[]).await?;
    servers::is_ready(&gcache).await?;
    fill_and_check(gcache.address).await?;
    let redis = servers::redis(place).await?;
    let rows = (0..KEYS).map(|index| (key(index), value(&key(index))));
    fill::redis(redis.address, rows)?;
    let mut comparisons = Vec::new();
    for connections in CONNECTIONS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let trial = ask_redis(&redis, connections, TRIAL)?.per_second;
        let count = (trial * scale.seconds as f64) as usize;
        for round in 1..=scale.repeats {
            let our = ask_gcache(place, &gcache, connections, scale.seconds).await?;
            let its = ask_redis(&redis, connections, count)?;
            note(&format!(
                "look-ups, {connections} × {DEPTH}, round {round}: gcache {:.0}/s, redis {:.0}/s",
                our.per_second, its.per_second
            ));
            ours.push(our);
            theirs.push(its);
        }
        comparisons.push(compare(connections, ours, theirs));
    }
    let misses = fill::redis_info(redis.address, "keyspace_misses")?;
    ensure!(misses == 0, "redis had {misses} misses");
    Ok(comparisons)
}

fn compare(connections: usize, ours: Vec<Sample>, theirs: Vec<Sample>) -> Comparison {
    let ratio = |field: fn(&Sample) -> f64| {
        let rounds = ours.iter().zip(&theirs);
        median(rounds.map(|(our, its)| field(our) / field(its)))
    };
    Comparison {
        connections,
        gcache_over_redis_per_core: ratio(|sample| sample.per_server_core_second),
        gcache_over_redis: ratio(|sample| sample.per_second),
        gcache: measured(ours),
        redis: measured(theirs),
    }
}

fn measured(samples: Vec<Sample>) -> Measured {
    let cores = samples.iter().map(|sample| sample.per_server_core_second);
    Measured {
        per_second: median(samples.iter().map(|sample| sample.per_second)),
        per_server_core_second: median(cores),
        samples,
    }
}

fn sample(count: usize, time: Duration, cpu: Duration) -> Sample {
    Sample {
        per_second: count as f64 / time.as_secs_f64(),
        per_server_core_second: count as f64 / cpu.as_secs_f64(),
    }
}

fn used(server: &Server) -> Duration {
    server.processes.iter().map(Process::cpu).sum()
}

async fn ask_gcache(
    place: &Place,
    server: &Server,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<Sample> {
    let shutdown = Shutdown::new();
    let keys: Arc<[Bytes]> = (0..KEYS).map(|index| key(index).into()).collect();
    let mut pipelines = Vec::new();
    for _ in 0..connections {
        let address = servers::node_address(place);
        pipelines.push(node::connect(address, place.client(), &shutdown).await?);
    }
    // The frontend of the server is idle: what it uses for pings is counted against us.
    let (cpu, began) = (used(server), Instant::now());
    let until = began + Duration::from_secs(seconds);
    let mut asking = JoinSet::new();
    for pipeline in pipelines {
        asking.spawn(ask(pipeline, Arc::clone(&keys), until));
    }
    let mut count = 0;
    while let Some(asked) = asking.join_next().await {
        count += asked??;
    }
    let measured = sample(count, began.elapsed(), used(server) - cpu);
    shutdown.finish(Duration::from_secs(1)).await;
    Ok(measured)
}

/// One connection's look-ups: how many.
async fn ask(pipeline: Pipeline, keys: Arc<[Bytes]>, until: Instant) -> anyhow::Result<usize> {
    let mut count = 0;
    while Instant::now() < until {
        let key = |_| keys[fastrand::usize(..KEYS)].clone();
        let group = (0..DEPTH).map(key);
        try_join_all(group.map(|key| node::look_up(&pipeline, key))).await?;
        count += DEPTH;
    }
    Ok(count)
}

fn ask_redis(server: &Server, connections: usize, count: usize) -> anyhow::Result<Sample> {
    let cpu = used(server);
    let output = Command::new(find("timeout")?)
        .arg("120")
        .arg(find("redis-benchmark")?)
        .args(["-h", &server.address.ip().to_string()])
        .args(["-p", &server.address.port().to_string()])
        .args(["-t", "get", "-P", &DEPTH.to_string()])
        .args(["-c", &connections.to_string(), "-n", &count.to_string()])
        .args(["-r", &KEYS.to_string(), "-d", &VALUE_BYTES.to_string()])
        .arg("--csv")
        .output()
        .context("redis-benchmark runs")?;
    let cpu = used(server) - cpu;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said
        .lines()
        .find_map(|line| line.strip_prefix("\"GET\",\"")?.split('"').next());
    let rate: f64 = rate
        .and_then(|rate| rate.parse().ok())
        .with_context(|| format!("redis-benchmark says {said}"))?;
    Ok(sample(
        count,
        Duration::from_secs_f64(count as f64 / rate),
        cpu,
    ))
}
