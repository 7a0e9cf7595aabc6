//! The answer of `cluster recover` for people.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::print::{plain, table};

/// The answer for people.
pub(super) fn text(answer: &Value) -> String {
    let mut text = String::new();
    let mut logs = list(&answer["logs"]);
    if !logs.is_empty() {
        for log in &mut logs {
            log["taken"] = json!((log["is_taken"] == true).then_some("yes"));
        }
        let columns = [
            "log",
            "rating",
            "taken",
            "cluster_id",
            "term",
            "last",
            "committed",
            "epoch",
            "unusable",
        ];
        text.push_str(&table(&columns, &logs));
        text.push('\n');
    }
    for (name, said) in before(answer).into_iter().chain(after(answer)) {
        let _infallible = writeln!(text, "{name:<9}  {said}");
    }
    text
}

/// Returns what is continued, and what is not.
fn before(answer: &Value) -> Vec<(&'static str, String)> {
    let continues = &answer["continues"];
    let from = format!(
        "cluster {} at epoch {}, from {}",
        plain(&continues["cluster_id"]),
        continues["epoch"],
        plain(&answer["from"])
    );
    let groups: Vec<_> = list(&continues["groups"]).iter().map(plain).collect();
    let groups = match groups.is_empty() {
        true => "none".to_owned(),
        false => groups.join(", "),
    };
    let mut lines = vec![("continues", from), ("groups", groups)];
    if answer["uncommitted"] != 0 {
        let entries = &answer["uncommitted"];
        let kept = format!("{entries} entries that its node did not know to be committed");
        lines.push(("kept", kept));
    }
    let removed = list(&answer["removed"]);
    let removed = removed
        .iter()
        .map(|member| format!("{} ({})", plain(&member["name"]), member["id"]));
    let removed: Vec<_> = removed.collect();
    if !removed.is_empty() {
        let names = removed.join(", ");
        lines.push((
            "removed",
            format!("{names}: each joins anew when it starts"),
        ));
    }
    let lost = "what was acknowledged and is in none of these logs; every cached value";
    lines.push(("lost", lost.to_owned()));
    let warnings = list(&answer["warnings"]);
    lines.extend(warnings.iter().map(|warning| ("warning", plain(warning))));
    lines
}

/// Returns what was done, or would be, and what comes next.
fn after(answer: &Value) -> Vec<(&'static str, String)> {
    let founder = plain(&answer["founder"]);
    if answer["is_recovered"] != true {
        let would = format!("{founder} would found a new cluster; nothing was done");
        return vec![("dry run", would)];
    }
    let founded = format!(
        "cluster {} at epoch {}, {founder} is member {}",
        plain(&answer["cluster_id"]),
        answer["epoch"],
        answer["founder_id"]
    );
    let mut lines = vec![("founded", founded)];
    if let Some(aside) = answer["set_aside"].as_str() {
        lines.push(("set aside", aside.to_owned()));
    }
    let next = match answer["runs"] == true {
        true => format!("{founder} runs from here on: once others vote, stop it as any node"),
        false => format!("start {founder}, then the others"),
    };
    lines.push(("next", next));
    lines
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}
