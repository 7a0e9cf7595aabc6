//! A group whose origin hangs under many callers: they are refused in time, and those of other groups
//! notice nothing.

use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::fronted::{Fronted, path, query, table};
use crate::harness::metrics;
use crate::testkit::http::{Answer, Connection, ask_raw, get, request};
use crate::testkit::wait::until;

/// Keys named in `hangs` take longer than anybody waits.
const ROWS: &str = "create table rows (k text primary key, v text); \
    insert into rows select 'key-' || n, 'value-' || n from generate_series(0, 999) n; \
    insert into rows select 'slow-' || n, 'late' from generate_series(0, 999) n; \
    create table hangs (k text primary key); \
    insert into hangs select 'slow-' || n from generate_series(0, 999) n;";

/// A call to the origin outlasts every test here.
const HANGS: &str = "origin.timeout=1m";

/// The groups `slow`, which hangs for the keys that are named so, and `rows`.
fn groups() -> String {
    let nap = "WITH nap AS MATERIALIZED (SELECT pg_sleep(CASE WHEN EXISTS \
        (SELECT FROM hangs WHERE k = ANY($1)) THEN 60 ELSE 0 END)) \
        SELECT k, v FROM rows, nap WHERE k = ANY($1)";
    let stale = "stale = '1h'\nstale_if_error = '1h'\n";
    let slow = query("slow", "text", nap).replace("ttl = '60s'", "ttl = '10ms'");
    slow + stale + &table("rows", "rows", "k", "v")
}

async fn start(set: &[&str]) -> Fronted {
    let fronted = Fronted::start(ROWS, &groups(), &[&[HANGS], set].concat()).await;
    assert_eq!(fronted.get("rows", "key-0").await.text(), "value-0");
    fronted
}

/// Asks for a key in the background.
fn ask(fronted: &Fronted, group: &str, key: &str) -> JoinHandle<Answer> {
    let (http, path) = (fronted.dev.http, path(group, key));
    tokio::spawn(async move { get(http, &path).await })
}

/// Asks for many keys that hang, in the background.
fn flood(fronted: &Fronted, keys: std::ops::Range<usize>) -> JoinHandle<Answer> {
    let keys: Vec<_> = keys.map(|number| format!("slow-{number}")).collect();
    let body = json!({ "keys": keys }).to_string();
    let request = request("POST", "/v1/slow", &[], body.as_bytes());
    let http = fronted.dev.http;
    tokio::spawn(async move { ask_raw(http, &request).await })
}

