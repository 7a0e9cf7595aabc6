//! `gcache loadgen`: what it counts is what happened, and a stall cannot hide from it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cli::bad_input::{assert_usage, run_in};
use crate::harness::cluster::Cluster;
use crate::harness::metrics;
use crate::harness::setup::{ROWS, Setup};
use crate::testkit::process::{Ended, Process, Start};
use crate::testkit::wait::until;

/// How long the server of a test says nothing.
const STALL: Duration = Duration::from_secs(1);

fn spawn(dir: &Path, args: &str) -> Process {
    let args: Vec<_> = ["loadgen"].into_iter().chain(args.split(' ')).collect();
    Start::new("loadgen", dir).gcache(&args)
}

async fn run(dir: &Path, args: &str) -> Ended {
    spawn(dir, args).ended().await
}

/// The JSON that `--json report.json` left; panics if the run failed.
fn report(dir: &Path, ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    read(&dir.join("report.json"))
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).expect("the report was written");
    serde_json::from_slice(&text).expect("the report is JSON")
}

fn number(report: &Value, path: &str) -> u64 {
    let value = report.pointer(path).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("{path} in {report:#}"))
}

/// Arguments for all frontends of a cluster and its usual rows; `key-0` is never asked for.
fn rows_of(cluster: &Cluster) -> String {
    let urls: String = cluster
        .all_http()
        .iter()
        .map(|http| format!("--url http://{http} "))
        .collect();
    format!(
        "{urls}--group scores --keys {} --key-format key-{{}}",
        ROWS - 1
    )
}

async fn frontend_requests(cluster: &Cluster, index: usize) -> f64 {
    let admin = cluster.frontend_admin(index);
    metrics::sum(admin, "gcache_frontend_requests_total", &[]).await
}

#[tokio::test]
async fn an_open_loop_counts_what_the_frontends_count() {
    let cluster = Cluster::start(Setup::default()).await;
    let before = [0, 1].map(|index| frontend_requests(&cluster, index));
    let before = futures_util::future::join_all(before).await;
    let rows = rows_of(&cluster);
    let args = format!("{rows} --rate 500 --duration 2s --json report.json");
    let ended = run(cluster.folder(), &args).await;
    let report = report(cluster.folder(), &ended);
    assert_eq!(number(&report, "/requests"), 1000, "{report:#}");
    assert_eq!(number(&report, "/statuses/200"), 1000, "{report:#}");
    let mut counted = Vec::new();
    for (index, before) in before.iter().enumerate() {
        counted.push(frontend_requests(&cluster, index).await - before);
    }
    assert_eq!(counted.iter().sum::<f64>(), 1000.0, "{counted:?}");
    // They take turns, except while connections are being opened on a busy machine.
    assert!(counted.iter().all(|count| *count > 300.0), "{counted:?}");
    let loaded = cluster.loaded_keys().await;
    let replies = |how: &str| number(&report, &format!("/replies/{how}"));
    assert_eq!(
        (replies("miss") - replies("collapsed")) as f64,
        loaded,
        "{report:#}"
    );
    assert_eq!(replies("hit") + replies("miss"), 1000, "{report:#}");
    assert_eq!(report["latency_from"], "intended_send");
    assert!(
        ended.stdout.starts_with("open loop: 500 requests/s, even;"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("statuses   200 1000\n"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn a_closed_loop_counts_what_the_frontends_count() {
    let cluster = Cluster::start(Setup::default()).await;
    let before = frontend_requests(&cluster, 0).await + frontend_requests(&cluster, 1).await;
    let rows = rows_of(&cluster);
    let args =
        format!("{rows} --connections 5 --duration 1s --distribution uniform --json report.json");
    let ended = run(cluster.folder(), &args).await;
    let report = report(cluster.folder(), &ended);
    let after = frontend_requests(&cluster, 0).await + frontend_requests(&cluster, 1).await;
    assert_eq!(
        number(&report, "/answered_requests") as f64,
        after - before,
        "{report:#}"
    );
    assert_eq!(number(&report, "/connects"), 5, "{report:#}");
    assert_eq!(number(&report, "/failed_requests"), 0, "{report:#}");
    assert_eq!(report["latency_from"], "send");
    assert!(ended.stdout.contains("service time"), "{}", ended.stdout);
}

#[tokio::test]
async fn the_warm_up_is_sent_and_not_counted() {
    let cluster = Cluster::start(Setup::default()).await;
    let rows = rows_of(&cluster);
    let args = format!(
        "{rows} --rate 400 --arrivals poisson --distribution hot:20 --warmup 1s --duration 500ms --json report.json"
    );
    let ended = run(cluster.folder(), &args).await;
    let report = report(cluster.folder(), &ended);
    assert!(number(&report, "/warmup_requests") > 200, "{report:#}");
    assert!(number(&report, "/requests") < 300, "{report:#}");
    assert_eq!(report["hit_ratio"], 1.0, "20 keys were warm: {report:#}");
}

#[tokio::test]
async fn the_timeline_has_every_second_and_adds_up_to_the_report() {
    let cluster = Cluster::start(Setup::default()).await;
    let rows = rows_of(&cluster);
    let args =
        format!("{rows} --rate 400 --duration 2500ms --json report.json --timeline timeline.jsonl");
    let ended = run(cluster.folder(), &args).await;
    let report = report(cluster.folder(), &ended);
    let text = std::fs::read_to_string(cluster.folder().join("timeline.jsonl"));
    let text = text.expect("the timeline was written");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let seconds: Vec<_> = lines.iter().map(|line| line["second"].as_u64()).collect();
    assert_eq!(seconds, [Some(1), Some(2), None], "{text}");
    for path in [
        "/requests",
        "/answered_requests",
        "/statuses/200",
        "/replies/hit",
        "/replies/miss",
        "/late_requests",
    ] {
        let told = |line: &Value| line.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let sum: u64 = lines.iter().map(told).sum();
        assert_eq!(sum, number(&report, path), "{path}: {text}");
    }
    let step = number(&lines[1], "/ended_unix_ms") - number(&lines[0], "/ended_unix_ms");
    assert_eq!(step, 1000, "{text}");
    let counts = lines.iter().flat_map(|line| {
        let counts = line["latency_counts"].as_array().expect("pairs");
        counts.iter().map(|pair| number(pair, "/1"))
    });
    assert_eq!(counts.sum::<u64>(), 1000, "{text}");
}

/// A server that answers every request with an empty 200; the one with this number, over all
/// connections, after `stall`. Tells how many it was asked.
async fn server(stalls_at: u64, stall: Duration) -> (SocketAddr, watch::Receiver<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (asked, seen) = watch::channel(0_u64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, asked.clone(), stalls_at, stall));
        }
    });
    (address, seen)
}

