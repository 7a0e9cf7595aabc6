//! Tables that come and change while gcache runs: noticed without a restart.

use crate::harness::fronted::{Fronted, query, server, table};
use crate::testkit::address::{ADMIN, Block};
use crate::testkit::http::try_ask;
use crate::testkit::process::Start;
use crate::testkit::wait::until;

#[tokio::test]
async fn a_table_that_changes_is_noticed_by_the_next_load() {
    let groups = [
        table("late", "late", "id", "v"),
        table("early", "early", "id", "v"),
        table("bytes", "early", "id", "b"),
    ]
    .concat();
    let sql = "create table early (id int primary key, v text, b bytea); \
        insert into early select n, n, 'a' from generate_series(1, 9) n";
    let fronted = Fronted::start(sql, &groups, &[]).await;
    let served = async |group: &str, key: &str, value: &str| {
        until(&format!("{group} {key} is served"), async || {
            let answer = fronted.get(group, key).await;
            if answer.status == 200 {
                Ok(answer)
            } else {
                Err(answer)
            }
        })
        .await
        .assert_value(value);
    };
    let answer = fronted.get("late", "1").await;
    answer.assert_problem(502, "bad-statement", &["late"]);
    fronted
        .postgres
        .sql("create table late (id int, v text); insert into late values (1, 'here')");
    served("late", "1", "here").await;

    fronted.get("early", "1").await.assert_value("1");
    for (change, key, value) in [
        ("alter table early alter v type int using v::int", "2", "2"),
        (
            "alter table early alter v type text using 'again'",
            "3",
            "again",
        ),
        ("alter table early alter id type bigint", "4", "again"),
    ] {
        fronted.postgres.sql(change);
        fronted.get("early", key).await.assert_value(value);
    }
    fronted.get("bytes", "1").await.assert_value("a");
    fronted
        .postgres
        .sql("alter table early alter b type text using 'words'");
    fronted.get("bytes", "2").await.assert_value("words");
    fronted
        .postgres
        .sql("alter table early alter b type bytea using convert_to('A', 'UTF8')");
    fronted.get("bytes", "3").await.assert_value("A");
    fronted
        .postgres
        .sql("alter table early alter b type int[] using '{1}'");
    let array = fronted.get("bytes", "4").await;
    array.assert_problem(502, "bad-statement", &["_int4"]);
    for (change, key) in [
        ("alter table early alter id type text", "6"),
        ("alter table early alter id type int using id::int", "7"),
        (
            "drop table early; create table early as select n::int as id, 'again' as v, '' as b from generate_series(1, 9) n",
            "8",
        ),
    ] {
        fronted.postgres.sql(change);
        served("early", key, "again").await;
    }
    assert!(fronted.dev.sum("gcache_origin_unusable_groups").await <= 1.0);
}

/// Each connection has prepared the statement for itself: what it remembers may be older than the plan.
#[tokio::test]
async fn a_type_that_changes_is_noticed_on_every_connection() {
    const KEYS: std::ops::Range<u32> = 0..12;
    let slow = "select id, v from rows, pg_sleep(0.05) where id = any($1)";
    let sql = "create table rows (id int primary key, v text); \
        insert into rows select n, n from generate_series(0, 99) n";
    let fronted = Fronted::start(sql, &query("slow", "bigint", slow), &[]).await;
    for (round, change) in ["int using v::int", "text", "bigint using v::bigint"]
        .into_iter()
        .enumerate()
    {
        // Many at once, so that every connection is used before and after the change.
        let all = |from: usize| {
            let keys = KEYS.map(move |key| (key as usize + from).to_string());
            let fronted = &fronted;
            futures_util::future::join_all(keys.map(async move |key| {
                fronted.get("slow", &key).await.assert_value(&key);
            }))
        };
        all(round * 30).await;
        fronted
            .postgres
            .sql(&format!("alter table rows alter v type {change}"));
        all(round * 30 + 15).await;
    }
}

#[tokio::test]
async fn a_node_tells_on_its_admin_port_which_groups_it_cannot_load_until_it_can() {
    let (folder, postgres) = server("create table good (id int primary key, v text)", &[], None);
    let groups = table("good", "good", "id", "v") + &table("late", "late", "id", "v");
    let block = Block::claim();
    let host = block.node(0).to_string();
    std::fs::write(folder.path().join("groups.toml"), groups).unwrap();
    let cluster = ["--seeds", &host, "--data-dir", "data"];
    let own = [
        "--host",
        &host,
        "--id",
        "node-1",
        "--origin",
        postgres.url(),
    ];
    let start = Start::new("node", folder.path());
    let node = start.gcache(&[&["node"], &cluster[..], &own].concat());
    let apply = [
        "group",
        "apply",
        "groups.toml",
        "--unchecked",
        "--seeds",
        &host,
    ];
    let command = Start::new("command", folder.path());
    let applied = command.gcache(&apply).ended().await;
    assert_eq!(applied.code, Some(0), "{}", applied.stderr);
    let says = async |line: &str| {
        until(&format!("the node says {line:?}"), async || {
            let answer = try_ask((block.node(0), ADMIN).into(), "GET", "/readyz?verbose").await;
            let said = answer.map_or_else(|error| error.to_string(), |answer| answer.text());
            if said.lines().any(|said| said.starts_with(line)) {
                Ok(())
            } else {
                Err(said)
            }
        })
        .await;
    };
    says("[!] groups: late cannot be loaded: PostgreSQL: relation \"late\" does not exist").await;
    postgres.sql("create table late (id int primary key, v text)");
    until("the node has noticed", async || {
        let log = node.stderr();
        if log.contains("group usable again") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    says("[+] groups").await;
}
