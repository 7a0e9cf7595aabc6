//! Cold misses at a node over a real PostgreSQL: batches of keys against one statement per key, over the
//! same number of connections, with the keys of a Zipf distribution over pgbench's accounts.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use gcache::rpc::pipeline::Pipeline;
use gcache::rpc::proto::{Call, Status};
use gcache::shutdown::Shutdown;
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::rngs::SmallRng;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::node;
use crate::place::Place;
use crate::process::{Process, find};
use crate::rounds::{Scale, median, note};
use crate::testkit::postgres::Postgres;
use crate::testkit::process::GCACHE;

/// pgbench's scale: a million accounts.
const PGBENCH_SCALE: &str = "10";
const ACCOUNTS: u64 = 1_000_000;
const ZIPF: f64 = 0.99;

/// Callers, each of whom asks again when he has his answer.
const CALLERS: u64 = 512;

/// Odd, and without a factor in common with [`ACCOUNTS`]: spreads the ranks over the table.
const SCATTER: u64 = 617_273;

const GROUPS: &str = "[groups.accounts]\n\
    query = \"SELECT aid, row_to_json(a)::text FROM pgbench_accounts a WHERE aid = ANY($1)\"\n\
    key_type = 'bigint'\nttl = '1h'\n";

/// One way of loading.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) loads_per_second: f64,
    pub(crate) keys_per_statement: f64,
    /// Loads per second over those of one statement per key, the median of the rounds' ratios.
    pub(crate) over_single: f64,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, Serialize)]
struct Sample {
    loads_per_second: f64,
    keys_per_statement: f64,
}

/// The ways: one key in a statement, with as many statements at once as serve it best here, and the
/// defaults.
const WAYS: [(&str, &[&str]); 2] = [
    (
        "one statement per key",
        &["origin.max_batch=1", "origin.max_concurrent_loads=16"],
    ),
    ("batches of up to 128 keys", &[]),
];

/// Measures both ways in turns, each time with a fresh node.
pub(crate) async fn measure(place: &Place, scale: &Scale) -> anyhow::Result<Vec<Measured>> {
    let server = postgres(place)?;
    let mut samples: [Vec<Sample>; WAYS.len()] = Default::default();
    for round in 1..=scale.repeats {
        for ((name, set), samples) in WAYS.iter().zip(&mut samples) {
            let sample = ask(place, server.url(), set, scale.seconds).await?;
            note(&format!(
                "misses, round {round}: {name}: {:.0} loads/s, {:.1} keys per statement",
                sample.loads_per_second, sample.keys_per_statement
            ));
            samples.push(sample);
        }
    }
    let single = samples[0].clone();
    let measured = WAYS.iter().zip(samples).map(|((name, _), samples)| {
        let rounds = samples.iter().zip(&single);
        Measured {
            name,
            loads_per_second: median(samples.iter().map(|sample| sample.loads_per_second)),
            keys_per_statement: median(samples.iter().map(|sample| sample.keys_per_statement)),
            over_single: median(
                rounds.map(|(own, single)| own.loads_per_second / single.loads_per_second),
            ),
            samples,
        }
    });
    Ok(measured.collect())
}

/// A throw-away server with pgbench's tables.
fn postgres(place: &Place) -> anyhow::Result<Postgres> {
    let server = Postgres::start(place.folder(), &[], None);
    let output = Command::new(find("pgbench")?)
        .args(["-i", "-q", "-s", PGBENCH_SCALE, server.url()])
        .output()
        .context("pgbench runs")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench: {said}");
    Ok(server)
}

async fn ask(place: &Place, url: &str, set: &[&str], seconds: u64) -> anyhow::Result<Sample> {
    let address = place.address(11, 1, 8001);
    let (host, admin) = (address.ip().to_string(), place.address(11, 1, 2112));
    let groups = place.write("misses-groups.toml", GROUPS)?;
    let data = tempfile::tempdir_in(place.folder())?.keep();
    let data = data.display().to_string();
    let mut args = vec![
        "node",
        "--id",
        "node-1",
        "--host",
        &host,
        "--seeds",
        &host,
        "--data-dir",
        &data,
        "--origin",
        url,
        "--memory",
        "4GiB",
    ];
    args.extend(set.iter().flat_map(|set| ["--set", set]));
    let mut process = Process::start(place, "gcache node", GCACHE, &args)?;
    process.listens(address).await?;
    process.listens(admin).await?;
    crate::servers::apply(&host, &groups)?;
    let shutdown = Shutdown::new();
    let pipeline = node::connect(address, place.client(), &shutdown).await?;
    // The first statements find the plan and open the connections; they are not counted.
    ask_all(&pipeline, 0, Instant::now() + Duration::from_millis(300)).await?;
    let (loads, statements, began) = (loaded(admin).await?, sent(admin).await?, Instant::now());
    ask_all(&pipeline, 1, began + Duration::from_secs(seconds)).await?;
    let took = began.elapsed().as_secs_f64();
    let loads = loaded(admin).await? - loads;
    let statements = sent(admin).await? - statements;
    shutdown.finish(Duration::from_secs(1)).await;
    drop(process);
    // Its port is free again once it is gone.
    sleep(Duration::from_millis(100)).await;
    Ok(Sample {
        loads_per_second: loads as f64 / took,
        keys_per_statement: loads as f64 / statements as f64,
    })
}

async fn loaded(admin: SocketAddr) -> anyhow::Result<u64> {
    node::metric(admin, "gcache_origin_loaded_keys_total").await
}

async fn sent(admin: SocketAddr) -> anyhow::Result<u64> {
    node::metric(admin, "gcache_origin_statements_total").await
}

async fn ask_all(pipeline: &Pipeline, series: u64, until: Instant) -> anyhow::Result<()> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let random = SmallRng::seed_from_u64(series * CALLERS + caller);
        callers.spawn(call(pipeline.clone(), random, until));
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn call(pipeline: Pipeline, mut random: SmallRng, until: Instant) -> anyhow::Result<()> {
    let zipf = rand_distr::Zipf::new(ACCOUNTS as f64, ZIPF).context("a Zipf distribution")?;
    while Instant::now() < until {
        let rank = zipf.sample(&mut random) as u64;
        let account = rank * SCATTER % ACCOUNTS + 1;
        let call = Call {
            group: 1,
            epoch: 1,
            ..Call::default()
        };
        let reply = pipeline
            .call(call, Bytes::from(account.to_string()))
            .await?;
        ensure!(reply.answer.status() == Status::Ok, "{:?}", reply.answer);
    }
    Ok(())
}
