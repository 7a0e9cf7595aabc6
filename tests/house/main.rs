//! The house rules that a machine can check, applied to the text of the source tree.
//!
//! `source` parses Rust well enough to separate code from comments and strings. `layers`, `shape` and `names`
//! each have one family of rules; each rule is a function from files to violations. `pages` has the rules for
//! the pages in Markdown. Each rule has a test that it catches a violation: a check that cannot fail is a
//! defect.

mod layers;
mod names;
mod pages;
mod shape;
mod source;

use pages::Page;
use source::File;

/// A rule: returns the violations in these files, one line each.
type Rule = fn(&[File]) -> Vec<String>;

/// A rule about pages.
type PageRule = fn(&[Page]) -> Vec<String>;

#[test]
fn the_tree_keeps_the_rules() {
    let files = source::tree();
    assert!(
        files.iter().any(|file| file.path == "src/lib.rs"),
        "the tree was not found"
    );
    let rules: [Rule; 12] = [
        layers::imports_go_downwards,
        layers::pure_code_is_pure,
        layers::crates_stay_where_they_belong,
        layers::nodes_look_nothing_up_at_nodes,
        shape::files_say_what_they_are,
        shape::files_are_short,
        shape::functions_fit_a_screen,
        shape::nothing_is_unfinished,
        names::metrics_are_well_named,
        names::metrics_use_every_word,
        names::metrics_are_declared_once,
        names::messages_are_phrases,
    ];
    let mut violations: Vec<String> = rules.iter().flat_map(|rule| rule(&files)).collect();
    let page = source::page(names::METRICS_PAGE);
    violations.extend(names::metrics_are_documented(&files, &page));
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn the_pages_keep_the_rules() {
    let pages = pages::pages();
    assert!(
        pages.iter().any(|page| page.path == "docs/README.md"),
        "the pages were not found"
    );
    let rules: [PageRule; 4] = [
        pages::readme_is_short,
        pages::lines_are_short,
        pages::links_lead_somewhere,
        pages::named_paths_are_there,
    ];
    let violations: Vec<String> = rules.iter().flat_map(|rule| rule(&pages)).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
