//! `cluster recover`: a new cluster from what is left of one whose majority is gone for good.

mod text;

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use self::text::text;
use super::failure::Failure;
use super::print::{print_json, write};
use super::snapshot::{holds, read};
use crate::raft::recovery::{Found, Plan, Recovered, RecoveryError, Survey};
use crate::topology::state::State;

/// The arguments of `cluster recover`.
#[derive(Debug, ClapArgs)]
pub(super) struct Recover {
    /// The data directory, of which no node may be running
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Continue the state in this file, which gcache cluster snapshot made, instead of the most advanced log
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The member that founds the new cluster; by default the one whose log is the most advanced
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Found a new cluster although nothing seems lost: the nodes whose logs are there never start again
    #[arg(long)]
    force: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Founds the new cluster, or says what would be done.
pub(super) fn recover(args: &Recover) -> Result<(), Failure> {
    let saved = args.from.as_deref().map(read).transpose()?;
    let survey = Survey::take(&args.data_dir, saved.is_none()).map_err(failure_of)?;
    let id = args.id.as_deref();
    if survey.unfinished().is_some() {
        if saved.is_some() {
            let why = "an earlier recovery of this directory was cut off: finish it without --from, then recover again";
            return Err(Failure::Failed(why.into()));
        }
        return finish(args, survey);
    }
    if let Some((founder, done)) = survey.done()
        && !args.force
        && id.is_none_or(|id| id == founder)
    {
        let from = "the recovery that was finished here";
        let mut answer = begun(from, founder, &done.state, &survey);
        answer_with(&mut answer, &done);
        return print(args, &answer);
    }
    let intact = survey.check_loss().err().map(|error| error.to_string());
    if let (Some(why), false, false) = (&intact, args.dry_run, args.force) {
        return Err(Failure::Failed(why.clone()));
    }
    let mut warnings = saved
        .as_ref()
        .map_or_else(Vec::new, |saved| behind(saved, survey.found()));
    warnings.extend(intact);
    let plan = survey.plan(saved, id).map_err(failure_of)?;
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
    print(args, &answer)
}

/// Finishes a recovery that was cut off after the new cluster was there.
fn finish(args: &Recover, survey: Survey) -> Result<(), Failure> {
    let unfinished = survey.unfinished();
    let (founder, state) = unfinished.expect("the caller has looked");
    let from = "the recovery that was begun here and did not end";
    let mut answer = begun(from, founder, state, &survey);
    if !args.dry_run
        && let Some(recovered) = survey.finish(args.id.as_deref()).map_err(failure_of)?
    {
        answer_with(&mut answer, &recovered);
    }
    print(args, &answer)
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

fn print(args: &Recover, answer: &Value) -> Result<(), Failure> {
    if args.json {
        return print_json(answer);
    }
    write(text(answer).as_bytes(), false)
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
        | RecoveryError::NoMember { .. }
        | RecoveryError::NoFounder { .. }
        | RecoveryError::Begun { .. } => Failure::Usage(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}
