//! `gcache loadgen`: from its flags to a run, and from its report to an exit code.

use std::path::Path;

use super::args;
use super::failure::Failure;
use super::print::write;
use super::setup::{groups_of, open_origin};
use crate::config::{self, Layers};
use crate::ids::{Epoch, Generation, GroupId};
use crate::loadgen::plan::{Options, Plan};
use crate::loadgen::{self, Report, Timeline, Truth};
use crate::net::raise_open_files;
use crate::shutdown::{Shutdown, Signals};
use crate::topology::model::group::Group;

pub(super) async fn loadgen(args: args::Loadgen) -> Result<(), Failure> {
    let truth = truth(&args)?;
    if let Some(path) = &args.json {
        check_folder("--json", path)?;
    }
    if let Some(path) = &args.timeline {
        check_folder("--timeline", path)?;
    }
    let (json, timeline) = (args.json.clone(), args.timeline.clone());
    let plan = plan(args, truth.is_some())?;
    if let Some(Truth { origin, group }) = &truth {
        let checked = origin.check(group).await;
        checked.map_err(|error| Failure::Failed(format!("--verify-with: {error}")))?;
    }
    let timeline = timeline.map(|path| open_timeline(&path)).transpose()?;
    raise_open_files();
    let report = until_signal(plan, truth, timeline).await?;
    write(report.to_string().as_bytes(), false)?;
    if let Some(path) = &json {
        loadgen::save(&report, path)?;
    }
    report
        .failure()
        .map_or(Ok(()), |reason| Err(Failure::Failed(reason)))
}

/// Runs to the end, or to an early one if a signal asks for it.
async fn until_signal(
    plan: Plan,
    truth: Option<Truth>,
    timeline: Option<Timeline>,
) -> Result<Report, Failure> {
    let mut signals = Signals::catch().map_err(anyhow::Error::from)?;
    let shutdown = Shutdown::new();
    let mut running = Box::pin(loadgen::run(plan, truth, timeline, shutdown.clone()));
    tokio::select! {
        report = running.as_mut() => return Ok(report?),
        _ = signals.next() => shutdown.begin(),
    }
    tokio::select! {
        report = running => Ok(report?),
        again = signals.next() => {
            Err(Failure::Failed(format!("stopped at once by a second {again}")))
        }
    }
}

fn plan(args: args::Loadgen, verifies: bool) -> Result<Plan, Failure> {
    Plan::new(Options {
        urls: args.urls,
        group: args.group,
        keys: args.keys,
        key_format: args.key_format,
        distribution: args.distribution,
        rate_per_second: args.rate,
        arrivals: args.arrivals,
        max_connections: args.max_connections,
        connections: args.connections,
        duration: args.duration,
        warmup: args.warmup,
        timeout: args.timeout,
        seed: args.seed,
        verifies,
    })
    .map_err(|error| Failure::Usage(error.to_string()))
}

/// Returns where to look up what should have been served; none if nobody asked.
fn truth(args: &args::Loadgen) -> Result<Option<Truth>, Failure> {
    let (Some(url), Some(path)) = (&args.verify_with, &args.groups) else {
        return Ok(None);
    };
    let groups = groups_of(path)?;
    let names: Vec<_> = groups.iter().map(|(name, _)| name.as_str()).collect();
    let lacks = format!(
        "--group: {} has no group {:?}; it has {}",
        path.display(),
        args.group,
        names.join(", ")
    );
    let found = groups.into_iter().find(|(name, _)| *name == args.group);
    let (name, spec) = found.ok_or(Failure::Usage(lacks))?;
    let origin = open_origin("--verify-with", url, &bounds()?)?;
    Ok(Some(Truth {
        origin,
        group: Group {
            // The cluster's number is not needed: the origin goes by the table.
            id: GroupId(1),
            name: name.into(),
            generation: Generation(1),
            copies_since: Epoch(0),
            spec,
        },
    }))
}

/// Returns how the database may be asked: as a node would, by the environment and the defaults.
fn bounds() -> Result<config::Origin, Failure> {
    let loaded = config::load(&Layers {
        file: None,
        environment: std::env::vars_os().collect(),
        sets: Vec::new(),
        flags: Vec::new(),
    })?;
    Ok(loaded.config.origin)
}

fn open_timeline(path: &Path) -> Result<Timeline, Failure> {
    let failed = |error| Failure::Failed(format!("--timeline: {}: {error}", path.display()));
    Timeline::create(path).map_err(failed)
}

/// Fails if `path` cannot be a file: a mistyped one is reported before a long run and not after it.
fn check_folder(flag: &str, path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    if folder.is_dir() && path.file_name().is_some() && !path.is_dir() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{flag}: {} cannot be a file: give one in a folder that exists",
        path.display()
    )))
}
