//! Which modules may import which: `main → cli → dev → roles → adapters → pure`.

use crate::source::{File, find_words, is_word};

/// The layers from the bottom up, with the modules of each.
const LAYERS: [(&str, &[&str]); 6] = [
    (
        "pure",
        &[
            "ids",
            "hash",
            "cache",
            "overload",
            "topology",
            "ownership",
            "membership",
            "config",
        ],
    ),
    (
        "adapter",
        &[
            "rpc",
            "origin",
            "discovery",
            "identity",
            "raft",
            "admin",
            "client",
            "http",
            "metrics",
            "telemetry",
            "shutdown",
            "clock",
            "net",
        ],
    ),
    ("role", &["node", "frontend", "loadgen"]),
    // It wires roles together, so that no role needs another.
    ("dev", &["dev"]),
    ("cli", &["cli"]),
    ("main", &["main"]),
];

/// Adapters that any adapter may use, each with the reason: it wraps one thing that all adapters do.
const FOUNDATIONS: [(&str, &str); 4] = [
    ("clock", "one monotonic origin per process"),
    ("net", "every socket binds to the process's own address"),
    ("shutdown", "every task ends with the same token"),
    ("metrics", "every component registers its own"),
];

/// Adapters that may import one other adapter, each with the reason.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    (
        "admin",
        "http",
        "the admin port has the limits of the frontend's HTTP server",
    ),
    (
        "identity",
        "client",
        "a task's metadata is read over HTTP, and one client is enough",
    ),
];

/// Crates that only one module may name, so that replacing them touches nothing else.
const CONFINED: [(&str, &str); 4] = [
    ("raft", "raft"),
    ("raft_proto", "raft"),
    ("rocksdb", "raft"),
    ("hashlru", "cache"),
];

/// Names that pure code may not contain: it gets files as text and time as an argument, and never starts
/// anything.
const IMPURE: [&str; 13] = [
    "std::env::",
    "std::fs::",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::process::",
    "std::thread::",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio::fs",
    "tokio::net",
    "tokio::spawn",
    "tokio::task",
    "tokio::time",
];

/// The types by which a look-up can be sent, each with the one file of a node that may name it, to begin a
/// transfer.
const LOOK_UPS: [(&str, &str); 2] = [
    ("Pipeline", ""),
    ("CacheClient", "src/node/moves/stream.rs"),
];

/// Modules import downwards only. They import neighbours only in the pure layer, or where the lists above
/// allow it.
pub(crate) fn imports_go_downwards(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        let Some(from) = module(file) else {
            continue;
        };
        let Some(own) = layer(from) else {
            violations.push(format!(
                "{}: {from} is in no layer of tests/house/layers.rs",
                file.path
            ));
            continue;
        };
        for (offset, to) in imports(file) {
            let Some(other) = layer(&to) else {
                continue;
            };
            let neighbour = LAYERS[own].0 == "pure"
                || LAYERS[own].0 == "adapter"
                    && (FOUNDATIONS.iter().any(|(name, _)| *name == to)
                        || EXCEPTIONS
                            .iter()
                            .any(|(a, b, _)| (*a, *b) == (from, to.as_str())));
            if other > own || other == own && from != to && !neighbour {
                violations.push(format!(
                    "{}: {from} ({}) imports {to} ({})",
                    file.place(offset),
                    LAYERS[own].0,
                    LAYERS[other].0
                ));
            }
        }
    }
    violations
}

/// A confined crate is named only in its own module.
pub(crate) fn crates_stay_where_they_belong(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        let Some(from) = module(file) else {
            continue;
        };
        for (name, home) in CONFINED.iter().filter(|(_, home)| *home != from) {
            let path = format!("{name}::");
            for offset in
                find_words(&file.code, &path).chain(find_words(&file.code, &format!("use {name};")))
            {
                let before = &file.code[..offset];
                let statement = &before[before.rfind(';').map_or(0, |end| end + 1)..];
                // `crate::raft::…`, also inside `use crate::{…}`, is our module and not the crate.
                let is_ours = before.ends_with("::")
                    || statement.contains("use crate::{")
                    || file.code.contains(&format!("use crate::{name};"));
                if !is_ours {
                    violations.push(format!(
                        "{}: the crate {name} stays in src/{home}",
                        file.place(offset)
                    ));
                }
            }
        }
    }
    violations
}

