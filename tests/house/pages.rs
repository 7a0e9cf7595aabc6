//! Rules for the pages in Markdown: README, docs/ and others.

use std::collections::BTreeSet;
use std::path::Path;

/// One page.
pub(crate) struct Page {
    /// The path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// The text of the page.
    pub(crate) text: String,
}

impl Page {
    fn new(path: &str, text: &str) -> Self {
        let (path, text) = (path.to_owned(), text.to_owned());
        Self { path, text }
    }
}

/// The most lines of the README.
const MAX_README_LINES: usize = 200;

/// The most characters of a line of prose, without the targets of its links.
const MAX_LINE_CHARACTERS: usize = 120;

/// The beginnings of paths in the repository.
const ROOTS: [&str; 8] = [
    "src/", "tests/", "bench/", "config/", "proto/", "docs/", "testkit/", ".ci/",
];

/// The README is short: it is a pitch and a start, and everything else has a page of its own.
pub(crate) fn readme_is_short(pages: &[Page]) -> Vec<String> {
    let readme = pages.iter().filter(|page| page.path == "README.md");
    let lines = readme.map(|page| page.text.lines().count());
    lines
        .filter(|lines| *lines > MAX_README_LINES)
        .map(|lines| format!("README.md: {lines} lines, at most {MAX_README_LINES}"))
        .collect()
}

/// Lines of prose are short, so that they fit in an editor's window. Rows of tables and code cannot be
/// broken.
pub(crate) fn lines_are_short(pages: &[Page]) -> Vec<String> {
    let mut violations = Vec::new();
    for page in pages.iter().filter(|page| is_for_strangers(page)) {
        for (number, line) in prose(page).filter(|(_, line)| !line.starts_with('|')) {
            let length = without_targets(line).chars().count();
            if length > MAX_LINE_CHARACTERS {
                let place = format!("{}:{number}", page.path);
                violations.push(format!(
                    "{place}: {length} characters, at most {MAX_LINE_CHARACTERS}"
                ));
            }
        }
    }
    violations
}

/// A link within the repository leads to an existing file, and to a heading in it.
pub(crate) fn links_lead_somewhere(pages: &[Page]) -> Vec<String> {
    let mut violations = Vec::new();
    for page in pages {
        for (number, line) in prose(page) {
            for target in targets(line).filter(|target| !target.contains(':')) {
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path = match path {
                    "" => page.path.clone(),
                    path => resolved(&page.path, path),
                };
                let other = pages.iter().find(|page| page.path == path);
                let has_heading = |page: &Page| anchors(page).contains(anchor);
                let is_there = other.is_some() || exists(&path);
                if !is_there || !anchor.is_empty() && !other.is_some_and(has_heading) {
                    violations.push(format!("{}:{number}: {target} is nowhere", page.path));
                }
            }
        }
    }
    violations
}

/// A path that a page names is that of something in the repository: code moves, and pages stay.
pub(crate) fn named_paths_are_there(pages: &[Page]) -> Vec<String> {
    let mut violations = Vec::new();
    for page in pages {
        for (number, line) in prose(page) {
            // What stands between every second pair of backticks.
            let quoted = line.split('`').skip(1).step_by(2);
            let paths = quoted.filter(|text| ROOTS.iter().any(|root| text.starts_with(root)));
            for path in paths.filter(|path| !is_pattern(path) && !exists(path)) {
                violations.push(format!("{}:{number}: {path} is not there", page.path));
            }
        }
    }
    violations
}

/// Every page of the repository that is written by hand: pages that benchmarks write do not count.
pub(crate) fn pages() -> Vec<Page> {
    let mut folders = ROOTS.map(str::to_owned).to_vec();
    let mut pages = markdown("", &mut Vec::new());
    while let Some(folder) = folders.pop() {
        if folder != "bench/results/" {
            pages.extend(markdown(&folder, &mut folders));
        }
    }
    pages
}

