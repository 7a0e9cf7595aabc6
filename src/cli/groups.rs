//! The operators' commands on groups: what they are, and what they are to be.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{GroupCommand, GroupFile, Reach};
use super::cluster_client::Cluster;
use super::failure::Failure;
use super::findings::{Findings, find};
use super::print::{plain, print_json, table, write};
use super::setup::groups_of;
use crate::clock::unix_ms;
use crate::config::show_duration;
use crate::ids::Epoch;
use crate::telemetry::complain;
use crate::topology::commands::{Command, GroupRef, SetGroups};
use crate::topology::model::group::{Group, GroupSpec, Source};
use crate::topology::state::State;

pub(super) async fn group(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::Plan(args) => change(&args, false).await,
        GroupCommand::Apply(args) => change(&args, true).await,
        GroupCommand::List { reach } => list(&reach).await,
        GroupCommand::Show { name, reach } => show(&name, &reach).await,
        GroupCommand::Rollback { number, reach } => rollback(number, &reach).await,
        GroupCommand::Reset { name, reach } => reset(&name, &reach).await,
    }
}

/// What a groups file would change.
struct Difference {
    upserts: Vec<(Arc<str>, GroupSpec)>,
    removed: Vec<Arc<str>>,
    /// Those of `upserts` whose statement the origin has not seen.
    unseen: Vec<(Arc<str>, GroupSpec)>,
    rows: Vec<Value>,
    found: Findings,
}

fn difference(state: &State, wanted: Vec<(String, GroupSpec)>, is_pruned: bool) -> Difference {
    let mut difference = Difference {
        upserts: Vec::new(),
        removed: Vec::new(),
        unseen: Vec::new(),
        rows: Vec::new(),
        found: Findings::default(),
    };
    let named: BTreeSet<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
    for (name, spec) in wanted {
        let known = state.groups().find(|group| *group.name == *name);
        let change = match known {
            Some(group) if group.spec == spec => "same",
            Some(group) if group.spec.source == spec.source => "freshness",
            Some(_) => "statement",
            None => "new",
        };
        difference
            .rows
            .push(json!({ "group": name, "change": change }));
        let name: Arc<str> = name.into();
        if matches!(change, "new" | "statement") {
            difference.unseen.push((name.clone(), spec.clone()));
        }
        if change != "same" {
            difference.upserts.push((name, spec));
        }
    }
    for group in state.groups().filter(|group| !named.contains(&*group.name)) {
        let change = if is_pruned { "removed" } else { "kept" };
        difference
            .rows
            .push(json!({ "group": &*group.name, "change": change }));
        if is_pruned {
            difference.removed.push(group.name.clone());
        }
    }
    difference
}

async fn change(args: &GroupFile, is_applied: bool) -> Result<(), Failure> {
    let wanted = groups_of(&args.file)?;
    let all = wanted
        .iter()
        .map(|(name, spec)| (name.as_str().into(), spec.clone()));
    let all: Vec<(Arc<str>, GroupSpec)> = all.collect();
    let cluster = Cluster::of(&args.reach)?;
    let state = cluster.state().await?;
    let mut difference = difference(&state, wanted, args.prune);
    let unseen = std::mem::take(&mut difference.unseen);
    let asked = match (args.unchecked, is_applied) {
        (true, _) => Vec::new(),
        (false, true) => unseen,
        (false, false) => all,
    };
    difference.found = find(&cluster, asked).await;
    let errors = difference.found.errors;
    if is_applied && errors == 0 {
        return settle(&cluster, &state, difference, args.note.clone(), &args.reach).await;
    }
    let end = match (difference.is_empty(), is_applied) {
        (true, _) => "nothing to change",
        (false, true) => "refused, nothing is applied",
        (false, false) => "not applied",
    };
    let now = (state.revision(), state.epoch().0);
    report(&difference, now, end, &args.reach)?;
    match (errors, is_applied) {
        (0, _) => Ok(()),
        (_, true) => Err(Failure::Failed(format!(
            "{}; nothing is applied: repair the file, or give --unchecked",
            counted(errors)
        ))),
        (_, false) => Err(Failure::Failed(counted(errors))),
    }
}

fn counted(errors: usize) -> String {
    match errors {
        1 => "the origin finds 1 error in the groups".into(),
        errors => format!("the origin finds {errors} errors in the groups"),
    }
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removed.is_empty()
    }
}

/// Commits a difference as one revision, if there is one.
async fn settle(
    cluster: &Cluster,
    state: &State,
    mut difference: Difference,
    note: String,
    reach: &Reach,
) -> Result<(), Failure> {
    if difference.is_empty() {
        let now = (state.revision(), state.epoch().0);
        return report(&difference, now, "nothing to change", reach);
    }
    let command = Command::SetGroups(SetGroups {
        expected: state.revision(),
        upserts: std::mem::take(&mut difference.upserts),
        removed: std::mem::take(&mut difference.removed),
        at_unix_ms: unix_ms(),
        note,
    });
    let epoch = Epoch(cluster.commit(&command).await?.epoch);
    // It is committed whatever becomes of these: everybody knows it soon.
    cluster.settle(epoch).await?;
    note_late(cluster.reach(state, epoch).await);
    let now = (state.revision() + 1, epoch.0);
    report(&difference, now, APPLIED, reach)
}

