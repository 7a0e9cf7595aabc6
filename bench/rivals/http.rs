//! HTTP GET hits: gcache, nginx → memcached, groupcache and the ceiling, under the same wrk.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::client::fill_and_check;
use crate::place::Place;
use crate::rounds::{Scale, median, note};
use crate::servers::{self, Server, cores};
use crate::testkit::proc::machine_used;
use crate::wrk::{Load, Seen, tools_cpu};
use crate::{client, workload};

/// The names of the rivals, ours first.
pub(crate) const RIVALS: [&str; 4] = [
    "gcache",
    "nginx → memcached",
    "groupcache",
    "ceiling (axum)",
];

/// The share of a core that all the others together may use while one is measured.
const IDLE: f64 = 0.05;

/// The share of a core that whatever else runs on the machine may use.
const QUIET: f64 = 0.15;

/// All that was seen at one number of connections.
#[derive(Serialize)]
pub(crate) struct Comparison {
    pub(crate) connections: usize,
    pub(crate) wrk_threads: usize,
    pub(crate) rivals: Vec<Measured>,
}

/// What one rival did: medians, and the samples they are of.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) setting: String,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
    /// Processor time per request, by process.
    pub(crate) cpu_us_per_request: Vec<(&'static str, f64)>,
    /// Ours over this one's, the median of the rounds' ratios.
    pub(crate) gcache_over_it: f64,
    pub(crate) samples: Vec<Sample>,
}

/// One slot.
#[derive(Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) requests_per_second: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    errors: u64,
    cpu_us_per_request: Vec<(&'static str, f64)>,
    /// Of a core, used by the processes of the other rivals.
    others_cpu: f64,
    /// The same of whatever else runs on this machine, or takes time from it.
    pub(crate) strangers_cpu: f64,
}

struct Rival {
    name: &'static str,
    setting: String,
    server: Server,
}

/// Measures at each number of connections.
pub(crate) async fn measure(place: &Place, scale: &Scale) -> anyhow::Result<Vec<Comparison>> {
    let rows = workload::rows_file(place)?;
    let paths = workload::paths_file(place)?;
    let rivals = start(place, &rows, &paths, scale).await?;
    let mut comparisons = Vec::new();
    for &connections in &scale.connections {
        let load = Load {
            paths: &paths,
            threads: scale.wrk_threads,
            connections,
        };
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); rivals.len()];
        for round in 1..=scale.repeats {
            for (at, samples) in samples.iter_mut().enumerate() {
                let sample = slot(&rivals, at, load, scale.seconds)?;
                note(&format!(
                    "http, {connections} connections, round {round}: {} {:.0}/s",
                    rivals[at].name, sample.requests_per_second
                ));
                samples.push(sample);
            }
        }
        comparisons.push(Comparison {
            connections,
            wrk_threads: load.threads.min(connections),
            rivals: summarize(&rivals, samples),
        });
    }
    Ok(comparisons)
}

async fn start(
    place: &Place,
    rows: &Path,
    paths: &Path,
    scale: &Scale,
) -> anyhow::Result<Vec<Rival>> {
    let rival = |name, setting: String, server| Rival {
        name,
        setting,
        server,
    };
    let gcache = servers::gcache(place, rows, &[]).await?;
    servers::is_ready(&gcache).await?;
    let load = Load {
        paths,
        threads: scale.wrk_threads,
        connections: 64,
    };
    let workers = best_workers(place, load).await?;
    let nginx = servers::nginx(place, workers).await?;
    let groupcache = servers::groupcache(place, rows, "0s").await?;
    let ceiling = servers::ceiling(place).await?;
    for server in [&gcache, &nginx, &groupcache] {
        fill_and_check(server.address).await?;
    }
    let first = client::get(ceiling.address, &workload::path("any")).await?;
    anyhow::ensure!(first == workload::value(&workload::key(0)), "{first}");
    let cores = cores();
    Ok(vec![
        rival(RIVALS[0], "a frontend and a node, defaults".into(), gcache),
        rival(
            RIVALS[1],
            format!("{workers} workers; {cores} memcached threads"),
            nginx,
        ),
        rival(RIVALS[2], "2 peers, asked through one".into(), groupcache),
        rival(RIVALS[3], "answers a constant".into(), ceiling),
    ])
}

