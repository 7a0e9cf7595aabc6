//! Rules for what operators read: the names of metrics, and the messages of logs and errors.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{File, Literal, find_words};

/// The prefix of every metric of ours.
const PREFIX: &str = "gcache_";

/// The components that have metrics. A component that is missing here is new to operators too: add it
/// together with its dashboard.
const COMPONENTS: [&str; 9] = [
    "admin",
    "cache",
    "discovery",
    "frontend",
    "node",
    "origin",
    "pipeline",
    "process",
    "raft",
];

/// The units of metrics: base units, and nouns for things that are counted.
const UNITS: [&str; 28] = [
    "renewals",
    "lines",
    "seconds",
    "bytes",
    "info",
    "batches",
    "calls",
    "connections",
    "connects",
    "directories",
    "entries",
    "events",
    "failovers",
    "fills",
    "flights",
    "groups",
    "index",
    "keys",
    "messages",
    "moves",
    "peers",
    "refreshes",
    "refusals",
    "requests",
    "retries",
    "term",
    "waiters",
    "statements",
];

/// The page with the table of all metrics.
pub(crate) const METRICS_PAGE: &str = "docs/metrics.md";

/// The macros that write log lines.
const LOG_MACROS: [&str; 5] = ["trace!(", "debug!(", "info!(", "warn!(", "error!("];

/// `gcache_<component>_<thing>_<unit>[_total]`. The thing may be left out if the unit already names it.
pub(crate) fn metrics_are_well_named(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for (file, literal) in metrics(files) {
        let name = literal.text.as_str();
        let core = name.strip_suffix("_total").unwrap_or(name);
        let parts: Vec<&str> = core.trim_start_matches(PREFIX).split('_').collect();
        let is_plain = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let (first, last) = (parts[0], parts[parts.len() - 1]);
        let wrong = if parts.len() < 2 || !parts.iter().all(is_plain) {
            "is not gcache_<component>_<thing>_<unit>[_total]"
        } else if !COMPONENTS.contains(&first) {
            "names no component of tests/house/names.rs"
        } else if !UNITS.contains(&last) {
            "ends in no unit of tests/house/names.rs"
        } else if core != name && last == "info" {
            "is a total of something that does not add up"
        } else {
            continue;
        };
        violations.push(format!("{}: {name} {wrong}", file.place(literal.start)));
    }
    violations
}

/// A component or unit that no metric has allows the next one to be misspelled as it.
pub(crate) fn metrics_use_every_word(files: &[File]) -> Vec<String> {
    let names: Vec<&str> = metrics(files)
        .map(|(_, literal)| literal.text.as_str())
        .collect();
    let cores = || {
        let core = |name: &&'_ str| name.strip_suffix("_total").unwrap_or(name).to_owned();
        names.iter().map(core)
    };
    let is_spare_component = |word: &&str| {
        let opening = format!("{PREFIX}{word}_");
        !cores().any(|core| core.starts_with(&opening))
    };
    let is_spare_unit = |word: &&str| !cores().any(|core| core.rsplit('_').next() == Some(word));
    let components = COMPONENTS.iter().copied().filter(is_spare_component);
    let units = UNITS.iter().copied().filter(is_spare_unit);
    components
        .chain(units)
        .map(|word| format!("tests/house/names.rs allows {word:?}, which no metric has"))
        .collect()
}

/// A metric is declared once, because two declarations of one name drift apart.
pub(crate) fn metrics_are_declared_once(files: &[File]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, literal) in metrics(files) {
        places
            .entry(&literal.text)
            .or_default()
            .push(file.place(literal.start));
    }
    let twice = places.iter().filter(|(_, places)| places.len() > 1);
    twice
        .map(|(name, places)| format!("{name} stands at {}", places.join(" and ")))
        .collect()
}

/// The table of metrics lists every metric and no other.
pub(crate) fn metrics_are_documented(files: &[File], page: &str) -> Vec<String> {
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with(PREFIX))
        .collect();
    let declared: BTreeSet<&str> = metrics(files)
        .map(|(_, literal)| literal.text.as_str())
        .collect();
    let missing = declared
        .difference(&documented)
        .map(|name| format!("{METRICS_PAGE} lacks {name}"));
    let stale = documented
        .difference(&declared)
        .map(|name| format!("{METRICS_PAGE} has {name}: unknown"));
    missing.chain(stale).collect()
}

/// Log and error messages are lower-case phrases without a full stop. Log messages have fields instead of
/// interpolation, so that they can be searched for.
pub(crate) fn messages_are_phrases(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        let code = file.production();
        let logs = LOG_MACROS
            .iter()
            .flat_map(|name| find_words(&code, name).map(|at| (at, *name)));
        let errors = code.match_indices("#[error(");
        for (offset, opening) in logs.chain(errors) {
            let is_log = !opening.starts_with('#');
            let Some(message) = message(file, &code, offset + opening.len()) else {
                continue;
            };
            let wrong = if begins_upper_case(&message.text) {
                "begins in upper case"
            } else if message.text.ends_with('.') {
                "ends with a full stop"
            } else if is_log && message.text.contains('{') {
                "has values in it instead of in fields"
            } else {
                continue;
            };
            violations.push(format!(
                "{}: {:?} {wrong}",
                file.place(message.start),
                message.text
            ));
        }
    }
    violations
}