/// Pure code does no I/O, asks for no time and spawns nothing: the pure layer, and every file whose header
/// says that it is pure.
pub(crate) fn pure_code_is_pure(files: &[File]) -> Vec<String> {
    let in_pure_layer = |file: &File| module(file).is_some_and(|name| layer(name) == Some(0));
    let mut violations = Vec::new();
    for file in files
        .iter()
        .filter(|file| in_pure_layer(file) || says_it_is_pure(file))
    {
        let code = file.production();
        for name in IMPURE {
            violations.extend(
                find_words(&code, name)
                    .map(|at| format!("{}: pure code names {name}", file.place(at))),
            );
        }
    }
    violations
}

/// Whether a file's header calls it pure.
fn says_it_is_pure(file: &File) -> bool {
    let mut header = file.text.lines().take_while(|line| line.starts_with("//!"));
    header.any(|line| find_words(line, "Pure").next().is_some())
}

/// A node never forwards a look-up to another node, so that no request can go round in circles: it names no
/// type to send one with. The streams between owners about moving partitions carry no look-ups: their
/// questions are answered from memory, and cause no further requests.
pub(crate) fn nodes_look_nothing_up_at_nodes(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| module(file) == Some("node")) {
        let code = file.production();
        let names = LOOK_UPS.iter().filter(|(_, home)| *home != file.path);
        violations.extend(names.flat_map(|(name, _)| {
            let places = find_words(&code, name);
            places.map(move |at| format!("{}: a node names {name}", file.place(at)))
        }));
    }
    violations
}

/// The top-level module that a file of `src` belongs to; none for `lib.rs`, which is above them all.
fn module(file: &File) -> Option<&str> {
    let path = file.path.strip_prefix("src/")?;
    let first = path.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib").then_some(name)
}

