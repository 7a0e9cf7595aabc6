//! The load generator: asks frontends for keys at a set pace, and reports how they answered.
//!
//! ```text
//! plan ─ keys, pace ─► open | closed ─► connection ─► record, ledger ─► report ─ table
//!                      (in workers)                   (once a second)   verify, timeline
//! ```
//!
//! Called by `cli`. It is an HTTP client like any other: of the cluster it knows the URLs only. With
//! [`Truth`] it also compares what was served with the origin.

mod alarm;
mod closed;
mod connection;
mod keys;
mod ledger;
mod open;
mod pace;
pub mod plan;
mod progress;
mod record;
mod replies;
mod report;
mod share;
mod table;
mod timeline;
mod verify;
mod worker;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::HeaderValue;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

pub use replies::Replies;
pub use report::{Latency, Planned, Report};
pub use timeline::{Second, Timeline};
pub use verify::{Difference, Truth, Verification};

use connection::Route;
use keys::Keys;
use ledger::Ledger;
use pace::Pace;
use plan::{Pacing, Plan, Target};
use progress::Progress;
use record::Record;
use share::{Snapshot, Work};

use crate::shutdown::Shutdown;

/// More threads than this would only take turns.
const MAX_WORKERS: usize = 4;

/// What one worker sends in an open loop with ease; a higher rate gets another worker.
const RATE_PER_WORKER: f64 = 20_000.0;

/// How long workers have to be ready when the first request is due.
const LEAD: Duration = Duration::from_millis(50);

/// Snapshots per worker that may wait for the collector.
const WAITING_SNAPSHOTS: usize = 4;

/// How long the first connection may take.
const FIRST_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Carries out a plan, until its end or until `shutdown` begins. What each second came to goes into
/// `timeline` on the way.
///
/// # Errors
/// If no frontend can be reached at all, or this machine has no threads left. Failed requests are no
/// error: see [`Report::failure`].
pub async fn run(
    plan: Plan,
    truth: Option<Truth>,
    mut timeline: Option<Timeline>,
    shutdown: Shutdown,
) -> anyhow::Result<Report> {
    let keys = Arc::new(Keys::new(&plan));
    let routes = routes(&plan, &keys, truth.is_some()).await?;
    let ledger = truth.as_ref().map(|_| Arc::new(Ledger::new(plan.keys)));
    let plan = Arc::new(plan);
    let workers = workers(&plan);
    let (snapshots, collected) = mpsc::channel(workers * WAITING_SNAPSHOTS);
    let work = Work {
        plan: Arc::clone(&plan),
        keys: Arc::clone(&keys),
        routes: routes.into(),
        ledger: ledger.clone(),
        start: Instant::now() + LEAD,
        shutdown: shutdown.clone(),
        snapshots,
        number: 0,
        workers,
        bell: Arc::new(Notify::new()),
    };
    let start = work.start;
    if let Some(timeline) = &mut timeline {
        timeline.begin(start);
    }
    let threads = start_workers(work);
    let total = collect(collected, workers, &plan, timeline.as_mut()).await;
    for ended in threads.join_all().await {
        ended.context("cannot start a worker")?;
    }
    let interrupted = shutdown.has_begun();
    let planned_end = if interrupted {
        start
    } else {
        start + plan.end()
    };
    let end = total.last.map_or(planned_end, |last| last.max(planned_end));
    let measured = end.saturating_duration_since(start + plan.warmup);
    let mut report = Report::new(&plan, &total, measured, interrupted);
    report.timeline_failure = timeline.and_then(Timeline::failure);
    if let (Some(truth), Some(ledger)) = (&truth, &ledger) {
        report.verification = Some(verify::verify(truth, ledger, &keys).await);
    }
    Ok(report)
}

/// Writes a report's JSON to a file, which is complete or not there.
///
/// # Errors
/// If the file or its neighbour with `.tmp` behind its name cannot be written.
pub fn save(report: &Report, path: &Path) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    std::fs::write(&beside, report.json())
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn workers(plan: &Plan) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let useful = match plan.pacing {
        Pacing::Open {
            rate_per_second,
            max_connections,
            ..
        } => ((rate_per_second / RATE_PER_WORKER).ceil() as usize).min(max_connections),
        Pacing::Closed { connections } => connections,
    };
    useful.min(cores).clamp(1, MAX_WORKERS)
}