/// The strings of production code that are metric names.
fn metrics(files: &[File]) -> impl Iterator<Item = (&File, &Literal)> {
    files.iter().flat_map(|file| {
        let named = |literal: &&Literal| {
            literal.text.starts_with(PREFIX) && file.is_production(literal.start)
        };
        file.literals
            .iter()
            .filter(named)
            .map(move |literal| (file, literal))
    })
}

/// The message among the arguments of a macro, which begin at `start`: the string that is an argument by
/// itself and not the value of a field.
fn message<'f>(file: &'f File, code: &str, start: usize) -> Option<&'f Literal> {
    let mut depth = 0;
    let mut end = start;
    for byte in code[start..].bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => break,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        end += 1;
    }
    file.literals
        .iter()
        .filter(|literal| literal.start >= start && literal.end <= end)
        .find(|l| {
            let before = code[start..l.start].trim_end();
            let after = code[l.end..=end].trim_start();
            (before.is_empty() || before.ends_with(',')) && after.starts_with([',', ')'])
        })
}

/// Whether a message begins with a capital letter that is not part of an abbreviation.
fn begins_upper_case(message: &str) -> bool {
    let word: String = message
        .chars()
        .take_while(|c| c.is_alphanumeric())
        .collect();
    let is_abbreviation = word.len() > 1 && !word.chars().any(char::is_lowercase);
    word.starts_with(char::is_uppercase) && !is_abbreviation
}

#[test]
fn a_badly_named_metric_is_caught() {
    for (name, caught) in [
        ("gcache_cache_fills_total", false),
        ("gcache_cache_memory_bytes", false),
        ("gcache_origin_load_seconds", false),
        ("gcache_cache_fills", false),
        ("gcache_fills_total", true),
        ("gcache_cach_fills_total", true),
        ("gcache_cache_load_ms", true),
        ("gcache_cache_info_total", true),
        ("gcache_cache_Fills_total", true),
        ("gcache_cache__fills", true),
        ("gcache_", true),
    ] {
        let file = File::new("src/cache/x.rs", &format!("const A: &str = \"{name}\";"));
        assert_eq!(
            !metrics_are_well_named(&[file]).is_empty(),
            caught,
            "{name}"
        );
    }
    let test = "#[cfg(test)]\nmod tests { const A: &str = \"gcache_x\"; }";
    assert!(metrics_are_well_named(&[File::new("src/x.rs", test)]).is_empty());
}

#[test]
fn a_word_that_no_metric_has_is_caught() {
    let file = File::new("src/x.rs", "const A: &str = \"gcache_cache_fills_total\";");
    let caught = metrics_use_every_word(&[file]);
    assert_eq!(caught.len(), COMPONENTS.len() + UNITS.len() - 2);
    assert!(
        !caught.iter().any(|text| text.contains("fills")),
        "{caught:?}"
    );
}

#[test]
fn a_metric_that_is_declared_twice_is_caught() {
    let file = |path| File::new(path, "const A: &str = \"gcache_cache_fills_total\";");
    assert!(metrics_are_declared_once(&[file("src/a.rs")]).is_empty());
    assert_eq!(
        metrics_are_declared_once(&[file("src/a.rs"), file("src/b.rs")]).len(),
        1
    );
}

#[test]
fn a_table_of_metrics_that_differs_is_caught() {
    let files = [File::new(
        "src/a.rs",
        "const A: &str = \"gcache_cache_fills_total\";",
    )];
    assert_eq!(metrics_are_documented(&files, "no table").len(), 1);
    assert!(metrics_are_documented(&files, "| `gcache_cache_fills_total` | fills |").is_empty());
    assert_eq!(
        metrics_are_documented(&files, "| `gcache_cache_keys_total` |").len(),
        2
    );
}

#[test]
fn a_message_that_is_no_phrase_is_caught() {
    for (code, caught) in [
        ("info!(port, \"listening\");", false),
        ("tracing::info!(name = \"Node\", \"listening\");", false),
        (
            "warn!(target: \"Raft\", error = %f(\"X.\"), \"HTTP listener bound\");",
            false,
        ),
        ("info!(\"Listening\");", true),
        ("info!(\n    port,\n    \"listening.\"\n);", true),
        ("tracing::error!(%error, \"failed on {port}\");", true),
        ("debug!(\"A member joined\");", true),
        ("#[error(\"no such key {0}\")]\nstruct E;", false),
        ("#[error(\"No such key\")]\nstruct E;", true),
        ("#[error(\"no such key.\")]\nstruct E;", true),
    ] {
        let violations = messages_are_phrases(&[File::new("src/x.rs", code)]);
        assert_eq!(!violations.is_empty(), caught, "{code} {violations:?}");
    }
}
