//! `cluster recover`: a new cluster from what is left of one whose majority is gone for good.
//!
//! On ECS the command is a task of its own, and no other task will ever have its name: so it founds, and then is the
//! node that has founded.

mod text;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use self::text::text;
use super::failure::Failure;
use super::identity::endpoint;
use super::print::{print_json, write};
use super::snapshot::{holds, read};
use crate::identity;
use crate::raft::recovery::{Found, Founder, Plan, Recovered, RecoveryError, Survey};
use crate::topology::state::State;

/// How an id says that it is this ECS task's.
const FROM_TASK: &str = "from-task-metadata";

/// The arguments of `cluster recover`.
#[derive(Debug, ClapArgs)]
pub(super) struct Recover {
    /// The data directory, of which no node may be running
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Continue the state in this file, which gcache cluster snapshot made, instead of the most advanced log
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The node that founds the new cluster: a member or a new name; by default the member whose log is the most
    /// advanced. With from-task-metadata it is this ECS task, as with --run and --force
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Then be that node: runs gcache node on the data directory, with the flags after --
    #[arg(long)]
    run: bool,
    /// Found a new cluster although nothing seems lost: the nodes whose logs are there never start again
    #[arg(long)]
    force: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Flags of gcache node, for --run
    #[arg(last = true, value_name = "NODE FLAGS")]
    node: Vec<String>,
}

/// Founds the new cluster, or says what would be done. With `--run` it returns only if it fails.
pub(super) async fn recover(args: &Recover) -> Result<(), Failure> {
    let is_task = args.id.as_deref() == Some(FROM_TASK);
    let founder = match args.id.as_deref() {
        Some(FROM_TASK) => Some(task().await?),
        id => id.map(Founder::from),
    };
    let runs = args.run || is_task;
    if !runs && !args.node.is_empty() {
        let why = "flags after -- are for the node that --run runs: give --run, or leave them out";
        return Err(Failure::Usage(why.into()));
    }
    let mut answer = found(args, founder.as_ref(), is_task)?;
    answer["runs"] = json!(runs);
    match args.json {
        true => print_json(&answer)?,
        false => write(text(&answer).as_bytes(), false)?,
    }
    match &answer["founder"] {
        Value::String(founder) if runs && !args.dry_run => Err(run(args, founder, is_task)),
        _ => Ok(()),
    }
}

/// This task as the founder.
async fn task() -> Result<Founder, Failure> {
    let endpoint = endpoint("--id")?;
    let task = identity::task(&endpoint).await?;
    Ok(Founder {
        name: task.name,
        address: Some(identity::address(&endpoint).await?),
        zone: task.zone,
    })
}

/// Makes this process the founder. Returns only if that fails.
fn run(args: &Recover, founder: &str, is_task: bool) -> Failure {
    let mut command = match std::env::current_exe() {
        Ok(own) => Command::new(own),
        Err(error) => return Failure::Failed(format!("cannot find this executable: {error}")),
    };
    command
        .args(["node", "--id", founder, "--data-dir"])
        .arg(&args.data_dir);
    let is_host = |flag: &String| flag == "--host" || flag.starts_with("--host=");
    if is_task && !args.node.iter().any(is_host) {
        command.args(["--host", FROM_TASK]);
    }
    let error = command.args(&args.node).exec();
    Failure::Failed(format!("cannot run gcache node: {error}"))
}

/// Founds the new cluster, or goes on with one that was founded. What a task founds is never asked twice: tasks
/// whose logs are there never start again.
fn found(args: &Recover, founder: Option<&Founder>, is_task: bool) -> Result<Value, Failure> {
    let saved = args.from.as_deref().map(read).transpose()?;
    let mut survey = Survey::take(&args.data_dir, saved.is_none()).map_err(failure_of)?;
    let id = founder.map(|founder| &*founder.name);
    if let Some((begun, _)) = survey.unfinished() {
        if saved.is_some() {
            let why = "an earlier recovery of this directory was cut off: finish it without --from, then recover again";
            return Err(Failure::Failed(why.into()));
        }
        if !is_task || args.dry_run || id == Some(begun) {
            return finish(args, id, survey);
        }
        survey.finish(None).map_err(failure_of)?;
        survey = Survey::take(&args.data_dir, true).map_err(failure_of)?;
    }
    let done = survey
        .done()
        .filter(|(founder, _)| id.is_none_or(|id| id == *founder));
    // A task whose container was started again is the founder by now.
    let own = || {
        id.filter(|_| is_task)
            .and_then(|id| Some((id, survey.member(id)?)))
    };
    if let Some((founder, done)) = done.or_else(own).filter(|_| !args.force) {
        let from = "the recovery that was finished here";
        let mut answer = begun(from, founder, &done.state, &survey);
        answer_with(&mut answer, &done);
        return Ok(answer);
    }
    let is_forced = args.force || is_task;
    found_anew(args, saved, founder, is_forced, survey)
}

