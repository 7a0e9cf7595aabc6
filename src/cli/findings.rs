//! What the nodes' origin finds in groups before they are applied.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster_client::Cluster;
use crate::rpc::control;
use crate::rpc::control_proto::{CheckGroupsReply, CheckedGroup};
use crate::topology::commands::{Command, SetGroups};
use crate::topology::model::group::GroupSpec;

/// How long a node may take to say that it is there.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// How long a node may take to check all groups: longer than it takes at most (`node/inspect`).
const CHECK_PATIENCE: Duration = Duration::from_secs(30);

/// What was found, as it is printed.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// `group`, which is null where all are meant, `severity` and `text`.
    pub(super) rows: Vec<Value>,
    /// How many of them are errors.
    pub(super) errors: usize,
}

/// Asks the first node that answers. What cannot be found out is a warning: an origin that is away is
/// no mistake of the groups.
pub(super) async fn find(cluster: &Cluster, groups: Vec<(Arc<str>, GroupSpec)>) -> Findings {
    if groups.is_empty() {
        return Findings::default();
    }
    let command = Command::SetGroups(SetGroups {
        expected: 0,
        upserts: groups,
        removed: Vec::new(),
        at_unix_ms: 0,
        note: String::new(),
    });
    let command = command.encode();
    let mut tried = Vec::new();
    for target in cluster.seeds() {
        // Asked first, so that a node that is frozen costs no half minute.
        if let Err(error) = control::status(target, STATUS_PATIENCE).await {
            tried.push(error.to_string());
            continue;
        }
        match control::check_groups(target, command.clone(), CHECK_PATIENCE).await {
            Ok(reply) => return findings_of(&reply),
            Err(error) => tried.push(error.to_string()),
        }
    }
    let text = format!("not checked: {}", tried.join("; "));
    Findings {
        rows: vec![finding(None, "warning", &text)],
        errors: 0,
    }
}

fn findings_of(reply: &CheckGroupsReply) -> Findings {
    let rows: Vec<Value> = reply
        .groups
        .iter()
        .flat_map(|group| of_group(group, &reply.origin))
        .collect();
    let errors = rows.iter().filter(|row| row["severity"] == "error");
    Findings {
        errors: errors.count(),
        rows,
    }
}

fn of_group(group: &CheckedGroup, origin: &str) -> Vec<Value> {
    let name = Some(group.group.as_str());
    if !group.unchecked.is_empty() {
        let text = format!("not checked: {origin}: {}", group.unchecked);
        return vec![finding(name, "warning", &text)];
    }
    let severity = |is_error| if is_error { "error" } else { "warning" };
    let findings = group.findings.iter();
    findings
        .map(|found| finding(name, severity(found.is_error), &found.text))
        .collect()
}

fn finding(group: Option<&str>, severity: &str, text: &str) -> Value {
    json!({ "group": group, "severity": severity, "text": text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::control_proto::Finding;

    #[test]
    fn only_what_the_origin_refuses_is_an_error() {
        let found = |is_error, text: &str| Finding {
            is_error,
            text: text.into(),
        };
        let group = |name: &str, unchecked: &str, findings| CheckedGroup {
            group: name.into(),
            unchecked: unchecked.into(),
            findings,
        };
        let findings = findings_of(&CheckGroupsReply {
            origin: "rows".into(),
            groups: vec![
                group("good", "", vec![]),
                group(
                    "bad",
                    "",
                    vec![found(true, "no table"), found(false, "slow")],
                ),
                group("late", "no answer", vec![]),
            ],
        });
        assert_eq!(findings.errors, 1);
        let expected = [
            finding(Some("bad"), "error", "no table"),
            finding(Some("bad"), "warning", "slow"),
            finding(Some("late"), "warning", "not checked: rows: no answer"),
        ];
        assert_eq!(findings.rows, expected);
    }
}
