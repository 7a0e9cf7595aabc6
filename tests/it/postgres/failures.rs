//! PostgreSQL away, slow, frozen or unwilling: what is served all the same, and that it is found again.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::fronted::{Fronted, path, query, server, table};
use crate::testkit::http::get;
use crate::testkit::wait::until;

const ROWS: &str = "create table rows (k text primary key, v text); \
    insert into rows select 'key-' || n, 'value-' || n from generate_series(0, 999) n;";

/// Rows by any key, after a nap per statement.
fn sleepy(name: &str, seconds: f64) -> String {
    let text = format!(
        "WITH nap AS MATERIALIZED (SELECT pg_sleep({seconds})) \
         SELECT k, 'value of ' || k FROM unnest($1) AS k, nap"
    );
    query(name, "text", &text)
}

fn rows() -> String {
    table("rows", "rows", "k", "v")
}

/// Asks for keys that were not asked for before, until one is served.
async fn served_again(fronted: &Fronted, from: usize) -> usize {
    let mut row = from;
    until("misses are served", async || {
        row += 1;
        let answer = fronted.get("rows", &format!("key-{row}")).await;
        if answer.status == 200 {
            Ok(row)
        } else {
            Err(answer)
        }
    })
    .await
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_found_when_it_comes() {
    let (folder, mut postgres) = server(ROWS, &[], None);
    postgres.stop();
    let url = postgres.url().to_owned();
    let mut fronted = Fronted::before(folder, postgres, &url, &rows(), &[]).await;
    let answer = fronted.get("rows", "key-1").await;
    answer.assert_problem(
        503,
        "origin-unavailable",
        &["cannot connect to PostgreSQL", "refused"],
    );
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    assert_eq!(get(fronted.dev.http, "/readyz").await.status, 200);
    fronted.postgres.resume();
    served_again(&fronted, 1).await;
}

#[tokio::test]
async fn hits_go_on_while_the_server_is_down_and_misses_after_it_is_back() {
    let mut fronted = Fronted::start(ROWS, &rows(), &[]).await;
    fronted.get("rows", "key-1").await.assert_value("value-1");
    let mut row = 1;
    for is_crash in [true, false] {
        if is_crash {
            fronted.postgres.crash();
        } else {
            fronted.postgres.stop();
        }
        fronted.get("rows", "key-1").await.assert_value("value-1");
        for _ in 0..3 {
            row += 1;
            let missed = fronted.get("rows", &format!("key-{row}")).await;
            missed.assert_problem(503, "origin-unavailable", &["PostgreSQL"]);
        }
        fronted.postgres.resume();
        row = served_again(&fronted, row).await;
    }
}

#[tokio::test]
async fn a_frozen_server_is_504_after_the_timeout_and_used_again_when_it_thaws() {
    let set = ["origin.timeout=500ms", "origin.connect_timeout=2s"];
    let mut fronted = Fronted::start(ROWS, &rows(), &set).await;
    fronted.get("rows", "key-1").await.assert_value("value-1");
    fronted.postgres.pause();
    fronted.get("rows", "key-1").await.assert_value("value-1");
    // Those on a connection that is there, and those that want a new one.
    let asked = Instant::now();
    let calls: Vec<_> = (2..30)
        .map(|row| {
            let (http, path) = (fronted.dev.http, path("rows", &format!("key-{row}")));
            tokio::spawn(async move { get(http, &path).await })
        })
        .collect();
    for call in calls {
        let answer = call.await.expect("it was answered");
        answer.assert_problem(504, "origin-timeout", &[]);
    }
    let waited = asked.elapsed();
    // Far below the default, also on a starved machine.
    assert!(waited < Duration::from_millis(4500), "{waited:?}");
    fronted.postgres.resume();
    served_again(&fronted, 100).await;
}

#[tokio::test]
async fn a_slow_group_is_504_while_another_is_answered_quickly() {
    let set = ["origin.timeout=1s", "origin.max_connections=4"];
    let groups = sleepy("slow", 600.0) + &rows();
    let fronted = Fronted::start(ROWS, &groups, &set).await;
    fronted.get("rows", "key-0").await.assert_value("value-0");
    let slow: Vec<_> = (0..100)
        .map(|row| {
            let (http, path) = (fronted.dev.http, path("slow", &format!("key-{row}")));
            tokio::spawn(async move { get(http, &path).await })
        })
        .collect();
    let mut row = 0;
    let mut slowest = Duration::ZERO;
    while !slow.iter().all(|call| call.is_finished()) {
        row += 1;
        let asked = Instant::now();
        let answer = fronted.get("rows", &format!("key-{}", row % 1000)).await;
        slowest = slowest.max(asked.elapsed());
        answer.assert_value(&format!("value-{}", row % 1000));
        let connections = fronted.connections();
        assert!(connections <= 4, "{connections} connections");
    }
    for call in slow {
        let answer = call.await.expect("it was answered");
        assert_eq!(answer.status, 504, "{answer:?}");
    }
    // Nobody waited for a slow one to be given up.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // On a slow machine, where each question of `connections` is a process, a few.
    assert!(row > 2, "only {row} others were asked for meanwhile");
    // What nobody waits for any more does not go on for ten minutes.
    until("no statement goes on", async || {
        let active = "select count(*) from pg_stat_activity \
            where application_name = 'gcache' and state = 'active'";
        let active = fronted.postgres.sql(active);
        if active == "0" { Ok(()) } else { Err(active) }
    })
    .await;
}

#[tokio::test]
async fn keys_that_wait_for_a_connection_share_the_next_statement() {
    let set = [
        "origin.max_connections=1",
        "origin.pipeline_depth=1",
        "origin.max_concurrent_loads=1",
        "origin.max_batch=100",
    ];
    let fronted = Fronted::start(ROWS, &sleepy("slow", 0.5), &set).await;
    let calls: Vec<_> = (0..200)
        .map(|row| {
            let (http, path) = (fronted.dev.http, path("slow", &format!("key-{row}")));
            tokio::spawn(async move { get(http, &path).await })
        })
        .collect();
    for (row, call) in calls.into_iter().enumerate() {
        let answer = call.await.expect("it was answered");
        answer.assert_value(&format!("value of key-{row}"));
    }
    let statements = fronted.loads();
    assert!((2..=5).contains(&statements), "{statements} statements");
    let counted = fronted.dev.sum("gcache_origin_statements_total").await;
    assert_eq!(counted, statements as f64);
    assert_eq!(
        fronted.dev.sum("gcache_origin_loaded_keys_total").await,
        200.0
    );
    assert_eq!(fronted.connections(), 1);
    assert_eq!(fronted.dev.sum("gcache_origin_open_connections").await, 1.0);
}