/// Founds a cluster, where something is lost or the operator says so.
fn found_anew(
    args: &Recover,
    saved: Option<State>,
    founder: Option<&Founder>,
    is_forced: bool,
    survey: Survey,
) -> Result<Value, Failure> {
    let intact = survey.check_loss().err().map(|error| error.to_string());
    if let (Some(why), false, false) = (&intact, args.dry_run, is_forced) {
        return Err(Failure::Failed(why.clone()));
    }
    let mut warnings = saved
        .as_ref()
        .map_or_else(Vec::new, |saved| behind(saved, survey.found()));
    warnings.extend(intact);
    let plan = survey.plan(saved, founder).map_err(failure_of)?;
    if plan.from.is_paused() {
        let warning = "the ring is paused and stays paused: a node that joins owns nothing until gcache ring resume";
        warnings.push(warning.into());
    }
    let source = match (&args.from, &plan.log) {
        (Some(file), _) => format!("the file {}", file.display()),
        (None, log) => format!("the log of {}", log.as_deref().unwrap_or_default()),
    };
    let mut answer = json!({
        "is_recovered": false,
        "from": source,
        "continues": holds(&plan.from),
        "founder": &*plan.recovery.founder.name,
        "logs": survey.found().iter().map(|found| log(found, plan.log.as_deref())).collect::<Vec<_>>(),
        "uncommitted": uncommitted(&survey, &plan),
        "removed": removed(&plan.from),
        "warnings": warnings,
    });
    if !args.dry_run {
        answer_with(&mut answer, &survey.recover(plan).map_err(failure_of)?);
    }
    Ok(answer)
}

/// Finishes a recovery that was cut off after the new cluster was there.
fn finish(args: &Recover, id: Option<&str>, survey: Survey) -> Result<Value, Failure> {
    let unfinished = survey.unfinished();
    let (founder, state) = unfinished.expect("the caller has looked");
    let from = "the recovery that was begun here and did not end";
    let mut answer = begun(from, founder, state, &survey);
    if !args.dry_run
        && let Some(recovered) = survey.finish(id).map_err(failure_of)?
    {
        answer_with(&mut answer, &recovered);
    }
    Ok(answer)
}

/// The answer about a recovery that was begun before this command.
fn begun(from: &str, founder: &str, state: &State, survey: &Survey) -> Value {
    let found = survey.found().iter();
    json!({
        "is_recovered": false,
        "from": from,
        "continues": holds(state),
        "founder": founder,
        "logs": found.map(|found| log(found, None)).collect::<Vec<_>>(),
        "uncommitted": 0,
        "removed": [],
        "warnings": [],
    })
}

fn answer_with(answer: &mut Value, recovered: &Recovered) {
    let Recovered {
        state,
        founder,
        aside,
    } = recovered;
    let supersedes = state.supersedes().iter();
    answer["is_recovered"] = json!(true);
    answer["cluster_id"] = json!(state.cluster().to_string());
    answer["supersedes"] = supersedes.map(|cluster| cluster.to_string()).collect();
    answer["epoch"] = json!(state.epoch().0);
    answer["founder_id"] = json!(founder.0);
    answer["set_aside"] = json!(aside.as_ref().map(|aside| aside.display().to_string()));
}

/// A log as a row, where `taken` is the one that is continued.
fn log(found: &Found, taken: Option<&str>) -> Value {
    match &found.log {
        Ok(log) => json!({
            "log": found.directory,
            "rating": found.rating,
            "is_taken": taken == Some(&*found.directory),
            "cluster_id": log.ident().cluster.to_string(),
            "term": log.end().term,
            "last": log.end().index,
            "committed": log.commit(),
            "epoch": log.state().epoch().0,
            "unusable": null,
        }),
        Err(why) => json!({ "log": found.directory, "is_taken": false, "unusable": why }),
    }
}

/// Entries that are continued though the log's node did not know them to be committed.
fn uncommitted(survey: &Survey, plan: &Plan) -> u64 {
    let found = survey.found().iter();
    let mut taken = found.filter(|found| Some(&found.directory) == plan.log.as_ref());
    let log = taken.next().and_then(|found| found.log.as_ref().ok());
    log.map_or(0, |log| log.end().index.saturating_sub(log.commit()))
}

fn removed(state: &State) -> Vec<Value> {
    let members = state.members();
    members
        .map(|member| json!({ "id": member.id.0, "name": &*member.name }))
        .collect()
}

/// Which logs hold more than the file that is continued.
fn behind(saved: &State, found: &[Found]) -> Vec<String> {
    let logs = found
        .iter()
        .filter_map(|found| Some((found, found.log.as_ref().ok()?)));
    logs.filter(|(_, log)| {
        let state = log.state();
        state.cluster() == saved.cluster() && state.epoch() > saved.epoch()
    })
    .map(|(found, log)| {
        format!(
            "the file has epoch {}, the log of {} epoch {}: what came between is lost",
            saved.epoch(),
            found.directory,
            log.state().epoch()
        )
    })
    .collect()
}

/// Keeps what was wrongly asked apart from what could not be done.
fn failure_of(error: RecoveryError) -> Failure {
    match error {
        RecoveryError::NoDirectory { .. }
        | RecoveryError::NoFounder { .. }
        | RecoveryError::Begun { .. } => Failure::Usage(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}