async fn answer(stream: TcpStream, asked: watch::Sender<u64>, stalls_at: u64, stall: Duration) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        if line == "\r\n" {
            asked.send_modify(|asked| *asked += 1);
            let number = *asked.borrow();
            if number == stalls_at {
                sleep(stall).await;
            }
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(reply).await.is_err() {
                return;
            }
        }
        line.clear();
    }
}

#[tokio::test]
async fn a_stall_shows_in_the_p99_of_an_open_loop_and_hides_in_a_closed_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut p99_us = Vec::new();
    for pacing in ["--rate 200 --max-connections 1", "--connections 1"] {
        let (address, _) = server(100, STALL).await;
        let args = format!(
            "--url http://{address} --group g --keys 10 --duration 3s {pacing} --json report.json"
        );
        let ended = run(folder.path(), &args).await;
        let report = report(folder.path(), &ended);
        let max_us = number(&report, "/latency_us/max");
        assert!(u128::from(max_us) >= STALL.as_micros(), "{report:#}");
        p99_us.push(number(&report, "/latency_us/p99"));
        if pacing.starts_with("--rate") {
            assert_eq!(
                number(&report, "/requests"),
                600,
                "none was left out: {report:#}"
            );
            assert_eq!(
                number(&report, "/connects"),
                1,
                "the bound holds: {report:#}"
            );
            assert!(number(&report, "/late_requests") >= 150, "{report:#}");
            assert!(number(&report, "/greatest_lag_us") > 900_000, "{report:#}");
        }
    }
    assert!(p99_us[0] > 900_000 && p99_us[1] < 900_000, "{p99_us:?}");
}

#[tokio::test]
async fn a_request_that_is_not_answered_is_counted_by_its_cause_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = server(10, Duration::from_hours(1)).await;
    let args = format!(
        "--url http://{address} --group g --keys 10 --duration 500ms --rate 100 --timeout 2s --json report.json"
    );
    let ended = run(folder.path(), &args).await;
    let report = report(folder.path(), &ended);
    assert_eq!(number(&report, "/failures/timeout"), 1, "{report:#}");
    assert_eq!(number(&report, "/statuses/200"), 49, "{report:#}");
}

