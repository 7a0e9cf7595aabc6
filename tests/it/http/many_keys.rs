//! `POST /v1/{group}`: many keys in one request.

use serde_json::{Value, json};

use crate::harness::cluster::Cluster;
use crate::harness::setup::{ROWS, Setup};
use crate::testkit::http::{Answer, ask_raw, request};
use crate::testkit::wait::{in_time, until};

async fn ask_for(cluster: &Cluster, body: &[u8]) -> Answer {
    ask_in(cluster, "/v1/scores", body).await
}

async fn ask_in(cluster: &Cluster, path: &str, body: &[u8]) -> Answer {
    let headers = [("content-type", "application/json")];
    let request = request("POST", path, &headers, body);
    ask_raw(cluster.http(0), &request).await
}

fn keys(rows: std::ops::Range<usize>) -> Vec<u8> {
    let keys: Vec<_> = rows.map(|row| format!("key-{row}")).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(super) async fn many_keys_are_answered_in_the_order_asked(cluster: &Cluster) {
    let long = "k".repeat(513);
    let body = json!({"keys": ["key-9", "nobody", "Tom", "key-9", "", long, "key-1"]});
    let answer = ask_for(cluster, body.to_string().as_bytes()).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    let answer = answer.json();
    let results = answer["results"].as_array().unwrap();
    let asked = body["keys"].as_array().unwrap();
    let told: Vec<&Value> = results.iter().map(|result| &result["key"]).collect();
    assert_eq!(told, asked.iter().collect::<Vec<_>>());
    let statuses: Vec<_> = results
        .iter()
        .map(|result| result["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [200, 404, 200, 200, 400, 400, 200], "{answer}");
    let values: Vec<_> = results
        .iter()
        .filter_map(|result| result["value"].as_str())
        .collect();
    assert_eq!(values, ["value-9", "630", "value-9", "value-1"], "{answer}");
    let problem = |place: usize| results[place]["problem"]["type"].as_str().unwrap();
    assert_eq!(problem(1), "urn:gcache:problem:no-such-key");
    assert_eq!(problem(4), "urn:gcache:problem:bad-key");
    assert_eq!(problem(5), "urn:gcache:problem:bad-key");
}

pub(super) async fn a_thousand_keys_are_loaded_once_each_in_few_calls(cluster: &Cluster) {
    let calls = async || {
        cluster
            .node_sum("gcache_origin_load_seconds_count", &[])
            .await
    };
    let before = calls().await;
    for _ in 0..2 {
        let answer = ask_in(cluster, "/v1/thousand", &keys(0..ROWS)).await.json();
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), ROWS);
        for (row, result) in results.iter().enumerate() {
            assert_eq!(result["value"], format!("value-{row}"), "{result}");
        }
    }
    assert_eq!(cluster.loaded_in("thousand").await, ROWS as f64);
    let calls = calls().await - before;
    assert!(calls < ROWS as f64 / 2.0, "{calls} calls for {ROWS} keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_a_thousand_keys_fails_when_a_node_is_killed_while_they_load() {
    let set = ["origin.memory_latency=1s"];
    let mut cluster = Cluster::start(Setup {
        frontends: 1,
        ..Setup::with(&set)
    })
    .await;
    let http = cluster.http(0);
    let asked = request("POST", "/v1/scores", &[], &keys(0..ROWS));
    let asking = tokio::spawn(async move { ask_raw(http, &asked).await });
    until("all keys have reached their owners", async || {
        let calls = cluster.node_sum("gcache_node_calls_total", &[]).await;
        if calls == ROWS as f64 {
            Ok(())
        } else {
            Err(calls)
        }
    })
    .await;
    cluster.kill(&[0]);
    let answer = in_time("the request is answered", asking)
        .await
        .unwrap()
        .json();
    let results = answer["results"].as_array().unwrap();
    let failed: Vec<_> = results
        .iter()
        .filter(|result| result["status"] != 200)
        .collect();
    assert!(
        failed.is_empty(),
        "{} failed, such as {}",
        failed.len(),
        failed[0]
    );
}

pub(super) async fn no_keys_are_no_results_and_too_many_are_refused(cluster: &Cluster) {
    assert_eq!(
        ask_for(cluster, &keys(0..0)).await.json(),
        json!({"results": []})
    );
    assert_eq!(ask_for(cluster, &keys(0..5)).await.status, 200);
    let answer = ask_for(cluster, &keys(0..6)).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (400, "bad-body")
    );
    assert!(
        answer.text().contains("6 keys; at most 5"),
        "{}",
        answer.text()
    );
}

pub(super) async fn a_body_that_does_not_list_keys_is_refused_with_what_is_wrong(
    cluster: &Cluster,
) {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"keys": [1]}"#,
        r#"{"keys": [], "key": 1}"#,
        r#"{"keys": ["a""#,
    ] {
        let answer = ask_for(cluster, body.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "bad-body"),
            "{body}"
        );
        assert!(
            answer.text().contains("expected {"),
            "{body}: {}",
            answer.text()
        );
    }
    assert_eq!(
        ask_for(cluster, b"{\"keys\": [\"\xff\"]}").await.status,
        400
    );
}
