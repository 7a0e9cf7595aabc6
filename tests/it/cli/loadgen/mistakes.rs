//! `gcache loadgen` with nobody to ask, and with flags that are wrong.

use tempfile::TempDir;

use super::run;
use crate::cli::bad_input::{assert_usage, run_in};

#[tokio::test]
async fn nobody_to_ask_is_told_at_once_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(
        folder.path(),
        "--url http://127.0.0.1:1 --group g --keys 1 --duration 1h",
    )
    .await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(1), ""),
        "{}",
        ended.stderr
    );
    let told = "no frontend can be reached: http://127.0.0.1:1: Connection refused";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

fn files() -> TempDir {
    let folder = crate::cli::bad_input::files();
    let bad = std::fs::write(folder.path().join("bad.toml"), "[groups.scores]\n");
    bad.expect("the folder is writable");
    folder
}

#[tokio::test]
async fn wrong_flags_exit_2_and_say_what_would_be_right() {
    let files = files();
    let verify = "--verify-with memory:rows.csv";
    for (args, told) in [
        ("", "--group"),
        ("--group g", "--keys"),
        (
            "--keys 10 --group g --distribution zip:1",
            "for example zipf:0.99",
        ),
        (
            "--keys 10 --group g --distribution zipf:-1",
            "with S above 0",
        ),
        (
            "--keys 10 --group g --distribution hot:11",
            "expected at most that many hot keys",
        ),
        (
            "--keys 0 --group g",
            "--keys is 0; expected 1 to 1000000000",
        ),
        ("--keys 10 --group g --key-format user", "expected {} once"),
        ("--keys 10 --group g --key-format {}-{}", "expected {} once"),
        (
            "--keys 10 --group g --rate 0",
            "--rate is 0; expected more than 0",
        ),
        (
            "--keys 10 --group g --rate -5",
            "--rate is -5; expected more than 0",
        ),
        (
            "--keys 10 --group g --rate 5 --connections 5",
            "give one of them",
        ),
        (
            "--keys 10 --group g --connections 0",
            "--connections is 0; expected 1 to",
        ),
        (
            "--keys 10 --group g --max-connections 0",
            "--max-connections is 0",
        ),
        (
            "--keys 10 --group g --duration 10",
            "expected a duration such as 250ms",
        ),
        (
            "--keys 10 --group g --duration 0s",
            "--duration is 0ms; expected 100ms",
        ),
        (
            "--keys 10 --group g --arrivals odd",
            "expected even or poisson",
        ),
        ("--keys 10 --group g --url ftp://h", "is not a usable URL"),
        (
            "--keys 10 --group g --json no/such/r.json",
            "--json: no/such/r.json",
        ),
        (
            "--keys 10 --group g --timeline no/such/r.json",
            "--timeline: no/such/r.json",
        ),
        ("--keys 10 --group g --groups groups.toml", "--verify-with"),
        (&format!("--keys 10 --group g {verify}"), "--groups"),
        (
            &format!("--keys 10 --group g {verify} --groups gone.toml"),
            "cannot read gone.toml",
        ),
        (
            &format!("--keys 10 --group scores {verify} --groups bad.toml"),
            "bad.toml:1:",
        ),
        (
            &format!("--keys 10 --group g {verify} --groups groups.toml"),
            "it has scores",
        ),
        (
            &format!("--keys 10000001 --group scores {verify} --groups groups.toml"),
            "expected 1 to 10000000 with --verify-with",
        ),
        (
            "--keys 10 --group scores --groups groups.toml --verify-with memory:gone.csv",
            "gone.csv: No such file",
        ),
        (
            "--keys 10 --group scores --groups groups.toml --verify-with mysql://h/d",
            "expected \"memory:FILE\"",
        ),
    ] {
        let command = format!("loadgen {args}");
        assert_usage(
            &command,
            &run_in(files.path(), &[], &command).await,
            &[told],
        );
    }
}
