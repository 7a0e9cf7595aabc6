//! The pure part of the counts, for its tests: `cargo nextest run -E 'binary(counts)'`. What counts needs
//! valgrind and is in `main`.
#![expect(dead_code, reason = "main uses all of it")]

mod kept;

use std::collections::BTreeMap;

use kept::{Count, Finding, Kept, compare};

const COUNT: Count = Count {
    instructions: Some(10_000.0),
    allocations: 3.0,
    bytes: 400.0,
};

fn kept() -> Kept {
    Kept {
        counted_with: "rustc 1.0, \"valgrind\"".to_owned(),
        paths: BTreeMap::from([("node.hit".to_owned(), COUNT)]),
    }
}

/// What is found when `node.hit` costs `now`.
fn found(now: Count) -> Vec<Finding> {
    compare(
        &kept(),
        &BTreeMap::from([("node.hit".to_owned(), now)]),
        true,
    )
}

#[test]
fn the_same_counts_again_are_no_finding() {
    assert_eq!(found(COUNT), []);
}

#[test]
fn a_count_above_its_tolerance_fails_and_one_below_only_hints() {
    let instructions = |n| Count {
        instructions: Some(n),
        ..COUNT
    };
    let allocations = |allocations| Count {
        allocations,
        ..COUNT
    };
    let bytes = |bytes| Count { bytes, ..COUNT };
    for (same, worse, better) in [
        (
            instructions(10_290.0),
            instructions(10_310.0),
            instructions(9_690.0),
        ),
        (allocations(3.01), allocations(3.02), allocations(2.0)),
        (bytes(411.0), bytes(413.0), bytes(380.0)),
    ] {
        assert_eq!(found(same), [], "{same:?}");
        let findings = found(worse);
        assert!(
            matches!(&findings[..], [Finding::Worse(_)]),
            "{worse:?}: {findings:?}"
        );
        assert!(findings[0].is_failure());
        let findings = found(better);
        assert!(
            matches!(&findings[..], [Finding::Better(_)]),
            "{better:?}: {findings:?}"
        );
        assert!(!findings[0].is_failure());
    }
}

#[test]
fn each_of_the_three_is_judged() {
    let findings = found(Count {
        instructions: Some(20_000.0),
        allocations: 6.0,
        bytes: 800.0,
    });
    assert_eq!(findings.len(), 3, "{findings:?}");
}

#[test]
fn a_path_that_is_not_kept_or_not_counted_fails() {
    let other = BTreeMap::from([("node.batch".to_owned(), COUNT)]);
    let findings = compare(&kept(), &other, true);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(Finding::is_failure));
    // Only what was asked for.
    assert_eq!(compare(&kept(), &other, false).len(), 1);
}

#[test]
fn where_instructions_cannot_be_counted_the_rest_is_judged() {
    let findings = found(Count {
        instructions: None,
        allocations: 4.0,
        ..COUNT
    });
    assert!(matches!(&findings[..], [Finding::Worse(_)]), "{findings:?}");
}

#[test]
fn a_handful_of_instructions_more_is_none() {
    let few = |instructions| Count {
        instructions: Some(instructions),
        ..COUNT
    };
    let mut kept = kept();
    kept.paths.insert("node.hit".to_owned(), few(50.0));
    let found = |n| {
        compare(
            &kept,
            &BTreeMap::from([("node.hit".to_owned(), few(n))]),
            true,
        )
    };
    assert_eq!(found(55.0), []);
    assert_eq!(found(56.0).len(), 1);
}

#[test]
fn what_is_kept_reads_back_as_it_was() {
    assert_eq!(Kept::read(&kept().write()).unwrap(), kept());
    let text = kept().write().replace("bytes", "octets");
    assert!(Kept::read(&text).is_err(), "a mistyped name is not skipped");
}