/// Waits until this bound has kept out `count` of the slow group's, as the metric has it.
async fn refused(fronted: &Fronted, metric: &str, limit: &str, count: f64) {
    until(&format!("{metric}: {limit} refuses {count}"), async || {
        let labels = ["group=\"slow\"", &format!("limit=\"{limit}\"")];
        let seen = metrics::sum(fronted.dev.admin, metric, &labels).await;
        if seen >= count { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// Asks for what the other group has, and for what it has yet to load.
async fn others_notice_nothing(fronted: &Fronted) {
    for row in 1..50 {
        let hit = fronted.get("rows", "key-0").await;
        assert_eq!((hit.status, hit.text().as_str()), (200, "value-0"));
        assert!(hit.cache_status().contains("gcache; hit"), "{hit:?}");
        let miss = fronted.get("rows", &format!("key-{row}")).await;
        assert_eq!((miss.status, miss.text()), (200, format!("value-{row}")));
    }
}

fn assert_overloaded(answer: &Answer, why: &str) {
    answer.assert_problem(503, "overloaded", &[why]);
    let wait = answer.header("retry-after").map(str::parse::<u64>);
    assert!(matches!(wait, Some(Ok(1..=30))), "{answer:?}");
}

#[tokio::test]
async fn a_group_that_hangs_does_not_take_the_places_of_others_in_a_pipeline() {
    let fronted = start(&["pipeline.max_in_flight=64", "node.miss_queue_timeout=1m"]).await;
    let flood = flood(&fronted, 0..500);
    let metric = "gcache_frontend_refused_calls_total";
    // Of 64 places one group leaves as many free as it takes.
    refused(&fronted, metric, "max_in_flight", 468.0).await;
    others_notice_nothing(&fronted).await;
    flood.abort();
}

#[tokio::test]
async fn a_frontend_refuses_what_is_beyond_its_places_for_a_group() {
    let fronted = start(&["frontend.max_waiting_per_group=2"]).await;
    let flood = flood(&fronted, 0..3);
    let metric = "gcache_frontend_refused_calls_total";
    refused(&fronted, metric, "max_waiting_per_group", 1.0).await;
    let answer = fronted.get("slow", "slow-3").await;
    assert_overloaded(&answer, "frontend.max_waiting_per_group is reached");
    others_notice_nothing(&fronted).await;
    flood.abort();
}

#[tokio::test]
async fn calls_whose_callers_have_left_take_the_places_of_their_own_group_only() {
    let set = [
        "pipeline.max_in_flight_per_group=6",
        "node.miss_queue_timeout=1m",
    ];
    let fronted = start(&set).await;
    let metric = "gcache_node_refused_calls_total";
    let mut number = 0;
    // The frontend forgets a caller that has left, the node goes on waiting for his load.
    until("the node has no place left for the group", async || {
        number += 1;
        let mut connection = Connection::open(fronted.dev.http).await.unwrap();
        let path = path("slow", &format!("slow-{number}"));
        connection
            .send(&request("GET", &path, &[], b""))
            .await
            .unwrap();
        let seen = metrics::sum(
            fronted.dev.admin,
            metric,
            &["limit=\"max_in_flight_per_group\""],
        )
        .await;
        if seen > 0.0 { Ok(()) } else { Err(seen) }
    })
    .await;
    others_notice_nothing(&fronted).await;
}

#[tokio::test]
async fn a_miss_that_queues_for_too_long_is_told_so_and_not_left_to_its_deadline() {
    let set = [
        "origin.max_concurrent_loads=1",
        "node.miss_queue_timeout=200ms",
    ];
    let fronted = start(&set).await;
    let first = ask(&fronted, "slow", "slow-0");
    until("the first waits for the origin", async || {
        let flights = fronted.dev.sum("gcache_cache_flights").await;
        if flights >= 1.0 { Ok(()) } else { Err(flights) }
    })
    .await;
    let second = fronted.get("slow", "slow-1").await;
    assert_overloaded(&second, "queued too long");
    let metric = "gcache_origin_refused_keys_total";
    refused(&fronted, metric, "miss_queue_timeout", 1.0).await;
    assert_eq!(fronted.dev.sum("gcache_origin_queued_keys").await, 0.0);
    first.abort();
}

#[tokio::test]
async fn refreshes_that_hang_leave_misses_their_places_and_are_dropped_first() {
    let set = [
        "origin.max_concurrent_loads=1",
        "origin.max_concurrent_refreshes=1",
        "node.refresh_queue=1",
        "node.miss_queue_timeout=1m",
    ];
    let fronted = start(&set).await;
    let stale = ["key-0", "key-1", "key-2", "key-3"];
    for key in stale {
        assert_eq!(fronted.get("slow", key).await.status, 200);
    }
    fronted
        .postgres
        .sql("insert into hangs select unnest(array['key-0', 'key-1', 'key-2', 'key-3'])");
    let metric = "gcache_origin_refused_keys_total";
    until(
        "a refresh hangs, one queues and others are dropped",
        async || {
            for key in stale {
                let answer = fronted.get("slow", key).await;
                assert_eq!(
                    answer.status, 200,
                    "readers of stale values wait for nothing"
                );
            }
            let labels = ["group=\"slow\"", "limit=\"refresh_queue\""];
            let seen = metrics::sum(fronted.dev.admin, metric, &labels).await;
            if seen > 2.0 { Ok(()) } else { Err(seen) }
        },
    )
    .await;
    for row in 10..30 {
        let miss = fronted.get("slow", &format!("key-{row}")).await;
        assert_eq!((miss.status, miss.text()), (200, format!("value-{row}")));
        assert!(miss.cache_status().contains("fwd=miss"), "{miss:?}");
    }
}
