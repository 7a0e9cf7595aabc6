//! `gcache ring show`: what every member owns and is standby for, and how even the shares are.

use serde_json::{Value, json};

use super::args::Reach;
use super::cluster_client::Cluster;
use super::failure::Failure;
use super::pause::PAUSED;
use super::print::{print_json, table, write};
use crate::hash::PARTITIONS;
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::state::State;

/// How wide the longest bar is, in characters: with the columns before it, it fits a line of 120.
const BAR_WIDTH: usize = 48;

const OWNED: &str = "█";
const STANDBY: &str = "░";

/// Prints the ring: from the leader's state, or without a leader from the newest that any node shows, marked so.
pub(super) async fn show(reach: &Reach) -> Result<(), Failure> {
    let look = Cluster::of(reach)?.look().await?;
    let state = &look.state;
    let members = members(state);
    if reach.json {
        return print_json(&json!({
            "epoch": state.epoch().0,
            "paused": state.is_paused(),
            "may_be_old": look.json(),
            "members": members,
        }));
    }
    let mut text = look.mark() + &drawn(&members);
    if state.is_paused() {
        text.push_str(&format!("\n{PAUSED}\n"));
    }
    write(text.as_bytes(), false)
}

fn members(state: &State) -> Vec<Value> {
    let weights: u64 = state.members().map(weight).sum();
    let standing_by = |id| {
        let assignments = state.table().iter();
        assignments
            .filter(|(_, assignment)| assignment.standby == Some(id))
            .count()
    };
    let member = |member: &MemberRecord| {
        let owned = state.table().owned_by(member.id);
        let fair = PARTITIONS as f64 * weight(member) as f64 / weights.max(1) as f64;
        let off = 100.0 * (owned as f64 - fair) / fair;
        json!({
            "name": &*member.name,
            "status": member.status.to_string(),
            "zone": member.zone.as_str(),
            "weight": member.weight,
            "partitions": owned,
            "fair": (fair * 10.0).round() / 10.0,
            "off_percent": (fair > 0.0).then(|| (off * 100.0).round() / 100.0),
            "standby": standing_by(member.id),
        })
    };
    state.members().map(member).collect()
}

/// Returns what a member counts for: only one that is up is given partitions.
fn weight(member: &MemberRecord) -> u64 {
    match member.status {
        MemberStatus::Up => member.weight.into(),
        _ => 0,
    }
}

/// The members with a bar each, drawn to one scale.
fn drawn(members: &[Value]) -> String {
    let count = |member: &Value, field: &str| member[field].as_u64().unwrap_or_default() as usize;
    let both = |member: &Value| count(member, "partitions") + count(member, "standby");
    let most = members.iter().map(both).max().unwrap_or_default().max(1);
    // The ends are rounded and not the parts, so that bars of equal sums are equally long.
    let width = |partitions: usize| (partitions * BAR_WIDTH + most / 2) / most;
    let bar = format!("{OWNED} owned {STANDBY} standby");
    let rows: Vec<Value> = members
        .iter()
        .map(|member| {
            let owned = width(count(member, "partitions"));
            let standby = width(both(member)) - owned;
            let mut row = member.clone();
            let off = member["off_percent"].as_f64();
            row["off"] = off.map(|off| format!("{off:+.2} %")).into();
            row[bar.as_str()] = (OWNED.repeat(owned) + &STANDBY.repeat(standby)).into();
            row
        })
        .collect();
    let columns = [
        "name",
        "status",
        "zone",
        "weight",
        "partitions",
        "fair",
        "off",
        "standby",
        &bar,
    ];
    table(&columns, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_what_they_stand_for() {
        let member = |name, partitions, standby, off: Option<f64>| {
            json!({
                "name": name, "status": "up", "zone": "a", "weight": 1, "partitions": partitions,
                "fair": 1024.0, "off_percent": off, "standby": standby,
            })
        };
        let text = drawn(&[
            member("n1", 2048, 1024, Some(100.0)),
            member("n2", 1024, 2048, Some(-0.049)),
            member("n3", 0, 0, None),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("█ OWNED ░ STANDBY"), "{text}");
        let bars =
            [(32, 16), (16, 32)].map(|(owned, standby)| "█".repeat(owned) + &"░".repeat(standby));
        assert!(
            lines[1].ends_with(&bars[0]) && lines[1].contains("+100.00 %"),
            "{text}"
        );
        assert!(
            lines[2].ends_with(&bars[1]) && lines[2].contains("-0.05 %"),
            "{text}"
        );
        assert!(!lines[3].contains('█') && !lines[3].contains('%'), "{text}");
    }
}
