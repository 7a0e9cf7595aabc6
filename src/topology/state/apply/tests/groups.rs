//! Claims about groups: identities, generations, revisions and bounds.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::ids::{Generation, GroupId};
use crate::topology::commands::{GroupRef, GroupsChange, SetGroups};
use crate::topology::fixtures::{query_spec, set_groups, table_spec};
use crate::topology::model::group::GroupSpec;
use crate::topology::model::rules::{MAX_GROUPS, MAX_STATEMENT_BYTES};
use crate::topology::state::KEPT_REVISIONS;

fn set(state: &mut State, upserts: &[(&str, GroupSpec)], removed: &[&str]) -> GroupsChange {
    let command = Command::SetGroups(set_groups(state.revision(), upserts, removed));
    match changed(state, &command) {
        Change::Groups(groups) => groups,
        other => panic!("{other:?}"),
    }
}

fn generation(state: &State, name: &str) -> (u32, u32) {
    let mut groups = state.groups();
    let group = groups.find(|group| group.name.as_ref() == name).unwrap();
    (group.id.0, group.generation.0)
}

#[test]
fn another_source_voids_entries_and_other_freshness_does_not() {
    let mut state = cluster(1);
    let made = set(
        &mut state,
        &[("b", table_spec("t", 60)), ("a", query_spec("SELECT $1"))],
        &[],
    );
    let identities = made
        .groups
        .iter()
        .map(|(name, id, _)| (name.as_ref(), id.0));
    assert_eq!(identities.collect::<Vec<_>>(), [("a", 1), ("b", 2)]);
    assert_eq!((made.revision, made.epoch), (1, state.epoch()));
    let fresher = set(&mut state, &[("b", table_spec("t", 30))], &[]);
    assert_eq!(fresher.groups, [("b".into(), GroupId(2), Generation(1))]);
    set(&mut state, &[("b", table_spec("u", 30))], &[]);
    assert_eq!(generation(&state, "b"), (2, 2));
    // Going back is another change: entries of the first generation must not come back.
    set(&mut state, &[("b", table_spec("t", 30))], &[]);
    assert_eq!(generation(&state, "b"), (2, 3));
    assert_eq!(generation(&state, "a"), (1, 1));
    let same = Command::SetGroups(set_groups(4, &[("b", table_spec("t", 30))], &[]));
    unchanged(&mut state, &same);
}

#[test]
fn a_name_that_comes_back_is_another_group() {
    let mut state = cluster(1);
    set(&mut state, &[("a", table_spec("t", 60))], &[]);
    set(&mut state, &[], &["a"]);
    assert_eq!(state.groups().count(), 0);
    set(&mut state, &[("a", table_spec("t", 60))], &[]);
    assert_eq!(generation(&state, "a"), (2, 1));
    let by_id = Command::ResetGroup(GroupRef::Id(GroupId(1)));
    assert_eq!(
        refused(&mut state, &by_id),
        Refusal::UnknownGroupId(GroupId(1))
    );
}

#[test]
fn a_reset_is_the_next_generation() {
    let mut state = cluster(1);
    set(&mut state, &[("a", table_spec("t", 60))], &[]);
    let by_name = Command::ResetGroup(GroupRef::Name("a".into()));
    assert_eq!(
        changed(&mut state, &by_name),
        Change::Reset(GroupId(1), Generation(2))
    );
    let by_id = Command::ResetGroup(GroupRef::Id(GroupId(1)));
    assert_eq!(
        changed(&mut state, &by_id),
        Change::Reset(GroupId(1), Generation(3))
    );
    assert_eq!(
        state.revision(),
        1,
        "the operator's description is the same"
    );
    let unknown = Command::ResetGroup(GroupRef::Name("b".into()));
    assert_eq!(
        refused(&mut state, &unknown).to_string(),
        "there is no group \"b\""
    );
    state.groups.get_mut(&GroupId(1)).unwrap().generation = Generation(u32::MAX);
    assert_eq!(state.apply(&by_id), Err(Refusal::Exhausted("generations")));
}

#[test]
fn the_latest_revisions_are_kept_whole() {
    let mut state = cluster(1);
    let last = KEPT_REVISIONS as u64 + 4;
    for ttl in 1..=last {
        set(
            &mut state,
            &[("a", table_spec("t", ttl)), ("b", table_spec("t", 9))],
            &[],
        );
    }
    let revisions = state.revisions();
    assert_eq!(revisions.len(), KEPT_REVISIONS);
    for (revision, number) in revisions.iter().zip(5..) {
        assert_eq!((revision.number, revision.groups.len()), (number, 2));
        assert_eq!(revision.groups["a"].ttl, Duration::from_secs(number));
        assert_eq!(revision.note.as_ref(), format!("after {}", number - 1));
    }
}

#[test]
fn a_change_for_another_revision_is_refused() {
    let mut state = cluster(1);
    set(&mut state, &[("a", table_spec("t", 60))], &[]);
    let stale = Command::SetGroups(set_groups(0, &[("b", table_spec("t", 60))], &[]));
    assert_eq!(
        refused(&mut state, &stale),
        Refusal::StaleRevision {
            expected: 0,
            found: 1
        }
    );
}

