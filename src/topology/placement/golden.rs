//! Frozen tables: the results of `place` must never change, on any platform or in any version.
//!
//! `tests/data/placement_*.txt` hold steps. A person writes the first lines of each step: `step EPOCH`, and
//! `member ID zone=Z weight=W up|down` for each member. The first step places from scratch, each later one
//! from the table before. `GCACHE_BLESS=1 cargo test golden` writes the rest: the number of moves, `xxh3`
//! over all assignments, and `owner/standby` for every partition, 32 a line. To add a case, write the first
//! lines and bless. To bless a change of an old case means to remap running clusters.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::tests::member;
use super::*;
use crate::ids::NodeId;
use crate::topology::model::member::MemberStatus;
use crate::topology::model::partitions::moves;

const PER_LINE: usize = 32;

fn cases() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let is_case = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("placement_") && name.ends_with(".txt")
    };
    let entries = std::fs::read_dir(folder).unwrap();
    let mut cases: Vec<_> = entries.map(|e| e.unwrap().path()).filter(is_case).collect();
    cases.sort();
    cases
}

fn parse_member(line: &str) -> Member {
    let [id, zone, weight, status] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("malformed member: {line}");
    };
    let zone = zone.strip_prefix("zone=").unwrap();
    let weight = weight.strip_prefix("weight=").unwrap().parse().unwrap();
    let status = match status {
        "up" => MemberStatus::Up,
        "down" => MemberStatus::Down,
        _ => panic!("malformed status: {line}"),
    };
    Member {
        status,
        ..member(id.parse().unwrap(), zone, weight)
    }
}

fn digest(table: &PartitionTable) -> u64 {
    let mut bytes = Vec::new();
    for (_, assignment) in table.iter() {
        // Ids begin at 1 and so do epochs: 0 is none.
        let id = |id: Option<NodeId>| id.map_or(0, |id| id.0).to_le_bytes();
        bytes.extend(id(assignment.owner));
        bytes.extend(id(assignment.standby));
        bytes.extend(assignment.tenure.0.to_le_bytes());
        bytes.extend(
            assignment
                .inherits
                .map_or(0, |tenure| tenure.0)
                .to_le_bytes(),
        );
    }
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

fn render_table(out: &mut String, table: &PartitionTable) {
    let assignments: Vec<String> = table
        .iter()
        .map(|(_, assignment)| {
            let id = |id: Option<NodeId>| id.map_or_else(|| "-".into(), |id| id.to_string());
            format!("{}/{}", id(assignment.owner), id(assignment.standby))
        })
        .collect();
    for (line, assignments) in assignments.chunks(PER_LINE).enumerate() {
        writeln!(out, "{:04} {}", line * PER_LINE, assignments.join(" ")).unwrap();
    }
}

/// The complete text for the first lines of the steps in `text`.
fn render(text: &str) -> String {
    let mut out = String::new();
    let mut table: Option<PartitionTable> = None;
    for line in text.lines().filter(|line| line.starts_with('#')) {
        writeln!(out, "{line}").unwrap();
    }
    for step in text.split("\nstep ").skip(1) {
        let epoch: u64 = step.lines().next().unwrap().trim().parse().unwrap();
        writeln!(out, "\nstep {epoch}").unwrap();
        let lines = step.lines().filter_map(|line| line.strip_prefix("member "));
        let members: Vec<Member> = lines.clone().map(parse_member).collect();
        lines.for_each(|line| writeln!(out, "member {line}").unwrap());
        let next = place(&members, table.as_ref(), Epoch(epoch));
        let moved = table
            .as_ref()
            .map_or(PARTITIONS, |table| moves(table, &next).len());
        writeln!(out, "moves {moved}\nxxh3 {:016x}", digest(&next)).unwrap();
        render_table(&mut out, &next);
        table = Some(next);
    }
    out
}

#[test]
fn golden_tables_hold() {
    let cases = cases();
    assert!(cases.len() >= 6, "only {} cases", cases.len());
    for case in cases {
        let text = std::fs::read_to_string(&case).unwrap();
        let rendered = render(&text);
        if std::env::var_os("GCACHE_BLESS").is_some() {
            std::fs::write(&case, rendered).unwrap();
        } else {
            // Not `assert_eq`, which would print both tables.
            assert!(text == rendered, "{} no longer holds", case.display());
        }
    }
}
