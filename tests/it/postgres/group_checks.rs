//! Groups are checked against PostgreSQL before they are applied: each mistake is told, nothing of a bad
//! file is applied, and what is only unwise is a warning.

use serde_json::{Value, json};

use crate::harness::fronted::{Fronted, query, server, table};
use crate::harness::grown::Grown;
use crate::testkit::process::Ended;

const SQL: &str = "create table good (id int primary key, v text, list int[], day date); \
    insert into good select n, 'value ' || n, '{1}', now() from generate_series(1, 100) n; \
    create table big (id int, name text); \
    insert into big select n, 'name ' || n from generate_series(1, 20000) n; analyze big; \
    create table uncounted (id int, name text); \
    insert into uncounted select n, 'name ' || n from generate_series(1, 20000) n; \
    create table parts (id int, v text) partition by hash (id); \
    create table parts_0 partition of parts for values with (modulus 2, remainder 0); \
    create table parts_1 partition of parts for values with (modulus 2, remainder 1); \
    insert into parts select n, 'v' from generate_series(1, 10000) n; \
    create table secret (id int primary key, v text); \
    create table indexed (id int primary key, word text unique, v text); \
    insert into indexed select n, 'word ' || n, 'v' from generate_series(1, 1500) n; analyze indexed; \
    create view seen as select id, v from good; \
    create role reader login password 'sesame'; alter role reader set random_page_cost = 1000; \
    grant select on good, big, uncounted, parts, indexed, seen to reader; \
    create role writer login password 'sesame'; \
    grant select on good, seen to writer; grant update (v) on good to writer; \
    grant delete on seen to writer";

/// The findings of one group: severity and text.
fn of<'a>(told: &'a Value, group: &str) -> Vec<(&'a str, &'a str)> {
    let findings = told["findings"].as_array().expect("findings are a list");
    let own = findings.iter().filter(|found| found["group"] == *group);
    own.map(|found| {
        let text = |field: &str| found[field].as_str().expect("a text");
        (text("severity"), text("text"))
    })
    .collect()
}

#[track_caller]
fn assert_one(told: &Value, group: &str, severity: &str, words: &[&str]) {
    let found = of(told, group);
    assert_eq!(found.len(), 1, "{group}: {told:#}");
    assert_eq!(found[0].0, severity, "{group}: {told:#}");
    for words in words {
        assert!(found[0].1.contains(words), "{words} in {:?}", found[0]);
    }
}

fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
}

