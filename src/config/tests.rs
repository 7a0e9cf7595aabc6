//! Tests of the whole: layers over each other, reports, defaults against the schema.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::layers::DEFAULTS;
use super::sections::SCHEMA;
use super::*;

mod golden;

fn file(text: &str) -> Option<SourceFile<'_>> {
    Some(SourceFile {
        name: "gcache.toml",
        text,
    })
}

fn env(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}

fn set(text: &str) -> Layers<'static> {
    Layers {
        sets: vec![text.to_owned()],
        ..Layers::default()
    }
}

fn report(layers: &Layers<'_>) -> String {
    load(layers).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_right() {
    let config = load(&Layers::default()).unwrap().config;
    assert_eq!(config.process.id, ProcessId::FromHostname);
    assert_eq!(
        config.cluster,
        Cluster {
            data_dir: None,
            seeds: Vec::new(),
        }
    );
    assert_eq!(config.node.memory, ByteSize::mib(256));
    assert_eq!(config.origin.url, None);
    assert_eq!(config.frontend.idle_timeout, Duration::from_secs(75));
    assert_eq!(config.pipeline.ping_timeout, Duration::from_millis(300));
}

/// Walks default.toml: for each key its section, its name and the comment above it, on one line.
fn documented() -> Vec<(String, String, String)> {
    let (mut section, mut comment, mut keys) = (String::new(), String::new(), Vec::new());
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            comment.clear();
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.push((
                section.clone(),
                key.to_owned(),
                std::mem::take(&mut comment),
            ));
        } else {
            assert!(line.is_empty(), "{line}");
            comment.clear();
        }
    }
    keys
}

#[test]
fn the_defaults_and_the_schema_list_the_same_settings_in_the_same_order() {
    let schema: Vec<_> = SCHEMA
        .sections
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| (section.name, key.name)))
        .collect();
    let documented = documented();
    let defaults: Vec<_> = documented
        .iter()
        .map(|(section, key, _)| (section.as_str(), key.as_str()))
        .collect();
    assert_eq!(defaults, schema);
}

#[test]
fn every_default_is_explained_with_its_bounds() {
    let rules = SCHEMA.sections.iter().flat_map(|section| section.keys);
    for ((section, key, comment), known) in documented().into_iter().zip(rules) {
        let bounds = known.rule.expects();
        assert!(
            comment.contains(&bounds),
            "{section}.{key} is not said to be {bounds}:{comment}"
        );
        assert!(
            comment.len() > bounds.len() + 15,
            "{section}.{key} is hardly explained:{comment}"
        );
    }
}

#[test]
fn a_stronger_layer_wins() {
    let mut layers = Layers::default();
    let port = |layers: &Layers<'_>| load(layers).unwrap().config.frontend.port;
    assert_eq!(port(&layers), 9999);
    layers.file = file("[frontend]\nport = 1");
    assert_eq!(port(&layers), 1);
    layers.environment = vec![env("GCACHE__FRONTEND__PORT", "2")];
    assert_eq!(port(&layers), 2);
    layers.sets = vec!["frontend.port=7".to_owned(), "frontend.port=3".to_owned()];
    assert_eq!(port(&layers), 3, "the last of several");
    layers.flags = vec![Flag {
        name: "--port",
        setting: "frontend.port",
        value: "4".to_owned(),
    }];
    assert_eq!(port(&layers), 4);
}

#[test]
fn other_variables_are_none_of_our_business() {
    let environment = vec![
        env("GCACHE_SEED", "x"),
        env("gcache__node__memory", "x"),
        env("PATH", "x"),
    ];
    assert!(
        load(&Layers {
            environment,
            ..Layers::default()
        })
        .is_ok()
    );
}

#[test]
fn words_need_no_quotes() {
    let config = |text: &str| load(&set(text)).unwrap().config;
    assert_eq!(config("frontend.port=9_998").frontend.port, 9998);
    assert_eq!(config("node.memory=64MiB").node.memory, ByteSize::mib(64));
    assert_eq!(config("node.memory=2097152").node.memory, ByteSize::mib(2));
    assert_eq!(
        config("origin.timeout=\"2s\"").origin.timeout,
        Duration::from_secs(2)
    );
    assert_eq!(
        config("origin.memory_hang_ratio=1")
            .origin
            .memory_hang_ratio,
        1.0
    );
    assert_eq!(
        config("process.zone=1").process.zone,
        ProcessZone::Literal("1".to_owned()),
        "text that looks like a number"
    );
    assert_eq!(
        config("cluster.data_dir=a=b").cluster.data_dir,
        Some(PathBuf::from("a=b"))
    );
    let memory = OriginUrl::Memory("rows.csv".into());
    assert_eq!(
        config("origin.url=memory:rows.csv").origin.url,
        Some(memory)
    );
}

