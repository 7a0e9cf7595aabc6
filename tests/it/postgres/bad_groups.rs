//! Groups that PostgreSQL cannot load, beside one that it can: each says what is wrong with it, and none
//! harms another.

use crate::harness::fronted::{Fronted, query, server, table};
use crate::testkit::wait::until;

const SQL: &str = "create table good (id int primary key, v text, list int[], day date); \
    insert into good select n, 'value ' || n, '{1}', now() from generate_series(1, 100) n; \
    create table secret (id int primary key, v text); insert into secret values (1, 'hidden'); \
    create role reader login password 'sesame'; grant select, delete on good to reader";

const WHERE: &str = "FROM good WHERE id = ANY($1)";

/// A group that can never be loaded: its name, definition and what is told of it.
type Bad = (&'static str, String, &'static [&'static str]);

fn bad_tables() -> Vec<Bad> {
    vec![
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
            "no_key",
            table("no_key", "good", "idd", "v"),
            &["idd", "does not exist"],
        ),
        (
            "array",
            table("array", "good", "id", "list"),
            &["_int4", "cannot be served"],
        ),
        (
            "by_day",
            table("by_day", "good", "day", "v"),
            &["day", "type date"],
        ),
        (
            "denied",
            table("denied", "secret", "id", "v"),
            &["permission denied", "secret"],
        ),
    ]
}

fn bad_queries() -> Vec<Bad> {
    let by_query = |name, text: &str| query(name, "bigint", text);
    vec![
        (
            "syntax",
            by_query("syntax", "SELEC id FROM good WHERE id = ANY($1)"),
            &["syntax error"],
        ),
        (
            "three",
            by_query("three", &format!("SELECT id, v, v {WHERE}")),
            &["3 columns"],
        ),
        (
            "one",
            by_query("one", &format!("SELECT id {WHERE}")),
            &["1 columns"],
        ),
        (
            "wrong_type",
            query("wrong_type", "text", &format!("SELECT id::text, v {WHERE}")),
            &["integer = text"],
        ),
        (
            "wrong_keys",
            by_query("wrong_keys", &format!("SELECT id::text, v {WHERE}")),
            &["keys of type text", "key_type is bigint"],
        ),
        (
            "delete",
            by_query(
                "delete",
                "DELETE FROM good WHERE id = ANY($1) RETURNING id, v",
            ),
            &["must be one SELECT"],
        ),
        (
            "sly",
            by_query(
                "sly",
                "WITH gone AS (DELETE FROM good WHERE id = ANY($1) RETURNING id, v) SELECT * FROM gone",
            ),
            &["must be one SELECT"],
        ),
        (
            "two",
            by_query("two", &format!("SELECT id, v {WHERE}; DELETE FROM good")),
            &["PostgreSQL: "],
        ),
        (
            "escape",
            by_query(
                "escape",
                "SELECT id, v FROM good WHERE id = ANY($1)) x (k, v); DELETE FROM good --",
            ),
            &["syntax error"],
        ),
    ]
}

#[tokio::test]
async fn a_group_that_cannot_be_loaded_says_why_and_harms_no_other() {
    let bad = [bad_tables(), bad_queries()].concat();
    let foreign = format!("SELECT id + 1, v {WHERE}");
    let groups = bad.iter().map(|(_, definition, _)| definition.clone());
    let groups: String = groups
        .chain([
            table("good", "good", "id", "v"),
            query("foreign", "bigint", &foreign),
        ])
        .collect();
    let (folder, postgres) = server(SQL, &[], None);
    let url = postgres.url_of("reader", "sesame", "postgres");
    let fronted = Fronted::before(folder, postgres, &url, &groups, &[]).await;
    for (round, (group, _, told)) in bad.iter().enumerate() {
        let answer = fronted.get(group, "1").await;
        answer.assert_problem(502, "bad-statement", told);
        let key = round + 1;
        let good = fronted.get("good", &key.to_string()).await;
        good.assert_value(&format!("value {key}"));
    }
    let answer = fronted.get("foreign", "1").await;
    answer.assert_problem(502, "bad-statement", &["not asked for"]);
    assert_eq!(fronted.postgres.sql("select count(*) from good"), "100");
    until("all that cannot be planned are counted", async || {
        let unusable = fronted.dev.sum("gcache_origin_unusable_groups").await;
        if unusable == bad.len() as f64 {
            Ok(())
        } else {
            Err(unusable)
        }
    })
    .await;
    let log = fronted.dev.process.stderr();
    let said = log.matches("group cannot be loaded").count();
    assert_eq!(said, bad.len(), "each is told once: {log}");
    assert!(!log.contains("sesame"), "{log}");
}

#[tokio::test]
async fn what_is_wrong_with_one_row_is_told_of_its_key_alone() {
    let sql = "create table rows (id int primary key, v int, twin int); \
        insert into rows select n, n - 37, n from generate_series(1, 100) n; \
        insert into rows values (101, 5, 50)";
    let groups = [
        query(
            "divided",
            "bigint",
            "SELECT id, 100 / v FROM rows WHERE id = ANY($1)",
        ),
        query(
            "twins",
            "bigint",
            "SELECT twin, v FROM rows WHERE twin = ANY($1)",
        ),
        table("uuids", "ids", "id", "v"),
        table("numbers", "rows", "id", "v"),
    ]
    .concat();
    let sql = format!("{sql}; create table ids (id uuid primary key, v text)");
    let fronted = Fronted::start(&sql, &groups, &[]).await;
    let keys: Vec<_> = (1..=100).map(|key| key.to_string()).collect();
    let mut keys: Vec<_> = keys.iter().map(String::as_str).collect();
    keys.push("seven");
    for (group, bad, told) in [("divided", 37, "22012"), ("twins", 50, "more than one row")] {
        for (key, result) in keys.iter().zip(fronted.get_many(group, &keys).await) {
            let kind = result["problem"]["type"].as_str().unwrap_or_default();
            if *key == "seven" {
                assert_eq!(result["status"], 400, "{result}");
            } else if *key == bad.to_string() {
                assert_eq!(
                    (&result["status"], kind),
                    (&502.into(), "urn:gcache:problem:bad-value")
                );
                assert!(result.to_string().contains(told), "{result}");
            } else {
                assert_eq!(result["status"], 200, "{group} {key}: {result}");
            }
        }
    }
    fronted.get("numbers", "1").await.assert_value("-36");
    fronted
        .get("uuids", "01890a5d-ac96-774b-bcce-b302099a8057")
        .await;
    let before = fronted.loads();
    for (group, key) in [
        ("numbers", "seven"),
        ("numbers", "07"),
        ("numbers", "1e3"),
        ("uuids", "7"),
    ] {
        let answer = fronted.get(group, key).await;
        answer.assert_problem(400, "bad-key", &["a key of this group is"]);
    }
    assert_eq!(
        fronted.loads(),
        before,
        "none of them was asked of PostgreSQL"
    );
}
