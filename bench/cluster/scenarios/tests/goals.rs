//! What a reader of the table learns.

use crate::goals::{insert, table};
use crate::outcome::{Goal, Outcome};

fn outcome(scenario: &str, goals: &[(&str, &str, bool)]) -> Outcome {
    let goal = |(goal, measured, is_met): &(&str, &str, bool)| Goal {
        goal: (*goal).into(),
        measured: (*measured).into(),
        is_met: *is_met,
    };
    Outcome {
        scenario: scenario.into(),
        what: "a node joins".into(),
        variant: "warm".into(),
        goals: goals.iter().map(goal).collect(),
        ..Outcome::default()
    }
}

#[test]
fn each_goal_is_a_row_with_its_number_and_verdict() {
    let runs = vec![
        outcome(
            "3to4",
            &[
                ("few misses", "0.1 points: at 3 s", true),
                ("no failure", "2 of 9", false),
            ],
        ),
        // What it is compared with is told elsewhere.
        outcome("3to4", &[("few misses", "9 points: at 3 s", false)]),
    ];
    let cold = Outcome {
        variant: "cold".into(),
        ..outcome("4to3", &[("no failure", "none of 9", true)])
    };
    let text = table(&[runs, Vec::new(), vec![cold]], "results/");
    let rows: Vec<_> = text.lines().skip(2).collect();
    assert_eq!(
        rows,
        [
            "| a node joins ([chart](results/3to4.svg)) | few misses | 0.1 points | met |",
            "|  | no failure | 2 of 9 | **missed** |",
            "| a node joins (cold, [chart](results/4to3.svg)) | no failure | none of 9 | met |",
        ]
    );
}

#[test]
fn a_page_keeps_what_is_around_the_table_however_often_it_is_made() {
    let page = "above\n<!-- made by `just bench-moves` -->\nold\n<!-- until here -->\nbelow\n";
    let once = insert(page, "| new |\n").unwrap();
    assert!(
        once.starts_with("above\n") && once.ends_with("\nbelow\n"),
        "{once}"
    );
    assert!(once.contains("| new |") && !once.contains("old"), "{once}");
    assert_eq!(insert(&once, "| new |\n").unwrap(), once);
    assert_eq!(insert("no place", "| new |\n"), None);
}

#[test]
fn the_page_has_a_place_for_the_table() {
    let page = include_str!("../../../../docs/performance.md");
    assert!(insert(page, "").is_some());
}