/// Says how many frontends do not go by what was committed yet.
fn note_late((reached, behind): (u64, u64)) {
    if behind > 0 {
        let all = reached + behind;
        complain(&format!(
            "gcache: {behind} of {all} frontends do not go by it yet"
        ));
    }
}

/// How a change ends that was made.
const APPLIED: &str = "applied";

fn report(
    difference: &Difference,
    now: (u64, u64),
    end: &str,
    reach: &Reach,
) -> Result<(), Failure> {
    let Difference { rows, found, .. } = difference;
    let (revision, epoch) = now;
    if reach.json {
        return print_json(&json!({
            "groups": rows,
            "findings": found.rows,
            "revision": revision,
            "epoch": epoch,
            "is_applied": end == APPLIED,
        }));
    }
    let mut text = table(&["change", "group"], rows);
    if !found.rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["severity", "group", "text"], &found.rows));
    }
    let _infallible = writeln!(text, "\n{end}: revision {revision}, epoch {epoch}");
    write(text.as_bytes(), false)
}

async fn list(reach: &Reach) -> Result<(), Failure> {
    let look = Cluster::of(reach)?.look().await?;
    let state = &look.state;
    let group = |group: &Group| {
        json!({
            "name": &*group.name,
            "id": group.id.0,
            "generation": group.generation.0,
            "ttl_ms": crate::ids::as_millis(group.spec.ttl),
            "content_type": group.spec.content_type,
        })
    };
    let groups: Vec<_> = state.groups().map(group).collect();
    if reach.json {
        return print_json(&json!({
            "revision": state.revision(),
            "epoch": state.epoch().0,
            "may_be_old": look.json(),
            "groups": groups,
        }));
    }
    let columns = ["name", "id", "generation", "ttl_ms", "content_type"];
    let text = look.mark() + &table(&columns, &groups);
    write(text.as_bytes(), false)
}

async fn show(name: &str, reach: &Reach) -> Result<(), Failure> {
    let state = Cluster::of(reach)?.state().await?;
    let group = state.groups().find(|group| *group.name == *name);
    let group = group.ok_or_else(|| Failure::Failed(format!("there is no group {name:?}")))?;
    let answer = json!({
        "name": name,
        "id": group.id.0,
        "generation": group.generation.0,
        "source": source(&group.spec.source),
        "content_type": group.spec.content_type,
        "ttl": show_duration(group.spec.ttl),
        "ttl_jitter": group.spec.ttl_jitter,
        "stale": show_duration(group.spec.stale),
        "stale_if_error": show_duration(group.spec.stale_if_error),
        "negative_ttl": show_duration(group.spec.negative_ttl),
        "error_ttl": show_duration(group.spec.error_ttl),
        "max_value_bytes": group.spec.max_value_bytes,
        "on_isolated": group.spec.on_isolated.name(),
        "copies": group.spec.copies,
    });
    if reach.json {
        return print_json(&answer);
    }
    let mut text = String::new();
    for (field, value) in answer.as_object().into_iter().flatten() {
        let _infallible = writeln!(text, "{field:<16} {}", plain(value));
    }
    write(text.as_bytes(), false)
}

/// Returns where the rows are, in a line.
fn source(source: &Source) -> String {
    match source {
        Source::Table {
            table,
            key_column,
            value_column,
            ..
        } => format!("{value_column} by {key_column} of {table}"),
        Source::Query { statement, .. } => statement.clone(),
    }
}

async fn rollback(number: u64, reach: &Reach) -> Result<(), Failure> {
    let cluster = Cluster::of(reach)?;
    let state = cluster.state().await?;
    let known: Vec<_> = state.revisions().iter().map(|known| known.number).collect();
    let revision = state
        .revisions()
        .iter()
        .find(|known| known.number == number);
    let revision = revision.ok_or_else(|| {
        Failure::Failed(format!(
            "there is no revision {number}: those kept are {known:?}"
        ))
    })?;
    let wanted = revision.groups.iter();
    let wanted = wanted.map(|(name, spec)| (name.to_string(), GroupSpec::clone(spec)));
    let difference = difference(&state, wanted.collect(), true);
    let note = format!("back to revision {number}");
    // Not checked: the nodes have loaded by these statements before, and an operator who rolls back is in a hurry.
    settle(&cluster, &state, difference, note, reach).await
}

async fn reset(name: &str, reach: &Reach) -> Result<(), Failure> {
    let cluster = Cluster::of(reach)?;
    // Finds the leader by a question that may be repeated.
    cluster.state().await?;
    let command = Command::ResetGroup(GroupRef::Name(name.into()));
    let epoch = Epoch(cluster.commit(&command).await?.epoch);
    cluster.settle(epoch).await?;
    if reach.json {
        return print_json(&json!({ "group": name, "epoch": epoch.0 }));
    }
    let text = format!("{name} is void up to epoch {epoch}\n");
    write(text.as_bytes(), false)
}