/// The pages in a folder. Adds the folders in it to `folders`.
fn markdown(folder: &str, folders: &mut Vec<String>) -> Vec<Page> {
    let mut pages = Vec::new();
    let entries = std::fs::read_dir(root().join(folder)).into_iter().flatten();
    for entry in entries.map(|entry| entry.expect("a folder that was opened can be read")) {
        let path = format!("{folder}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            folders.push(format!("{path}/"));
        } else if path.ends_with(".md") {
            let text = std::fs::read_to_string(entry.path()).expect("pages are UTF-8");
            pages.push(Page::new(&path, &text));
        }
    }
    pages
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the repository has a file or a folder of this path.
fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// Whether the page is the README, CONTRIBUTING or in docs/.
fn is_for_strangers(page: &Page) -> bool {
    ["README.md", "CONTRIBUTING.md"].contains(&&*page.path) || page.path.starts_with("docs/")
}

/// Whether a path stands for several, or for one that a reader makes.
fn is_pattern(path: &str) -> bool {
    path.contains(|c: char| "*{}…".contains(c) || c.is_ascii_uppercase()) && !path.contains(".md")
}

/// The lines outside of blocks of code, with their numbers.
fn prose(page: &Page) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    let lines = page.text.lines().zip(1..);
    lines.filter_map(move |(line, number)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((number, line))
    })
}

/// The targets of the links and images in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

fn without_targets(line: &str) -> String {
    targets(line).fold(line.to_owned(), |line, target| {
        line.replace(&format!("]({target})"), "]")
    })
}

/// The path that `target` leads to from the page at `from`.
fn resolved(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a page's headings, as links name them.
fn anchors(page: &Page) -> BTreeSet<String> {
    let headings = prose(page).filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|c| c.is_alphanumeric() || "_- ".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn a_long_readme_is_caught() {
    let page = |lines| [Page::new("README.md", &"line\n".repeat(lines))];
    assert!(readme_is_short(&page(MAX_README_LINES)).is_empty());
    assert_eq!(readme_is_short(&page(MAX_README_LINES + 1)).len(), 1);
    assert!(readme_is_short(&[Page::new("docs/a.md", &"a\n".repeat(300))]).is_empty());
}

#[test]
fn a_long_line_is_caught_and_a_row_code_or_a_target_is_none() {
    let long = "word ".repeat(25);
    for (text, caught) in [
        (long.clone(), true),
        (format!("- {long}"), true),
        (format!("| {long} |"), false),
        (format!("```sh\n{long}\n```"), false),
        (format!("[a](docs/{})", "b".repeat(130)), false),
        (format!("```\ncode\n```\n{long}"), true),
    ] {
        let found = lines_are_short(&[Page::new("docs/a.md", &text)]);
        assert_eq!(found.len(), usize::from(caught), "{text}");
    }
    assert!(lines_are_short(&[Page::new("bench/README.md", &long)]).is_empty());
}

#[test]
fn a_link_that_leads_nowhere_is_caught() {
    let other = "# The `other` page\n\n## Who, and *why*?\n";
    for (target, caught) in [
        ("https://example.org/a", false),
        ("other.md", false),
        ("../docs/other.md#who-and-why", false),
        ("../README.md#the-page", false),
        ("other.md#what", true),
        ("no.md", true),
        ("../src/lib.rs", false),
        ("../src/no.rs", true),
        ("#here", false),
        ("#there", true),
    ] {
        let pages = [
            Page::new("README.md", "# The page\n"),
            Page::new("docs/a.md", &format!("# Here\n\nSee [it]({target}).\n")),
            Page::new("docs/other.md", other),
        ];
        let found = links_lead_somewhere(&pages);
        assert_eq!(found.len(), usize::from(caught), "{target}: {found:?}");
    }
}

#[test]
fn a_path_that_is_not_there_is_caught() {
    for (text, caught) in [
        ("`src/lib.rs`", false),
        ("`src/cache/`", false),
        ("see `src/cache/no.rs`, and `tests/no/`", true),
        ("| a | `bench/no.rs` |", true),
        ("```\n`src/no.rs`\n```", false),
        ("`src/NAME.rs`", false),
        ("`no/src/lib.rs`", false),
    ] {
        let found = named_paths_are_there(&[Page::new("docs/a.md", text)]);
        assert_eq!(!found.is_empty(), caught, "{text}: {found:?}");
    }
}
