//! What `gcache loadgen` counts at a cluster, and what it finds when it compares answers with the origin.

use serde_json::Value;

use super::{number, read, report, run};
use crate::harness::claims::claims;
use crate::harness::cluster::Cluster;
use crate::harness::metrics;
use crate::harness::setup::{ROWS, Setup};
use crate::testkit::process::Ended;

#[tokio::test]
async fn what_loadgen_counts_and_verifies_at_one_cluster() {
    claims!(Cluster::start(Setup::default()).await;
        an_open_loop_counts_what_the_frontends_count,
        a_closed_loop_counts_what_the_frontends_count,
        the_warm_up_is_sent_and_not_counted,
        the_timeline_has_every_second_and_adds_up_to_the_report,
        what_was_served_is_what_the_origin_has,
        a_row_that_differs_is_found_and_ends_the_run_with_1,
    );
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

async fn an_open_loop_counts_what_the_frontends_count(cluster: &Cluster) {
    let before = [0, 1].map(|index| frontend_requests(cluster, index));
    let before = futures_util::future::join_all(before).await;
    let loaded = cluster.loaded_keys().await;
    let rows = rows_of(cluster);
    let args = format!("{rows} --rate 500 --duration 2s --json report.json");
    let ended = run(cluster.folder(), &args).await;
    let report = report(cluster.folder(), &ended);
    assert_eq!(number(&report, "/requests"), 1000, "{report:#}");
    assert_eq!(number(&report, "/statuses/200"), 1000, "{report:#}");
    let mut counted = Vec::new();
    for (index, before) in before.iter().enumerate() {
        counted.push(frontend_requests(cluster, index).await - before);
    }
    assert_eq!(counted.iter().sum::<f64>(), 1000.0, "{counted:?}");
    // They take turns, except while connections are being opened on a busy machine.
    assert!(counted.iter().all(|count| *count > 300.0), "{counted:?}");
    let loaded = cluster.loaded_keys().await - loaded;
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

async fn a_closed_loop_counts_what_the_frontends_count(cluster: &Cluster) {
    let before = frontend_requests(cluster, 0).await + frontend_requests(cluster, 1).await;
    let rows = rows_of(cluster);
    let args =
        format!("{rows} --connections 5 --duration 1s --distribution uniform --json report.json");
    let ended = run(cluster.folder(), &args).await;
    let report = report(cluster.folder(), &ended);
    let after = frontend_requests(cluster, 0).await + frontend_requests(cluster, 1).await;
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

async fn the_warm_up_is_sent_and_not_counted(cluster: &Cluster) {
    let rows = rows_of(cluster);
    let args = format!(
        "{rows} --rate 400 --arrivals poisson --distribution hot:20 --warmup 1s --duration 500ms --json report.json"
    );
    let ended = run(cluster.folder(), &args).await;
    let report = report(cluster.folder(), &ended);
    assert!(number(&report, "/warmup_requests") > 200, "{report:#}");
    assert!(number(&report, "/requests") < 300, "{report:#}");
    assert_eq!(report["hit_ratio"], 1.0, "20 keys were warm: {report:#}");
}

async fn the_timeline_has_every_second_and_adds_up_to_the_report(cluster: &Cluster) {
    let rows = rows_of(cluster);
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

/// The cluster's rows are in its folder as `rows.jsonl`, and its groups as `groups.toml`.
async fn verify(cluster: &Cluster) -> (Ended, Value) {
    let rows = rows_of(cluster);
    let args = format!(
        "{rows} --rate 1000 --duration 1s --distribution hot:50 --json report.json \
         --verify-with memory:rows.jsonl --groups groups.toml"
    );
    let ended = run(cluster.folder(), &args).await;
    let report = read(&cluster.folder().join("report.json"));
    (ended, report)
}

async fn what_was_served_is_what_the_origin_has(cluster: &Cluster) {
    let (ended, report) = verify(cluster).await;
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

/// The last claim: nodes have read the rows that it changes, and nobody reads them again.
async fn a_row_that_differs_is_found_and_ends_the_run_with_1(cluster: &Cluster) {
    let path = cluster.folder().join("rows.jsonl");
    let rows = std::fs::read_to_string(&path).unwrap();
    let rows = rows.replace("\"value-7\"", "\"other value\"");
    let rows = rows.replace("\"k\":\"key-9\"", "\"k\":\"gone\"");
    std::fs::write(path, rows).unwrap();
    let (ended, report) = verify(cluster).await;
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
