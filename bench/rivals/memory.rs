//! Memory per entry: what a million entries of 16 and 100 bytes make a process grow by.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::try_join_all;
use gcache::shutdown::Shutdown;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::fill;
use crate::node;
use crate::place::Place;
use crate::rounds::note;
use crate::servers::{self, Server};
use crate::workload::{KEY_BYTES, VALUE_BYTES, key, value};

/// Entries.
const ENTRIES: usize = 1_000_000;

/// Tasks that fill our node, and the look-ups each has in flight.
const FILLERS: usize = 8;
const DEPTH: usize = 64;

/// For allocators to give back what they do not need any more.
const SETTLE: Duration = Duration::from_secs(2);

/// Bytes per entry beyond key and value.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// By what the process grew.
    pub(crate) resident: f64,
    /// By what it says that it holds.
    pub(crate) counted: f64,
}

/// Measures all three.
pub(crate) async fn measure(place: &Place) -> anyhow::Result<Vec<Measured>> {
    Ok(vec![
        gcache(place).await?,
        redis(place).await?,
        memcached(place).await?,
    ])
}

fn rows() -> impl Iterator<Item = fill::Row> {
    (0..ENTRIES).map(|index| (key(index), value(&key(index))))
}

async fn resident(server: &Server) -> anyhow::Result<u64> {
    sleep(SETTLE).await;
    server.processes[0].resident_bytes()
}

fn measured(name: &'static str, resident: u64, counted: u64) -> Measured {
    let beyond = |bytes: u64| bytes as f64 / ENTRIES as f64 - (KEY_BYTES + VALUE_BYTES) as f64;
    let measured = Measured {
        name,
        resident: beyond(resident),
        counted: beyond(counted),
    };
    note(&format!(
        "memory: {name} {:.1} B per entry, {:.1} by its own count",
        measured.resident, measured.counted
    ));
    measured
}

async fn gcache(place: &Place) -> anyhow::Result<Measured> {
    let server = servers::made_up_node(place).await?;
    let shutdown = Shutdown::new();
    let pipeline = node::connect(server.address, place.client(), &shutdown).await?;
    node::look_up(&pipeline, key(0).into()).await?;
    let before = resident(&server).await?;
    let mut filling = JoinSet::new();
    for filler in 0..FILLERS {
        let pipeline = pipeline.clone();
        filling.spawn(async move {
            let keys: Vec<usize> = (filler..ENTRIES).step_by(FILLERS).collect();
            for keys in keys.chunks(DEPTH) {
                let asked = keys
                    .iter()
                    .map(|index| node::look_up(&pipeline, key(*index).into()));
                try_join_all(asked).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = filling.join_next().await {
        filled??;
    }
    let after = resident(&server).await?;
    let metrics = node::above(server.address);
    let entries = node::metric(metrics, "gcache_cache_entries").await?;
    ensure!(entries == ENTRIES as u64, "gcache holds {entries}");
    let counted = node::metric(metrics, "gcache_cache_memory_bytes").await?;
    shutdown.finish(Duration::from_secs(1)).await;
    Ok(measured("gcache", after - before, counted))
}

async fn redis(place: &Place) -> anyhow::Result<Measured> {
    let server = servers::redis(place).await?;
    let counted = || fill::redis_info(server.address, "used_memory");
    let (before, counted_before) = (resident(&server).await?, counted()?);
    fill::redis(server.address, rows())?;
    let after = resident(&server).await?;
    Ok(measured(
        "Redis",
        after - before,
        counted()? - counted_before,
    ))
}

async fn memcached(place: &Place) -> anyhow::Result<Measured> {
    let server = servers::memcached(place).await?;
    let before = resident(&server).await?;
    fill::memcached(server.address, rows())?;
    let after = resident(&server).await?;
    let stat = |name| fill::memcached_stat(server.address, name);
    let (entries, counted) = (stat("curr_items")?, stat("bytes")?);
    ensure!(entries == ENTRIES as u64, "memcached holds {entries}");
    Ok(measured("memcached", after - before, counted))
}