/// Groups that cannot be loaded: name, definition, what is told.
fn bad() -> Vec<(&'static str, String, &'static [&'static str])> {
    let by_query = |name, text: &str| query(name, "bigint", text);
    vec![
        (
            "statement",
            by_query("statement", "SELEC id FROM good WHERE id = ANY($1)"),
            &["syntax error", "42601"],
        ),
        (
            "no_table",
            table("no_table", "nowhere", "id", "v"),
            &["nowhere", "does not exist"],
        ),
        (
            "no_column",
            table("no_column", "good", "id", "vv"),
            &["vv", "does not exist"],
        ),
        (
            "key",
            table("key", "good", "day", "v"),
            &["type date", "keys are text"],
        ),
        (
            "value",
            table("value", "good", "id", "list"),
            &["_int4", "cannot be served"],
        ),
        (
            "denied",
            table("denied", "secret", "id", "v"),
            &["permission denied", "secret"],
        ),
        (
            "sly",
            by_query(
                "sly",
                "WITH gone AS (DELETE FROM good WHERE id = ANY($1) RETURNING id, v) SELECT * FROM gone",
            ),
            &["must be one SELECT"],
        ),
    ]
}

/// Groups that can be loaded, most of them slowly.
fn usable() -> String {
    [
        table("good", "good", "id", "v"),
        table("view", "seen", "id", "v"),
        // With the reader's page cost the planner reads them all, and could use an index.
        table("indexed", "indexed", "id", "v"),
        table("words", "public.indexed", "word", "v"),
        query(
            "filtered",
            "bigint",
            "SELECT id, v FROM indexed WHERE id = ANY($1) AND v IS NOT NULL",
        ),
        table("slow", "big", "id", "name"),
        table("uncounted", "uncounted", "id", "name"),
        table("parts", "parts", "id", "v"),
        query(
            "joined",
            "bigint",
            "SELECT g.id, b.name FROM good g JOIN big b ON b.id = g.id WHERE g.id = ANY($1)",
        ),
    ]
    .concat()
}

#[tokio::test]
async fn every_mistake_is_told_and_nothing_is_applied() {
    let (_folder, postgres) = server(SQL, &[], None);
    let url = postgres.url_of("reader", "sesame", "postgres");
    let grown = Grown::start_over(&url, 1, 0).await;
    let bad = bad();
    let all: String = bad.iter().map(|(_, text, _)| text.as_str()).collect();
    grown.write("groups.toml", &(all + &usable()));
    for verb in ["plan", "apply"] {
        let ended = grown
            .operate(&["group", verb, "groups.toml", "--json"])
            .await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("7 errors"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("sesame"), "{}", ended.stderr);
        let told = json_of(&ended);
        assert_eq!(told["is_applied"], false);
        assert_eq!(told["groups"].as_array().map(Vec::len), Some(16));
        for (group, _, words) in &bad {
            assert_one(&told, group, "error", words);
        }
        for group in ["good", "view", "indexed", "words", "filtered"] {
            assert_eq!(of(&told, group), [], "{group}");
        }
        for (group, words) in [
            (
                "slow",
                &["public.big (about 20000 rows)", "ON public.big (\"id\")"][..],
            ),
            ("uncounted", &["public.uncounted (about "]),
            ("parts", &["public.parts_0", "public.parts_1"]),
            ("joined", &["public.big (about 20000 rows)", "$1"]),
        ] {
            assert_one(&told, group, "warning", words);
        }
    }
    assert_eq!(grown.json(&["group", "list"]).await["groups"], json!([]));
    assert_eq!(postgres.sql("select count(*) from good"), "100");
    let open = "select count(*) from pg_stat_activity where state like 'idle in transaction%'";
    assert_eq!(postgres.sql(open), "0");
    let text = grown.operate(&["group", "plan", "groups.toml"]).await;
    assert!(text.stdout.contains("\nSEVERITY  GROUP"), "{}", text.stdout);
    assert!(
        text.stdout.contains("\nnot applied: revision 0"),
        "{}",
        text.stdout
    );
}

#[tokio::test]
async fn who_insists_applies_and_what_was_seen_before_stops_nothing() {
    let (_folder, postgres) = server(SQL, &[], None);
    let url = postgres.url_of("reader", "sesame", "postgres");
    let grown = Grown::start_over(&url, 1, 0).await;
    let bad = table("bad", "nowhere", "id", "v");
    grown.write("groups.toml", &bad);
    let applied = grown
        .json(&["group", "apply", "groups.toml", "--unchecked"])
        .await;
    assert_eq!(
        (&applied["is_applied"], &applied["findings"]),
        (&json!(true), &json!([]))
    );
    // Its statement is known, so that only a plan looks at it again.
    grown.write("groups.toml", &bad.replace("60s", "30s"));
    let ended = grown
        .operate(&["group", "plan", "groups.toml", "--json"])
        .await;
    assert_eq!(ended.code, Some(1));
    assert_one(&json_of(&ended), "bad", "error", &["nowhere"]);
    let applied = grown.json(&["group", "apply", "groups.toml"]).await;
    assert_eq!(
        (&applied["is_applied"], &applied["findings"]),
        (&json!(true), &json!([]))
    );
    // Another statement is another matter.
    grown.write("groups.toml", &bad.replace("nowhere", "elsewhere"));
    let ended = grown
        .operate(&["group", "apply", "groups.toml", "--json"])
        .await;
    assert_eq!(ended.code, Some(1));
    assert_one(&json_of(&ended), "bad", "error", &["elsewhere"]);
}

#[tokio::test]
async fn a_role_that_may_write_is_warned_of_unless_that_is_known() {
    let (_folder, postgres) = server(SQL, &[], None);
    let writer = postgres.url_of("writer", "sesame", "postgres");
    let mut grown = Grown::start_over(&writer, 1, 0).await;
    let groups = [
        table("good", "good", "id", "v"),
        table("view", "seen", "id", "v"),
        query(
            "asked",
            "bigint",
            "SELECT id, v FROM good WHERE id = ANY($1)",
        ),
    ];
    grown.write("groups.toml", &groups.concat());
    let told = grown.json(&["group", "plan", "groups.toml"]).await;
    assert_one(
        &told,
        "good",
        "warning",
        &["may write to public.good;", "GRANT SELECT"],
    );
    assert_one(
        &told,
        "asked",
        "warning",
        &["public.good", "origin.read_only"],
    );
    assert_one(&told, "view", "warning", &["public.good", "public.seen"]);

    grown.kill(&[0]);
    postgres.url().clone_into(&mut grown.origin);
    grown.run(0);
    grown.complete(1).await;
    let told = grown.json(&["group", "plan", "groups.toml"]).await;
    assert_one(&told, "good", "warning", &["superuser"]);

    grown.kill(&[0]);
    grown.run_in("data", 0, &["--set", "origin.read_only=true"]);
    grown.complete(1).await;
    let told = grown.json(&["group", "plan", "groups.toml"]).await;
    assert_eq!(told["findings"], json!([]));
}

#[tokio::test]
async fn an_origin_that_is_away_stops_no_change() {
    let (_folder, mut postgres) = server(SQL, &[], None);
    let url = postgres.url_of("reader", "sesame", "postgres");
    let grown = Grown::start_over(&url, 1, 0).await;
    postgres.stop();
    grown.write("groups.toml", &table("good", "good", "id", "v"));
    for (verb, is_applied) in [("plan", false), ("apply", true)] {
        let told = grown.json(&["group", verb, "groups.toml"]).await;
        assert_one(
            &told,
            "good",
            "warning",
            &["not checked: ", "cannot connect"],
        );
        assert_eq!(told["is_applied"], is_applied);
    }
}

#[tokio::test]
async fn the_embedded_origin_knows_its_tables() {
    let grown = Grown::start(1, 0).await;
    let groups = [
        table("rows", "rows", "k", "v"),
        table("none", "nowhere", "k", "v"),
        query("asked", "text", "SELECT k, v FROM rows WHERE k = ANY($1)"),
    ];
    grown.write("groups.toml", &groups.concat());
    let ended = grown
        .operate(&["group", "apply", "groups.toml", "--json"])
        .await;
    assert_eq!(ended.code, Some(1));
    let told = json_of(&ended);
    assert_eq!(of(&told, "rows"), []);
    assert_one(
        &told,
        "none",
        "error",
        &["no table \"nowhere\"; there is rows"],
    );
    assert_one(&told, "asked", "error", &["runs no queries"]);
    assert_eq!(grown.json(&["group", "list"]).await["groups"], json!([]));
}

#[tokio::test]
async fn read_only_is_asked_of_the_server_when_a_connection_starts() {
    let settings = query(
        "settings",
        "text",
        "SELECT name, reset_val FROM pg_settings WHERE name = ANY($1)",
    );
    for (set, begins) in [("true", "on"), ("false", "off")] {
        let set = format!("origin.read_only={set}");
        let fronted = Fronted::start("select 1", &settings, &[&set]).await;
        // What the connection began with, before the session's own settings.
        let answer = fronted
            .get("settings", "default_transaction_read_only")
            .await;
        answer.assert_value(begins);
    }
}