#[test]
fn every_layer_reports_its_mistakes_in_one_go() {
    let layers = Layers {
        file: file("[node]\nmemroy = \"1GiB\"\ngrpc_port = 70000\n"),
        environment: vec![
            env("GCACHE__NODE__MEMORY", "64 parsecs"),
            env("GCACHE__NODES__MEMORY", "1GiB"),
            env("GCACHE__NODE__memory", "1GiB"),
            env("GCACHE__MEMORY", "1GiB"),
        ],
        sets: vec![
            "node.port=1".to_owned(),
            "whatever".to_owned(),
            "a\nb.c=1".to_owned(),
        ],
        flags: vec![Flag {
            name: "--port",
            setting: "frontend.port",
            value: "http".to_owned(),
        }],
    };
    assert_eq!(
        report(&layers),
        "10 mistakes in the configuration:\n  \
         gcache.toml:2:1: unknown setting \"node.memroy\"; did you mean memory?\n  \
         gcache.toml:3:13: node.grpc_port is 70000; expected a whole number from 0 to 65535\n  \
         environment GCACHE__MEMORY: no setting has this name; expected GCACHE__SECTION__KEY\n  \
         environment GCACHE__NODES__MEMORY: unknown section \"nodes\"; did you mean node?\n  \
         environment GCACHE__NODE__MEMORY: node.memory is \"64 parsecs\"; \
         expected a size from \"1MiB\" to \"1024GiB\"\n  \
         environment GCACHE__NODE__memory: written in lower case; expected GCACHE__NODE__MEMORY\n  \
         --set node.port: unknown setting \"node.port\"; did you mean frontend.port?\n  \
         --set: \"whatever\"; expected section.key=value\n  \
         --set \"a\\nb.c\": unknown section \"a\\nb\"; \
         expected one of process, cluster, node, raft, transfer, origin, frontend, pipeline\n  \
         --port: frontend.port is \"http\"; expected a whole number from 0 to 65535"
    );
}

#[test]
fn a_mistake_in_a_layer_that_is_covered_is_still_one() {
    let layers = Layers {
        file: file("[node]\nmemory = 5.0"),
        ..set("node.memory=64MiB")
    };
    assert!(
        report(&layers).contains("gcache.toml:2:10: node.memory is 5;"),
        "{}",
        report(&layers)
    );
}

#[test]
fn settings_that_do_not_fit_are_reported_where_one_was_changed() {
    for (text, expected) in [
        (
            "pipeline.ping_timeout=150ms",
            "--set pipeline.ping_timeout: ",
        ),
        (
            "pipeline.ping_interval=200ms",
            "--set pipeline.ping_interval: ",
        ),
        (
            "pipeline.reconnect_max=1ms",
            "--set pipeline.reconnect_max: ",
        ),
        (
            "node.max_waiters_per_key=65537",
            "--set node.max_waiters_per_key: ",
        ),
    ] {
        let report = report(&set(text));
        assert!(
            report.starts_with("1 mistake in the configuration:\n  "),
            "{report}"
        );
        assert!(report.contains(expected), "{report}");
    }
    let sets = [
        "origin.memory_failure_ratio=0.6",
        "origin.memory_hang_ratio=0.6",
    ];
    let layers = Layers {
        sets: sets.map(str::to_owned).to_vec(),
        ..Layers::default()
    };
    assert!(report(&layers).contains("sum of at most 1.0"));
}

#[test]
fn a_setting_with_a_mistake_is_not_blamed_for_a_conflict_too() {
    let sets = ["pipeline.ping_interval=200ms", "pipeline.ping_timeout=1"].map(str::to_owned);
    let report = report(&Layers {
        sets: sets.to_vec(),
        ..Layers::default()
    });
    assert!(report.starts_with("1 mistake"), "{report}");
}