#[tokio::test]
async fn requests_that_found_no_connection_until_the_end_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = server(5, Duration::from_hours(1)).await;
    let args = format!(
        "--url http://{address} --group g --keys 10 --duration 500ms --rate 100 --max-connections 1 --timeout 3s --json report.json"
    );
    let ended = run(folder.path(), &args).await;
    let report = report(folder.path(), &ended);
    assert_eq!(number(&report, "/answered_requests"), 4, "{report:#}");
    assert_eq!(number(&report, "/failures/timeout"), 1, "{report:#}");
    assert_eq!(number(&report, "/unsent_requests"), 45, "{report:#}");
    assert_eq!(number(&report, "/requests"), 50, "{report:#}");
}

#[tokio::test]
async fn a_server_that_closes_or_babbles_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    for (reply, cause) in [
        (&b""[..], "closed"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            "closed",
        ),
        (b"ho ho ho\r\n\r\n", "protocol"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                let _request = stream.read_line(&mut line).await;
                let _sent = stream.write_all(reply).await;
            }
        });
        let args = format!(
            "--url http://{address} --group g --keys 10 --duration 100ms --rate 100 --json report.json"
        );
        let ended = run(folder.path(), &args).await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("no request was answered"),
            "{}",
            ended.stderr
        );
        let report = read(&folder.path().join("report.json"));
        assert_eq!(
            number(&report, &format!("/failures/{cause}")),
            10,
            "{report:#}"
        );
    }
}

/// A cluster whose rows are in its folder as `rows.jsonl`, and its groups as `groups.toml`.
async fn verify(spoil: impl FnOnce(&Path)) -> (Ended, Value, Cluster) {
    let cluster = Cluster::start(Setup::default()).await;
    spoil(cluster.folder());
    let rows = rows_of(&cluster);
    let args = format!(
        "{rows} --rate 1000 --duration 1s --distribution hot:50 --json report.json \
         --verify-with memory:rows.jsonl --groups groups.toml"
    );
    let ended = run(cluster.folder(), &args).await;
    let report = read(&cluster.folder().join("report.json"));
    (ended, report, cluster)
}

#[tokio::test]
async fn what_was_served_is_what_the_origin_has() {
    let (ended, report, _cluster) = verify(|_| ()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let verification = &report["verification"];
    assert_eq!(verification["keys_compared"], 50, "{report:#}");
    assert_eq!(verification["keys_different"], 0, "{report:#}");
    assert!(
        ended.stdout.contains("verified   50 keys, 0 different"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn a_row_that_differs_is_found_and_ends_the_run_with_1() {
    let (ended, report, _cluster) = verify(|folder| {
        let path = folder.join("rows.jsonl");
        let rows = std::fs::read_to_string(&path).unwrap();
        let rows = rows.replace("\"value-7\"", "\"other value\"");
        let rows = rows.replace("\"k\":\"key-9\"", "\"k\":\"gone\"");
        std::fs::write(path, rows).unwrap();
    })
    .await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("2 of 50 keys were answered"),
        "{}",
        ended.stderr
    );
    let found = &report["verification"]["differences"];
    let expected = serde_json::json!([
        {"key": "key-7", "served_bytes": 7, "origin_bytes": 11},
        {"key": "key-9", "served_bytes": 7, "origin_bytes": null},
    ]);
    assert_eq!(*found, expected, "{report:#}");
    assert!(!ended.stdout.contains("other value"), "{}", ended.stdout);
    let told = "\"key-9\": served 7 bytes, the origin has no such key";
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
}

#[tokio::test]
async fn an_interrupt_ends_the_run_soon_and_it_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, pacing) in [
        (Signal::SIGINT, "--rate 1000"),
        (Signal::SIGTERM, "--connections 2"),
    ] {
        let (address, seen) = server(5, Duration::from_hours(1)).await;
        let args = format!(
            "--url http://{address} --group g --keys 10 --duration 1h --timeout 5m {pacing} --json report.json"
        );
        let process = spawn(folder.path(), &args);
        until("requests are being sent", async || {
            let asked = *seen.borrow();
            if asked > 100 { Ok(()) } else { Err(asked) }
        })
        .await;
        process.signal(signal);
        let ended = process.ended().await;
        let report = report(folder.path(), &ended);
        assert_eq!(number(&report, "/unfinished_requests"), 1, "{report:#}");
        assert_eq!(report["interrupted"], true, "{report:#}");
        assert!(number(&report, "/answered_requests") > 100, "{report:#}");
        assert_eq!(number(&report, "/failed_requests"), 0, "{report:#}");
        assert!(
            report["measured_seconds"].as_f64().unwrap() < 60.0,
            "{report:#}"
        );
        assert!(ended.stdout.contains("interrupted"), "{}", ended.stdout);
    }
}

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
