//! What PostgreSQL holds, served as PostgreSQL shows it, by keys of every type.

use crate::harness::fronted::{Fronted, query, server, table};

/// Columns of the table `kinds`: name, type and a literal.
const KINDS: [(&str, &str, &str); 24] = [
    ("text", "text", "'Zoë ''quoted'' \\ 雪'"),
    ("empty", "text", "''"),
    ("varchar", "varchar(20)", "'short'"),
    ("bpchar", "char(6)", "'pad'"),
    ("json", "json", r#"'{"b":  1, "a": [null, "x"]}'"#),
    ("jsonb", "jsonb", r#"'{"b":  1, "a": [null, "x"]}'"#),
    ("int2", "int2", "-32768"),
    ("int4", "int4", "2147483647"),
    ("int8", "int8", "-9223372036854775808"),
    ("float4", "float4", "0.1"),
    ("float8", "float8", "0.1::float8 + 0.2"),
    ("nan", "float8", "'NaN'"),
    ("numeric", "numeric", "12345678901234567890.12300"),
    ("bool", "bool", "true"),
    ("uuid", "uuid", "'01890A5D-AC96-774B-BCCE-B302099A8057'"),
    ("date", "date", "'2024-02-29'"),
    ("time", "time", "'23:59:59.5'"),
    ("timestamp", "timestamp", "'2024-02-29 12:00:00.25'"),
    ("timestamptz", "timestamptz", "'2024-02-29 12:00:00+02'"),
    ("interval", "interval", "'1 year 2 days 03:04:05'"),
    ("oid", "oid", "4294967295"),
    ("xml", "xml", "'<a>b</a>'"),
    ("mood", "mood", "'so-so'"),
    ("domain", "percent", "42"),
];

/// Defaults of a server that is not like others: values must not depend on them.
const ODD_DEFAULTS: [&str; 6] = [
    "timezone=Asia/Tokyo",
    "datestyle=German",
    "intervalstyle=iso_8601",
    "extra_float_digits=-15",
    "bytea_output=escape",
    "default_transaction_isolation=serializable",
];

const PSQL_DEFAULTS: &str = "set timezone = 'UTC'; set datestyle = 'ISO'; \
    set intervalstyle = 'postgres'; set extra_float_digits = 1; ";

fn kinds() -> String {
    let columns: Vec<_> = KINDS
        .iter()
        .map(|(name, kind, _)| format!("\"{name}\" {kind}"))
        .collect();
    let literals: Vec<_> = KINDS.iter().map(|(_, _, literal)| *literal).collect();
    format!(
        "create type mood as enum ('good', 'so-so'); \
         create domain percent as int check (value between 0 and 100); \
         create table kinds (id int primary key, bytes bytea, nothing text, {}); \
         insert into kinds values (1, '\\x00ff00410a', null, {});",
        columns.join(", "),
        literals.join(", ")
    )
}

#[tokio::test]
async fn a_value_of_any_type_is_served_as_psql_shows_it() {
    let (folder, postgres) = server(&kinds(), &ODD_DEFAULTS, None);
    let names = KINDS.iter().map(|(name, ..)| *name);
    let groups: String = names
        .chain(["bytes", "nothing"])
        .map(|name| table(&format!("of_{name}"), "kinds", "id", name))
        .collect();
    let url = postgres.url().to_owned();
    let fronted = Fronted::before(folder, postgres, &url, &groups, &[]).await;
    for (name, ..) in KINDS {
        let text = format!("{PSQL_DEFAULTS} select \"{name}\"::text from kinds");
        let shown = fronted.postgres.sql(&text);
        let answer = fronted.get(&format!("of_{name}"), "1").await;
        let seen = (answer.status, answer.text());
        assert_eq!(seen, (200, shown), "{name}: {answer:?}");
    }
    let bytes = fronted.get("of_bytes", "1").await;
    assert_eq!(
        (bytes.status, bytes.body.as_slice()),
        (200, &b"\0\xff\0A\n"[..])
    );
    // There is a row, and nothing in it to serve.
    let nothing = fronted.get("of_nothing", "1").await;
    nothing.assert_problem(404, "no-such-key", &[]);
    let nobody = fronted.get("of_text", "2").await;
    nobody.assert_problem(404, "no-such-key", &[]);
}

const UUID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[tokio::test]
async fn a_key_of_any_type_finds_its_row() {
    let sql = format!(
        "create domain code as varchar(9); create domain number as int; \
         create table keys (text text, varchar varchar(9), name name, int2 int2, int4 int4, \
         int8 int8, uuid uuid, code code, number number, v text); \
         insert into keys values ('a', 'b', 'c', -2, 4, 9223372036854775807, '{UUID}', 'd', 7, 'yes')"
    );
    let keys = [
        ("text", "text", "a"),
        ("varchar", "text", "b"),
        ("name", "text", "c"),
        ("int2", "bigint", "-2"),
        ("int4", "bigint", "4"),
        ("int8", "bigint", "9223372036854775807"),
        ("uuid", "uuid", UUID),
        ("code", "text", "d"),
        ("number", "bigint", "7"),
    ];
    let mut groups = String::new();
    for (column, key_type, _) in keys {
        groups += &table(&format!("t_{column}"), "keys", column, "v");
        let text = format!("SELECT {column}, v FROM keys WHERE {column} = ANY($1)");
        groups += &query(&format!("q_{column}"), key_type, &text);
    }
    let fronted = Fronted::start(&sql, &groups, &[]).await;
    for (column, key_type, key) in keys {
        for kind in ["t", "q"] {
            let group = format!("{kind}_{column}");
            let answer = fronted.get(&group, key).await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "yes"),
                "{group}: {answer:?}"
            );
            // Beyond what the column can hold there is no row; that is no mistake.
            if key_type == "bigint" {
                let beyond = fronted.get(&group, "-9223372036854775808").await;
                assert_eq!(beyond.status, 404, "{group}: {beyond:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_is_found_by_its_exact_bytes() {
    let keys = [
        "'; DROP TABLE odd; --",
        "\"quoted\"",
        "Zoë 雪",
        "a/b",
        "100%",
        "%41",
        "{a,\"b\"}",
        "NULL",
        " ",
        "line\nbreak",
        "back\\slash",
        "$1",
        "Case",
        "case",
        "trailing ",
    ];
    let rows: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(row, key)| format!("('{}', 'value {row}')", key.replace('\'', "''")))
        .collect();
    let sql = format!(
        "create table odd (k text primary key, v text); insert into odd values {}",
        rows.join(", ")
    );
    let fronted = Fronted::start(&sql, &table("odd", "odd", "k", "v"), &[]).await;
    let answers = fronted.get_many("odd", &keys).await;
    for (row, key) in keys.iter().enumerate() {
        let value = format!("value {row}");
        assert_eq!(answers[row]["value"], value, "{key:?}: {}", answers[row]);
        fronted.get("odd", key).await.assert_value(&value);
    }
    for key in ["CASE", "trailing", "line", "100"] {
        assert_eq!(fronted.get("odd", key).await.status, 404, "{key:?}");
    }
}

#[tokio::test]
async fn a_query_and_a_name_are_taken_as_they_are_written() {
    let sql = "create schema \"App\"; create table \"App\".\"User\" (\"Id\" int, \"select\" text); \
        insert into \"App\".\"User\" values (1, 'one'), (2, 'two'); \
        create view sums as select \"Id\" as id, \"Id\" * 10 as ten from \"App\".\"User\"";
    let from = "FROM \"App\".\"User\" WHERE \"Id\" = ANY($1)";
    let groups = [
        table("mixed", "App.User", "Id", "select"),
        table("view", "sums", "id", "ten"),
        query(
            "cte",
            "bigint",
            &format!(
                "WITH found AS (SELECT * {from})\nSELECT \"Id\", \"select\" FROM found \
                 ORDER BY 2 DESC -- the last first\n;\n"
            ),
        ),
        query(
            "comment",
            "bigint",
            &format!("SELECT \"Id\", \"select\" {from} -- all of it"),
        ),
        query("twins", "bigint", &format!("SELECT \"Id\", \"Id\" {from}")),
        query(
            "union",
            "bigint",
            "SELECT k, 'one' FROM unnest($1) k WHERE k < 2 UNION ALL SELECT 2, 'two'",
        ),
    ]
    .concat();
    let fronted = Fronted::start(sql, &groups, &[]).await;
    for (group, one, two) in [
        ("mixed", "one", "two"),
        ("view", "10", "20"),
        ("cte", "one", "two"),
        ("comment", "one", "two"),
        ("twins", "1", "2"),
        ("union", "one", "two"),
    ] {
        let answers = fronted.get_many(group, &["1", "2"]).await;
        assert_eq!(answers[0]["value"], one, "{group}: {}", answers[0]);
        assert_eq!(answers[1]["value"], two, "{group}: {}", answers[1]);
    }
}
