//! The house rules that a machine can check, on the text of the source tree.
//!
//! `source` reads Rust well enough to tell code from comments and strings; `layers`, `shape` and `names`
//! hold one family of rules each, a function per rule from files to violations. Beside each rule stands a
//! test that it catches one: a check that cannot fail is a defect.

mod layers;
mod names;
mod shape;
mod source;

use source::File;

/// A rule: what of these files breaks it, one line each.
type Rule = fn(&[File]) -> Vec<String>;

#[test]
fn the_tree_keeps_the_rules() {
    let files = source::tree();
    assert!(
        files.iter().any(|file| file.path == "src/lib.rs"),
        "the tree was not found"
    );
    let rules: [Rule; 11] = [
        layers::imports_go_downwards,
        layers::pure_code_is_pure,
        layers::crates_stay_where_they_belong,
        layers::nodes_look_nothing_up_at_nodes,
        shape::files_say_what_they_are,
        shape::files_are_short,
        shape::functions_fit_a_screen,
        shape::nothing_is_unfinished,
        names::metrics_are_well_named,
        names::metrics_are_declared_once,
        names::messages_are_phrases,
    ];
    let mut violations: Vec<String> = rules.iter().flat_map(|rule| rule(&files)).collect();
    violations.extend(names::metrics_are_documented(
        &files,
        &source::page(names::METRICS_PAGE),
    ));
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
