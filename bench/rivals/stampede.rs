//! Ten thousand callers of one cold key whose load takes 100 ms, and the same callers again when it is
//! warm: how many loads there were, and what the callers waited for beyond the one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::{self, Connection};
use crate::node;
use crate::place::Place;
use crate::rounds::{Scale, median, note};
use crate::servers;
use crate::workload::{key, path, rows_file, value};

/// Callers, each with a connection of its own.
const CALLERS: usize = 10_000;

/// Connections that are being opened at once: below the kernel's backlog, beyond which a SYN is lost.
const OPENING: usize = 256;

/// How long a load takes.
pub(crate) const LOAD: Duration = Duration::from_millis(100);

/// How long the callers may take in all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Medians of one rival, and the samples they are of.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// The most of any round.
    pub(crate) loads: u64,
    pub(crate) cold: Latencies,
    pub(crate) warm: Latencies,
    /// The 99th percentile of the cold callers beyond the load and that of the warm ones.
    pub(crate) excess_ms: f64,
    samples: Vec<Sample>,
}

/// One round.
#[derive(Clone, Serialize)]
struct Sample {
    loads: u64,
    cold: Latencies,
    warm: Latencies,
}

/// From a caller's own request to its answer.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Latencies {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// Measures gcache and groupcache, in turns, each round with a key that nobody asked for before.
pub(crate) async fn measure(place: &Place, scale: &Scale) -> anyhow::Result<Vec<Measured>> {
    let rows = rows_file(place)?;
    let latency = format!("{}ms", LOAD.as_millis());
    let set = format!("origin.memory_latency={latency}");
    let gcache = servers::gcache(place, &rows, &[&set]).await?;
    servers::is_ready(&gcache).await?;
    let groupcache = servers::groupcache(place, &rows, &latency).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=scale.repeats {
        let key = key(round);
        let before = gcache_loads(place).await?;
        let (cold, warm) = both(gcache.address, &key).await?;
        let loads = gcache_loads(place).await? - before;
        ours.push(Sample { loads, cold, warm });
        let before = groupcache_loads(place).await?;
        let (cold, warm) = both(groupcache.address, &key).await?;
        let loads = groupcache_loads(place).await? - before;
        theirs.push(Sample { loads, cold, warm });
        note(&format!("stampede, round {round} of {}", scale.repeats));
    }
    Ok(vec![
        measured("gcache", ours),
        measured("groupcache", theirs),
    ])
}

async fn gcache_loads(place: &Place) -> anyhow::Result<u64> {
    node::metric(
        servers::node_admin(place),
        "gcache_origin_loaded_keys_total",
    )
    .await
}

async fn groupcache_loads(place: &Place) -> anyhow::Result<u64> {
    let mut loads = 0;
    for peer in servers::groupcache_peers(place) {
        loads += client::get(peer, "/loads").await?.parse::<u64>()?;
    }
    Ok(loads)
}

fn measured(name: &'static str, samples: Vec<Sample>) -> Measured {
    let of = |pick: fn(&Sample) -> Latencies| {
        let each = |field: fn(Latencies) -> f64| median(samples.iter().map(|it| field(pick(it))));
        Latencies {
            p50_ms: each(|latencies| latencies.p50_ms),
            p99_ms: each(|latencies| latencies.p99_ms),
            max_ms: each(|latencies| latencies.max_ms),
        }
    };
    let load_ms = LOAD.as_secs_f64() * 1e3;
    let excess = samples
        .iter()
        .map(|it| it.cold.p99_ms - load_ms - it.warm.p99_ms);
    Measured {
        name,
        loads: samples.iter().map(|sample| sample.loads).max().unwrap_or(0),
        cold: of(|sample| sample.cold),
        warm: of(|sample| sample.warm),
        excess_ms: median(excess),
        samples,
    }
}

/// The callers ask for the key while it is cold, and again.
async fn both(server: SocketAddr, key: &str) -> anyhow::Result<(Latencies, Latencies)> {
    let connections = connect_all(server).await?;
    let (connections, cold) = timeout(PATIENCE, fire(connections, key)).await??;
    let (_, warm) = timeout(PATIENCE, fire(connections, key)).await??;
    Ok((cold, warm))
}

async fn connect_all(server: SocketAddr) -> anyhow::Result<Vec<Connection>> {
    let places = Arc::new(Semaphore::new(OPENING));
    let mut opening = JoinSet::new();
    for _ in 0..CALLERS {
        let places = Arc::clone(&places);
        opening.spawn(async move {
            let _place = places.acquire_owned().await;
            Connection::open(server).await
        });
    }
    let opened = timeout(PATIENCE, opening.join_all()).await?;
    let opened: Result<_, _> = opened.into_iter().collect();
    opened.context("a place among the connections")
}

/// All ask at once.
async fn fire(
    connections: Vec<Connection>,
    key: &str,
) -> anyhow::Result<(Vec<Connection>, Latencies)> {
    let start = Arc::new(Barrier::new(connections.len()));
    let mut asking = JoinSet::new();
    for mut connection in connections {
        let (start, key) = (Arc::clone(&start), key.to_owned());
        asking.spawn(async move {
            start.wait().await;
            let began = Instant::now();
            let (status, body) = connection.get(&path(&key)).await?;
            let waited = began.elapsed();
            let said = String::from_utf8_lossy(&body);
            ensure!(status == 200 && said == value(&key), "{status} {said}");
            Ok((connection, waited))
        });
    }
    let answered = asking.join_all().await;
    let answered: anyhow::Result<Vec<_>> = answered.into_iter().collect();
    let (connections, mut waited): (Vec<_>, Vec<_>) = answered?.into_iter().unzip();
    waited.sort_unstable();
    let at = |share: f64| {
        let index = (waited.len() - 1) as f64 * share;
        waited[index as usize].as_secs_f64() * 1e3
    };
    let latencies = Latencies {
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
    };
    Ok((connections, latencies))
}