#[test]
fn a_group_that_is_named_wrongly_is_refused() {
    let mut state = cluster(1);
    set(&mut state, &[("a", table_spec("t", 60))], &[]);
    let good = || table_spec("t", 60);
    let mut refuse = |upserts: &[(&str, GroupSpec)], removed: &[&str]| {
        refused(
            &mut state,
            &Command::SetGroups(set_groups(1, upserts, removed)),
        )
    };
    let a = || Arc::from("a");
    assert_eq!(
        refuse(&[("a", good())], &["a"]),
        Refusal::GroupNamedTwice(a())
    );
    assert_eq!(
        refuse(&[("a", good()), ("a", good())], &[]),
        Refusal::GroupNamedTwice(a())
    );
    assert_eq!(refuse(&[], &["a", "a"]), Refusal::GroupNamedTwice(a()));
    assert_eq!(refuse(&[], &["b"]), Refusal::UnknownGroup("b".into()));
    for name in ["", "A", "9a", "a/b", &"a".repeat(65)] {
        assert_eq!(
            refuse(&[(name, good())], &[]),
            Refusal::BadGroupName(name.into())
        );
    }
}

#[test]
fn a_spec_that_the_groups_file_does_not_allow_is_refused() {
    let mut state = cluster(1);
    let good = || table_spec("t", 60);
    let long = format!("SELECT $1 {}", "x".repeat(MAX_STATEMENT_BYTES));
    let month = Duration::from_hours(31 * 24);
    let cases = [
        (table_spec("t;--", 60), "table"),
        (query_spec("SELECT 1"), "query"),
        (query_spec("SELECT $1;"), "query"),
        (query_spec(&long), "query"),
        (
            GroupSpec {
                content_type: "text".into(),
                ..good()
            },
            "content_type",
        ),
        (table_spec("t", 0), "ttl"),
        (
            GroupSpec {
                ttl_jitter: f64::NAN,
                ..good()
            },
            "ttl_jitter",
        ),
        (
            GroupSpec {
                ttl_jitter: -0.0,
                ..good()
            },
            "ttl_jitter",
        ),
        (
            GroupSpec {
                ttl_jitter: 0.51,
                ..good()
            },
            "ttl_jitter",
        ),
        (
            GroupSpec {
                stale: month,
                ..good()
            },
            "stale",
        ),
        (
            GroupSpec {
                stale_if_error: Duration::MAX,
                ..good()
            },
            "stale_if_error",
        ),
        (
            GroupSpec {
                negative_ttl: month,
                ..good()
            },
            "negative_ttl",
        ),
        (
            GroupSpec {
                error_ttl: Duration::ZERO,
                ..good()
            },
            "error_ttl",
        ),
        (
            GroupSpec {
                max_value_bytes: 0,
                ..good()
            },
            "max_value_bytes",
        ),
    ];
    for (spec, field) in cases {
        let command = Command::SetGroups(set_groups(0, &[("a", spec)], &[]));
        let group = Arc::from("a");
        assert_eq!(
            refused(&mut state, &command),
            Refusal::BadGroup { group, field }
        );
    }
}

#[test]
fn groups_are_bounded_in_number_and_in_text() {
    let mut state = cluster(1);
    let names: Vec<String> = (0..=MAX_GROUPS).map(|n| format!("g{n}")).collect();
    let many = |spec: &GroupSpec, count: usize| {
        let upserts = names[..count]
            .iter()
            .map(|name| (name.as_str(), spec.clone()));
        Command::SetGroups(set_groups(0, &upserts.collect::<Vec<_>>(), &[]))
    };
    let short = table_spec("t", 60);
    assert_eq!(
        refused(&mut state, &many(&short, MAX_GROUPS + 1)),
        Refusal::TooManyGroups(MAX_GROUPS + 1)
    );
    changed(&mut state.clone(), &many(&short, MAX_GROUPS));
    let long = query_spec(&format!(
        "SELECT $1 {}",
        "x".repeat(MAX_STATEMENT_BYTES - 10)
    ));
    assert!(matches!(
        refused(&mut state, &many(&long, 33)),
        Refusal::GroupsTooLarge { .. }
    ));
    let note = SetGroups {
        note: "n".repeat(257),
        ..set_groups(0, &[("a", short)], &[])
    };
    assert!(matches!(
        refused(&mut state, &Command::SetGroups(note)),
        Refusal::NoteTooLong { .. }
    ));
}

#[test]
fn revisions_with_much_text_are_forgotten_earlier_and_the_same_everywhere() {
    let mut state = cluster(1);
    let mut other = state.clone();
    let spec = |round: usize| query_spec(&format!("SELECT $1, {round} {}", "x".repeat(16_000)));
    let names: Vec<String> = (0..30).map(|n| format!("g{n}")).collect();
    for round in 0..8 {
        // Every second revision is the same: by value, and after decoding also in memory.
        let spec = spec(round % 2 * round);
        let upserts: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), spec.clone()))
            .collect();
        let command = Command::SetGroups(set_groups(state.revision(), &upserts, &[]));
        changed(&mut state, &command);
        changed(&mut other, &command);
        other = State::decode(&other.encode()).unwrap();
        assert_eq!(state.hash(), other.hash());
    }
    let kept = state.revisions().len();
    assert!((1..8).contains(&kept), "{kept} revisions");
    assert!(state.encode().len() < 3 << 20);
}