/// Starts a thread per worker, in an open loop with another that rings its bell.
fn start_workers(work: Work) -> JoinSet<std::io::Result<()>> {
    let mut threads = JoinSet::new();
    for number in 0..work.workers {
        let work = Work {
            number,
            bell: Arc::new(Notify::new()),
            ..work.clone()
        };
        if let Pacing::Open {
            rate_per_second,
            arrivals,
            ..
        } = work.plan.pacing
        {
            let pace = Pace::new(rate_per_second, arrivals, work.plan.end(), work.plan.seed);
            let times = pace.share(number, work.workers);
            let (start, bell) = (work.start, Arc::clone(&work.bell));
            let shutdown = work.shutdown.clone();
            threads.spawn_blocking(move || {
                alarm::ring(times, start, &bell, &shutdown);
                Ok(())
            });
        }
        threads.spawn_blocking(move || worker::run(work));
    }
    threads
}

/// Adds up what the workers count, and shows it second by second, until they end.
async fn collect(
    mut collected: mpsc::Receiver<Snapshot>,
    workers: usize,
    plan: &Plan,
    mut timeline: Option<&mut Timeline>,
) -> Record {
    let progress = Progress::new(plan.end());
    let (mut total, mut rest) = (Record::new(), Record::new());
    // Seconds that not every worker has reported yet, from `first` on.
    let mut first = 1;
    let mut seconds: VecDeque<(usize, Record)> = VecDeque::new();
    while let Some(Snapshot { second, record }) = collected.recv().await {
        total.add(&record);
        let Some(ahead) = second.and_then(|second| usize::try_from(second - first).ok()) else {
            rest.add(&record);
            continue;
        };
        while seconds.len() <= ahead {
            seconds.push_back((0, Record::new()));
        }
        seconds[ahead].0 += 1;
        seconds[ahead].1.add(&record);
        while let Some((_, last)) = seconds.pop_front_if(|(reported, _)| *reported == workers) {
            progress.report(first, &last, &total);
            if let Some(timeline) = &mut timeline {
                timeline.report(first, &last);
            }
            first += 1;
        }
    }
    progress.end();
    if let Some(timeline) = timeline {
        // Some workers ended within a second that others reported.
        seconds.iter().for_each(|(_, partial)| rest.add(partial));
        timeline.end(&rest);
    }
    total
}

/// The way to each frontend; at least one must let itself be connected to.
async fn routes(plan: &Plan, keys: &Keys, hashes: bool) -> anyhow::Result<Vec<Route>> {
    let mut routes = Vec::new();
    let mut refusals = Vec::new();
    for target in &plan.targets {
        let address = resolve(target).await?;
        let stream = timeout(FIRST_CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        match stream {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => refusals.push(format!("{}: {error}", target.url)),
            Err(_) => refusals.push(format!(
                "{}: nothing within {FIRST_CONNECT_TIMEOUT:?}",
                target.url
            )),
        }
        let port = target.port;
        let host = match target.host.contains(':') {
            true => format!("[{}]:{port}", target.host),
            false => format!("{}:{port}", target.host),
        };
        routes.push(Route {
            address,
            host: HeaderValue::from_str(&host).context("the host cannot stand in a header")?,
            path_start: keys.path_start(target, &plan.group),
            timeout: plan.timeout,
            hashes,
        });
    }
    if refusals.len() == routes.len() {
        bail!("no frontend can be reached: {}", refusals.join("; "));
    }
    Ok(routes)
}

async fn resolve(target: &Target) -> anyhow::Result<std::net::SocketAddr> {
    let addresses = lookup_host((target.host.as_str(), target.port)).await;
    let mut addresses = addresses.with_context(|| format!("cannot resolve {}", target.url))?;
    addresses
        .next()
        .ok_or_else(|| anyhow!("{} has no address", target.url))
}