/// One worker or one per core: what serves nginx better here.
async fn best_workers(place: &Place, load: Load<'_>) -> anyhow::Result<usize> {
    let mut best = (0.0, 1);
    for workers in [1, cores()] {
        let server = servers::nginx(place, workers).await?;
        load.run(server.address, 1)?;
        let seen = load.run(server.address, 2)?;
        note(&format!(
            "nginx with {workers} workers: {:.0}/s",
            seen.per_second()
        ));
        if seen.per_second() > best.0 {
            best = (seen.per_second(), workers);
        }
    }
    Ok(best.1)
}

/// A second to warm up, then so many seconds that count.
fn slot(rivals: &[Rival], at: usize, load: Load<'_>, seconds: u64) -> anyhow::Result<Sample> {
    let address = rivals[at].server.address;
    load.run(address, 1)?;
    let used = |rival: &Rival| -> Vec<Duration> {
        let processes = rival.server.processes.iter();
        processes.map(|process| process.cpu()).collect()
    };
    let before: Vec<_> = rivals.iter().map(used).collect();
    let (tools, machine) = (tools_cpu(), machine_used());
    let seen = load.run(address, seconds)?;
    let (tools, machine) = (tools_cpu() - tools, machine_used() - machine);
    let after: Vec<_> = rivals.iter().map(used).collect();
    let spent = |rival: usize| -> Vec<Duration> {
        let pairs = after[rival].iter().zip(&before[rival]);
        pairs.map(|(after, before)| *after - *before).collect()
    };
    let others = (0..rivals.len()).filter(|other| *other != at);
    let others: Duration = others.flat_map(spent).sum();
    let known = others + tools + spent(at).into_iter().sum::<Duration>();
    let cores = |cpu: Duration| cpu.as_secs_f64() / (seen.duration_us as f64 / 1e6);
    let per_request = |cpu: Duration| cpu.as_secs_f64() * 1e6 / seen.requests.max(1) as f64;
    let names = rivals[at]
        .server
        .processes
        .iter()
        .map(|process| process.name());
    let own = names.zip(spent(at).into_iter().map(per_request));
    Ok(sample(
        &seen,
        own.chain([("wrk", per_request(tools))]).collect(),
        [cores(others), cores(machine.saturating_sub(known))],
    ))
}

fn sample(seen: &Seen, cpu: Vec<(&'static str, f64)>, beside: [f64; 2]) -> Sample {
    for (who, cores, bound) in [
        ("the other rivals", beside[0], IDLE),
        ("others on this machine", beside[1], QUIET),
    ] {
        if cores > bound {
            note(&format!("warning: {who} used {cores:.2} cores meanwhile"));
        }
    }
    Sample {
        requests_per_second: seen.per_second(),
        p50_us: seen.p50_us,
        p99_us: seen.p99_us,
        max_us: seen.max_us,
        errors: seen.errors,
        cpu_us_per_request: cpu,
        others_cpu: beside[0],
        strangers_cpu: beside[1],
    }
}

fn summarize(rivals: &[Rival], samples: Vec<Vec<Sample>>) -> Vec<Measured> {
    let ours = samples[0].clone();
    let measured = |(rival, samples): (&Rival, Vec<Sample>)| {
        let of = |field: fn(&Sample) -> f64| median(samples.iter().map(field));
        let processes = &samples[0].cpu_us_per_request;
        let cpu = processes.iter().enumerate().map(|(at, (name, _))| {
            let each = samples.iter().map(|sample| sample.cpu_us_per_request[at].1);
            (*name, median(each))
        });
        let rounds = ours.iter().zip(&samples);
        let ratios = rounds.map(|(our, its)| our.requests_per_second / its.requests_per_second);
        Measured {
            name: rival.name,
            setting: rival.setting.clone(),
            requests_per_second: of(|sample| sample.requests_per_second),
            p50_us: of(|sample| sample.p50_us as f64),
            p99_us: of(|sample| sample.p99_us as f64),
            errors: samples.iter().map(|sample| sample.errors).sum(),
            cpu_us_per_request: cpu.collect(),
            gcache_over_it: median(ratios),
            samples,
        }
    };
    rivals.iter().zip(samples).map(measured).collect()
}
