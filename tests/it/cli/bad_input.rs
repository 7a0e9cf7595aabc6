//! Mistakes on the command line and in files: exit 2, every one listed, with what would be right.

use std::path::Path;

use tempfile::TempDir;

use crate::testkit::process::{Ended, Start};

const GROUPS: &str =
    "[groups.scores]\ntable = 'rows'\nkey_column = 'k'\nvalue_column = 'v'\nttl = '60s'\n";
const ROWS: &str = "k,v\nTom,630\n";

/// A folder with valid files, for a test to spoil.
pub(crate) fn files() -> TempDir {
    let folder = tempfile::tempdir().expect("the machine has room for files");
    for (name, text) in [("groups.toml", GROUPS), ("rows.csv", ROWS)] {
        std::fs::write(folder.path().join(name), text).expect("the folder is writable");
    }
    folder
}

pub(crate) async fn run_in(dir: &Path, env: &[(&str, &str)], command: &str) -> Ended {
    let args: Vec<_> = command.split_whitespace().collect();
    let start = Start::new("it", dir).env(env);
    start.gcache(&args).ended().await
}

/// Exits 2, says each of these on stderr, and nothing on stdout.
pub(crate) fn assert_usage(command: &str, ended: &Ended, told: &[&str]) {
    let said = (ended.code, ended.stdout.as_str());
    assert_eq!(said, (Some(2), ""), "{command}: {}", ended.stderr);
    for part in told {
        assert!(
            ended.stderr.contains(part),
            "{command}: {part:?} is missing in {}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn an_unknown_flag_or_command_is_named() {
    let files = files();
    for (command, told) in [
        ("node --prot 1", "--prot"),
        ("frontend --id one", "--id"),
        ("serve", "serve"),
        ("get scores", "<KEY>"),
    ] {
        assert_usage(command, &run_in(files.path(), &[], command).await, &[told]);
    }
}

#[tokio::test]
async fn every_mistake_of_every_layer_is_listed_with_its_place() {
    let files = files();
    let text = "[node]\nmemroy = '1GiB'\n[origin]\ntimeout = 5\n";
    std::fs::write(files.path().join("gcache.toml"), text).unwrap();
    let env = [
        ("GCACHE__FRONTEND__PROT", "1"),
        ("GCACHE__PROCESS__HOST", "localhost"),
    ];
    let command =
        "frontend --config gcache.toml --set pipeline.max_batch=0 --set nonsense --port 70000";
    let ended = run_in(files.path(), &env, command).await;
    assert_usage(
        command,
        &ended,
        &[
            "7 mistakes",
            "gcache.toml:2:1: unknown setting \"node.memroy\"; did you mean memory?",
            "gcache.toml:4:11: origin.timeout is 5; expected a duration",
            "GCACHE__FRONTEND__PROT",
            "GCACHE__PROCESS__HOST",
            "--set pipeline.max_batch: pipeline.max_batch is \"0\"; expected a whole number from 1 to 4096",
            "nonsense",
            "--port",
        ],
    );
}

#[tokio::test]
async fn what_is_not_given_is_asked_for() {
    let files = files();
    let node = "node --seeds 127.0.0.1 --data-dir data --origin memory:rows.csv";
    let cluster = "node --seeds 127.0.0.1 --data-dir data";
    for (command, told) in [
        ("node", "cluster.seeds is not set: give --seeds"),
        ("frontend", "cluster.seeds is not set: give --seeds"),
        ("node --seeds 127.0.0.1", "give --data-dir DIR"),
        (&format!("{cluster} --id one"), "give --origin"),
        (&format!("{node} --id One"), "--id: process.id is \"One\""),
    ] {
        assert_usage(command, &run_in(files.path(), &[], command).await, &[told]);
    }
}

#[tokio::test]
async fn files_that_are_missing_or_wrong_are_named() {
    let files = files();
    std::fs::write(files.path().join("empty.toml"), "").unwrap();
    std::fs::write(
        files.path().join("nottl.toml"),
        GROUPS.replace("ttl", "tll"),
    )
    .unwrap();
    std::fs::write(
        files.path().join("large.toml"),
        format!("{GROUPS}max_value_bytes = '64MiB'\n"),
    )
    .unwrap();
    for (command, told) in [
        (
            "frontend --config gone.toml",
            "cannot read gone.toml: No such file",
        ),
        (
            "dev --groups gone.toml",
            "cannot read gone.toml: No such file",
        ),
        ("dev --groups empty.toml", "empty.toml: no groups"),
        ("dev --groups nottl.toml", "did you mean ttl?"),
        (
            "dev --groups large.toml",
            "groups.scores.max_value_bytes is 67108864",
        ),
    ] {
        assert_usage(command, &run_in(files.path(), &[], command).await, &[told]);
    }
}

#[tokio::test]
async fn print_config_shows_what_applies_and_where_it_comes_from() {
    let files = files();
    std::fs::write(
        files.path().join("gcache.toml"),
        "[node]\nmemory = '1GiB'\n",
    )
    .unwrap();
    let env = [("GCACHE__ORIGIN__URL", "postgres://user:secret@db/rows")];
    let command = "node --config gcache.toml --set frontend.port=1234 --zone b --print-config";
    let ended = run_in(files.path(), &env, command).await;
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ended.stdout
    );
    for (setting, source) in [
        ("memory = \"1GiB\"", "gcache.toml"),
        ("url = \"postgres://", "GCACHE__ORIGIN__URL"),
        ("port = 1234", "--set"),
        ("zone = \"b\"", "--zone"),
    ] {
        let line = ended.stdout.lines().find(|line| line.contains(setting));
        let line = line.unwrap_or_else(|| panic!("{setting} in {}", ended.stdout));
        assert!(line.contains(source), "{source} in {line}");
    }
    assert!(!ended.stdout.contains("secret"), "{}", ended.stdout);
    // It can be given back as a file.
    std::fs::write(files.path().join("printed.toml"), &ended.stdout).unwrap();
    let again = run_in(
        files.path(),
        &[],
        "node --config printed.toml --print-config",
    )
    .await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
}

#[tokio::test]
async fn what_is_compiled_in_is_a_configuration_of_each_role() {
    let files = files();
    for command in ["node --print-config", "frontend --print-config"] {
        let ended = run_in(files.path(), &[], command).await;
        let said = (ended.code, ended.stderr.as_str());
        assert_eq!(said, (Some(0), ""), "{command}: {}", ended.stdout);
    }
}