/// The index of a module's layer, from the bottom.
fn layer(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

/// The top-level modules that a file names, each with its offset.
fn imports(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // The binary names the library as `gcache`, all other files as `crate`.
    let root = if file.path == "src/main.rs" {
        "gcache::"
    } else {
        "crate::"
    };
    for offset in find_words(&file.code, root) {
        let rest = &file.code[offset + root.len()..];
        found.extend(first_names(rest).into_iter().map(|name| (offset, name)));
    }
    // `super::` far enough up is the root as well.
    let depth = file
        .path
        .strip_prefix("src/")
        .map_or(0, |path| path.matches('/').count() + 1)
        - usize::from(file.path.ends_with("/mod.rs"));
    let up = "super::".repeat(depth);
    for offset in find_words(&file.code, &up) {
        let rest = file.code[offset + up.len()..].trim_start_matches("super::");
        found.extend(first_names(rest).into_iter().map(|name| (offset, name)));
    }
    found
}

/// The first name of each path in `a::b`, or in `{a::b, c::{d, e}}`.
fn first_names(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        let name: String = rest
            .chars()
            .take_while(|c| is_word(*c as u8) && c.is_ascii())
            .collect();
        return vec![name];
    };
    let (mut depth, mut names, mut name) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut name)),
            _ if depth == 0 => name.push(c),
            _ => {}
        }
    }
    names.push(name);
    names
        .iter()
        .map(|path| {
            path.split("::")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .collect()
}

#[test]
fn an_import_upwards_or_sideways_is_caught() {
    for (path, text, caught) in [
        ("src/cache/shard.rs", "use crate::origin::Origin;", true),
        ("src/cache/shard.rs", "use crate::{ids::NodeId, rpc};", true),
        (
            "src/cache/shard.rs",
            "fn f() { crate::admin::serve(); }",
            true,
        ),
        ("src/hash.rs", "use super::origin::Origin;", true),
        (
            "src/cache/shard.rs",
            "use super::super::origin::Origin;",
            true,
        ),
        ("src/cache/mod.rs", "use super::origin::Origin;", true),
        (
            "src/origin/mod.rs",
            "use crate::discovery::Discovery;",
            true,
        ),
        ("src/node/mod.rs", "use crate::frontend::Frontend;", true),
        ("src/node/mod.rs", "use crate::dev;", true),
        ("src/main.rs", "use gcache::cli;", false),
        (
            "src/cli.rs",
            "use crate::{config::{self, load}, dev, node::Node};",
            false,
        ),
        ("src/dev.rs", "use crate::{frontend, node};", false),
        (
            "src/cache/mod.rs",
            "use crate::hash::KeyHash; // crate::origin",
            false,
        ),
        (
            "src/origin/mod.rs",
            "use crate::{clock::Clock, cache, origin::memory};",
            false,
        ),
        ("src/cache/shard.rs", "use super::entry::Entry;", false),
        ("src/novel.rs", "", true),
        ("tests/it/main.rs", "use gcache::node;", false),
    ] {
        let violations = imports_go_downwards(&[File::new(path, text)]);
        assert_eq!(
            !violations.is_empty(),
            caught,
            "{path}: {text} {violations:?}"
        );
    }
}

#[test]
fn a_confined_crate_elsewhere_is_caught() {
    for (path, text, caught) in [
        ("src/node/mod.rs", "use raft::eraftpb::Message;", true),
        ("src/node/mod.rs", "fn f(m: raft::Config) {}", true),
        ("src/node/mod.rs", "use hashlru::Cache;", true),
        ("src/raft/driver.rs", "use raft::RawNode;", false),
        ("src/node/mod.rs", "use crate::raft::Handle;", false),
        ("src/node/mod.rs", "use crate::{ids, raft::Handle};", false),
        (
            "src/node/mod.rs",
            "use crate::raft;\nfn f(h: raft::Handle) {}",
            false,
        ),
    ] {
        let violations = crates_stay_where_they_belong(&[File::new(path, text)]);
        assert_eq!(
            !violations.is_empty(),
            caught,
            "{path}: {text} {violations:?}"
        );
    }
}

#[test]
fn a_node_that_could_ask_another_for_a_key_is_caught() {
    for (path, text, caught) in [
        (
            "src/node/read.rs",
            "use crate::rpc::pipeline::Pipeline;",
            true,
        ),
        (
            "src/node/loader.rs",
            "use crate::rpc::proto::cache_client::CacheClient;",
            true,
        ),
        (
            "src/node/moves/stream.rs",
            "use crate::rpc::proto::cache_client::CacheClient;",
            false,
        ),
        ("src/node/moves/source.rs", "fn f(p: &Pipeline) {}", true),
        (
            "src/node/read.rs",
            "use crate::rpc::pipeline::Target; // no Pipeline",
            false,
        ),
        (
            "src/frontend/route.rs",
            "use crate::rpc::pipeline::Pipeline;",
            false,
        ),
    ] {
        let violations = nodes_look_nothing_up_at_nodes(&[File::new(path, text)]);
        assert_eq!(
            !violations.is_empty(),
            caught,
            "{path}: {text} {violations:?}"
        );
    }
}

#[test]
fn impure_code_in_the_pure_layer_is_caught() {
    for (path, text, caught) in [
        ("src/cache/shard.rs", "use std::time::Instant;", true),
        (
            "src/config/mod.rs",
            "fn f() { std::fs::read(\"x\"); }",
            true,
        ),
        (
            "src/cache/flight.rs",
            "fn f() { tokio::spawn(async {}); }",
            true,
        ),
        (
            "src/cache/flight.rs",
            "use tokio::sync::Notify; use std::time::Duration;",
            false,
        ),
        (
            "src/config/mod.rs",
            "#[cfg(test)]\nmod tests { use std::fs::read; }",
            false,
        ),
        ("src/net.rs", "use std::net::TcpStream;", false),
        (
            "src/loadgen/pace.rs",
            "//! When to send. Pure.\nuse tokio::time::Instant;",
            true,
        ),
    ] {
        let violations = pure_code_is_pure(&[File::new(path, text)]);
        assert_eq!(
            !violations.is_empty(),
            caught,
            "{path}: {text} {violations:?}"
        );
    }
}
