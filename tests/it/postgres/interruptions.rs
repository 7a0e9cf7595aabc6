//! Statements that are under way when something happens to them: their callers are told at once, and the
//! connections that they held are there for the next.

use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::fronted::{Fronted, path, query, table};
use crate::testkit::http::{Answer, get};
use crate::testkit::wait::until;

const ROWS: &str = "create table rows (k text primary key, v text); \
    insert into rows select 'key-' || n, 'value-' || n from generate_series(0, 999) n; \
    create table locked (k text primary key, v text); insert into locked select * from rows;";

/// Nothing is left over if one seat leaks.
const ONE_SEAT: [&str; 2] = ["origin.max_connections=1", "origin.pipeline_depth=1"];

const ACTIVE: &str = "from pg_stat_activity where application_name = 'gcache' \
    and state = 'active' and query like '%pg_sleep%'";

fn groups() -> String {
    let sleep = "WITH nap AS MATERIALIZED (SELECT pg_sleep(30)) \
        SELECT k, k FROM unnest($1) AS k, nap";
    [
        query("slow", "text", sleep),
        table("rows", "rows", "k", "v"),
        table("locked", "locked", "k", "v"),
    ]
    .concat()
}

fn ask(fronted: &Fronted, group: &str, key: &str) -> JoinHandle<Answer> {
    let (http, path) = (fronted.dev.http, path(group, key));
    tokio::spawn(async move { get(http, &path).await })
}

/// Asks for a key with a slow statement, and returns once PostgreSQL carries it out.
async fn begin(fronted: &Fronted, key: &str) -> JoinHandle<Answer> {
    let call = ask(fronted, "slow", key);
    until("the statement runs", async || {
        let active = fronted.postgres.sql(&format!("select count(*) {ACTIVE}"));
        if active == "1" { Ok(()) } else { Err(active) }
    })
    .await;
    call
}

/// Ends the session of the slow statement: whose that was.
fn end_active(fronted: &Fronted) -> String {
    let pid = fronted.postgres.sql(&format!("select pid {ACTIVE}"));
    fronted
        .postgres
        .sql(&format!("select pg_terminate_backend({pid})"));
    pid
}

async fn served_again(fronted: &Fronted, from: usize) {
    let mut row = from;
    until("misses are served", async || {
        row += 1;
        let answer = fronted.get("rows", &format!("key-{row}")).await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
}

#[tokio::test]
async fn a_statement_whose_connection_dies_is_sent_once_more_and_then_its_callers_are_told() {
    let set = [&ONE_SEAT[..], &["origin.timeout=9s"]].concat();
    let mut fronted = Fronted::start(ROWS, &groups(), &set).await;
    for (round, is_crash) in [false, true, false, true].into_iter().enumerate() {
        let call = begin(&fronted, &format!("key-{round}")).await;
        let lost = Instant::now();
        if is_crash {
            fronted.postgres.crash();
        } else {
            let first = end_active(&fronted);
            until("the statement runs on another connection", async || {
                let other = fronted.postgres.sql(&format!("select pid {ACTIVE}"));
                if other.is_empty() || other == first {
                    Err(other)
                } else {
                    Ok(())
                }
            })
            .await;
            end_active(&fronted);
        }
        let answer = call.await.unwrap();
        answer.assert_problem(503, "origin-unavailable", &["PostgreSQL"]);
        let told = lost.elapsed();
        // Before any timeout.
        assert!(told < Duration::from_secs(9), "{told:?}");
        if is_crash {
            fronted.postgres.resume();
        }
        served_again(&fronted, round * 100).await;
        assert_eq!(fronted.connections(), 1);
    }
}

#[tokio::test]
async fn statements_that_nobody_waits_for_give_their_seats_back() {
    let set = [&ONE_SEAT[..], &["origin.timeout=400ms"]].concat();
    let fronted = Fronted::start(ROWS, &groups(), &set).await;
    for round in 0..3 {
        let calls: Vec<_> = (0..40)
            .map(|key| ask(&fronted, "slow", &format!("{round}-{key}")))
            .collect();
        for call in calls {
            let answer = call.await.unwrap();
            assert_eq!(answer.status, 504, "{answer:?}");
        }
        served_again(&fronted, round * 100).await;
    }
    assert_eq!(fronted.connections(), 1);
}

#[tokio::test]
async fn a_locked_table_is_504_for_its_group_alone_until_it_is_unlocked() {
    let set = ["origin.timeout=700ms", "origin.max_connections=2"];
    let fronted = Fronted::start(ROWS, &groups(), &set).await;
    let answer = fronted.get("locked", "key-0").await;
    answer.assert_value("value-0");
    // In the background: psql holds the lock until its session is ended.
    let mut holder = Command::new("psql")
        .args([
            "-XAtq",
            "-c",
            "begin; lock table locked; select pg_sleep(600)",
        ])
        .arg(fronted.postgres.url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let holds = "from pg_locks where mode = 'AccessExclusiveLock' and granted \
        and relation = 'locked'::regclass";
    until("the table is locked", async || {
        let held = fronted.postgres.sql(&format!("select count(*) {holds}"));
        if held == "1" { Ok(()) } else { Err(held) }
    })
    .await;
    let calls: Vec<_> = (1..50)
        .map(|row| ask(&fronted, "locked", &format!("key-{row}")))
        .collect();
    let mut row = 0;
    while !calls.iter().all(JoinHandle::is_finished) {
        row = (row + 1) % 1000;
        let answer = fronted.get("rows", &format!("key-{row}")).await;
        answer.assert_value(&format!("value-{row}"));
    }
    for call in calls {
        let answer = call.await.unwrap();
        assert_eq!(answer.status, 504, "{answer:?}");
    }
    let end = format!("select pg_terminate_backend(pid) {holds}");
    fronted.postgres.sql(&end);
    holder.wait().unwrap();
    let mut row = 50;
    until("the table is served", async || {
        row += 1;
        let answer = fronted.get("locked", &format!("key-{row}")).await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
}