#[test]
fn what_is_printed_says_where_from_and_reads_back() {
    let layers = Layers {
        file: file("[node]\nmemory = \"1GiB\"\n[origin]\nurl = \"memory:a \\\"b\\\".csv\""),
        environment: vec![env("GCACHE__PROCESS__LOG", "debug")],
        flags: vec![Flag {
            name: "--port",
            setting: "frontend.port",
            value: "1".to_owned(),
        }],
        ..set("origin.timeout=90s")
    };
    let loaded = load(&layers).unwrap();
    for line in [
        "memory = \"1GiB\"  # gcache.toml:2:10",
        "log = \"debug\"  # environment GCACHE__PROCESS__LOG",
        "timeout = \"90s\"  # --set origin.timeout",
        "port = 1  # --port",
        "retry_ratio = 0.2  # default",
    ] {
        assert!(
            loaded.printed.lines().any(|printed| printed == line),
            "{}",
            loaded.printed
        );
    }
    let again = load(&Layers {
        file: file(&loaded.printed),
        ..Layers::default()
    })
    .unwrap();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn credentials_are_in_no_output() {
    let url = "postgres://user:secret@db/rows?sslpassword=secret";
    let loaded = load(&set(&format!("origin.url={url}"))).unwrap();
    assert!(
        loaded
            .printed
            .contains("postgres://user:***@db/rows?sslpassword=***")
    );
    let Some(OriginUrl::Postgres(kept)) = &loaded.config.origin.url else {
        panic!("not a postgres url");
    };
    assert_eq!(kept.expose(), url);
    assert!(!format!("{loaded:?}").contains("secret"));

    let wrong = url.replace("postgres:", "mysql:");
    let layers = Layers {
        file: file("[origin]\nurl = mysql://user:secret@db\n\"postgres://user:secret@db\" = 1"),
        environment: vec![
            env("GCACHE__ORIGIN__URL", &wrong),
            env("GCACHE__NODE__MEMORY", url),
        ],
        sets: vec![
            format!("origin.url={wrong}"),
            url.to_owned(),
            format!("{url}.key=1"),
            format!("origin.{url}=1"),
        ],
        flags: vec![Flag {
            name: "--origin",
            setting: "origin.url",
            value: wrong.clone(),
        }],
    };
    let error = load(&layers).unwrap_err();
    assert!(error.mistakes().len() >= 8, "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_a_mistake() {
    use std::os::unix::ffi::OsStringExt as _;
    let environment = vec![(
        "GCACHE__PROCESS__ZONE".into(),
        OsString::from_vec(vec![0xff]),
    )];
    let report = report(&Layers {
        environment,
        ..Layers::default()
    });
    assert!(
        report.contains("environment GCACHE__PROCESS__ZONE: not UTF-8"),
        "{report}"
    );
}

#[test]
fn a_file_of_another_kind_is_refused_before_it_is_parsed() {
    let text = "x".repeat((1 << 18) + 1);
    let report = report(&Layers {
        file: file(&text),
        ..Layers::default()
    });
    assert!(
        report.contains("gcache.toml: 262145 bytes of text; expected at most"),
        "{report}"
    );
}

/// A quarter of what is allowed; looking into every mistake would take minutes even so.
#[test]
fn a_large_file_of_nonsense_is_cheap() {
    let large = |line: &str| line.repeat((1 << 16) / line.len());
    let one_line = format!("node = {{ {} }}", "a.b=1,".repeat(10_000));
    for text in [
        large("=\n"),
        large("[[[ "),
        large("[a.b]\n"),
        large("[[node]]\n"),
        one_line,
    ] {
        let source = SourceFile {
            name: "f",
            text: &text,
        };
        let layers = Layers {
            file: Some(source),
            ..Layers::default()
        };
        let error = load(&layers).unwrap_err();
        assert!(
            error.to_string().len() < 1 << 16,
            "{}",
            error.mistakes().len()
        );
        assert!(read_groups(source).is_err());
    }
    let distinct: String = (0..5_000).map(|n| format!("a{n}=1\n")).collect();
    assert!(
        load(&Layers {
            file: file(&distinct),
            ..Layers::default()
        })
        .is_err()
    );
    let distinct = format!("[node]\n{distinct}");
    assert!(
        load(&Layers {
            file: file(&distinct),
            ..Layers::default()
        })
        .is_err()
    );
}

#[test]
fn the_example_of_groups_is_right() {
    let text = include_str!("../../config/groups.example.toml");
    let groups = read_groups(SourceFile {
        name: "groups.example.toml",
        text,
    })
    .unwrap();
    let names: Vec<_> = groups.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["accounts", "profiles", "scores"]);
}

/// Text that comes near to being a configuration.
fn nearly_toml() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        Just("[node]\n".to_owned()),
        Just("[groups.a]\n".to_owned()),
        Just("[[members]]\n".to_owned()),
        Just("memory".to_owned()),
        Just("groups".to_owned()),
        Just("members".to_owned()),
        Just("ttl".to_owned()),
        Just(" = ".to_owned()),
        Just("\"1GiB\"\n".to_owned()),
        Just("postgres://u:p@h".to_owned()),
        "[\\[\\]{}=\",.#'\\\\]",
        "[0-9a-z]{1,4}",
        "\\PC{1,3}",
        Just("\n".to_owned()),
    ];
    proptest::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn no_input_panics(
        text in nearly_toml(),
        name in "GCACHE__[A-Z_a-z]{0,12}|GCACHE__NODE__MEMORY",
        word in "\\PC{0,20}",
        set in "[a-z.=]{0,20}|node\\.memory=\\PC{0,10}",
    ) {
        let source = SourceFile { name: "f", text: &text };
        let layers = Layers {
            file: Some(source),
            environment: vec![(name.into(), word.clone().into())],
            sets: vec![set],
            flags: vec![Flag { name: "--memory", setting: "node.memory", value: word }],
        };
        let _ = load(&layers).map_err(|error| error.to_string());
        let _ = read_groups(source).map_err(|error| error.to_string());
    }
}
