//! The groups file: every cache group with its origin statement and its freshness rules.
//!
//! ```toml
//! [groups.scores]
//! table = "public.scores"
//! key_column = "name"
//! value_column = "score"
//! ttl = "60s"
//! ```
//!
//! Pure: whether the table exists is for the origin to find out. Called by `cli` and the roles.

use std::time::Duration;

use toml::de::DeValue;

use super::ConfigError;
use super::document::{Document, Fields, describe};
use super::place::SourceFile;
use super::report::{Mistakes, quote};
use super::rule::{Count, Share, Size, Span, Text};
use super::value::ByteSize;
use crate::topology::model::group::{GroupSpec, KeyType, MAX_COPIES, OnIsolated, Source};
use crate::topology::model::rules::{
    MAX_ERROR_TTL, MAX_GROUPS, MAX_TTL, MAX_TTL_JITTER, MAX_VALUE_BYTES, MIN_ERROR_TTL, MIN_TTL,
    is_content_type, is_group_name, is_identifier, is_statement, is_table,
};

const GROUP_NAME: &str = "1 to 64 of a-z 0-9 _ - beginning with a letter";

const TTL: Span = Span {
    min: MIN_TTL,
    max: MAX_TTL,
};
const WINDOW: Span = Span {
    min: Duration::ZERO,
    max: MAX_TTL,
};
const ERROR_TTL: Span = Span {
    min: MIN_ERROR_TTL,
    max: MAX_ERROR_TTL,
};
const TTL_JITTER: Share = Share {
    min: 0.0,
    max: MAX_TTL_JITTER,
};
const MAX_VALUE: Size = Size {
    min: ByteSize(1),
    max: ByteSize(MAX_VALUE_BYTES),
};

const IDENTIFIER: Text<String> = Text {
    expects: "an identifier of 1 to 63 of a-z A-Z 0-9 _ that does not begin with a digit",
    read: |text| is_identifier(text).then(|| text.to_owned()),
    write: String::clone,
};

const TABLE: Text<String> = Text {
    expects: "a table or schema.table, each 1 to 63 of a-z A-Z 0-9 _ not beginning with a digit",
    read: |text| is_table(text).then(|| text.to_owned()),
    write: String::clone,
};

const STATEMENT: Text<String> = Text {
    expects: "a SELECT of key and value for the keys in the array $1, and no other parameter",
    read: statement,
    write: String::clone,
};

const KEY_TYPE: Text<KeyType> = Text {
    expects: "\"text\", \"bigint\" or \"uuid\"",
    read: |text| {
        let known = KeyType::ALL.iter().find(|(_, name)| *name == text);
        known.map(|(key_type, _)| *key_type)
    },
    write: |key_type| key_type.name().to_owned(),
};

const ON_ISOLATED: Text<OnIsolated> = Text {
    expects: "\"serve\", \"origin\" or \"refuse\"",
    read: |text| {
        let known = OnIsolated::ALL.iter().find(|(_, name)| *name == text);
        known.map(|(choice, _)| *choice)
    },
    write: |choice| choice.name().to_owned(),
};

const COPIES: Count<u8> = Count {
    min: 1,
    max: MAX_COPIES,
};

const CONTENT_TYPE: Text<String> = Text {
    expects: "a media type such as \"application/json\"",
    read: |text| is_content_type(text).then(|| text.to_owned()),
    write: String::clone,
};

/// Reads a groups file, sorted by name.
///
/// # Errors
///
/// Every mistake in the file, and a file without any group.
pub fn read_groups(file: SourceFile<'_>) -> Result<Vec<(String, GroupSpec)>, ConfigError> {
    let mut mistakes = Mistakes::default();
    let mut groups = Vec::new();
    if let Some(document) = Document::parse(file, &mut mistakes) {
        groups = read_document(&document, &mut mistakes);
        groups.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    mistakes.or(groups)
}

/// Reads every group that has no mistake.
fn read_document(document: &Document<'_>, mistakes: &mut Mistakes) -> Vec<(String, GroupSpec)> {
    document.only("groups", "expected [groups.NAME]", mistakes);
    let Some(value) = document.root.get("groups") else {
        let what = "no groups".to_owned();
        mistakes.push(
            document.whole(),
            what,
            "expected at least one [groups.NAME]".to_owned(),
        );
        return Vec::new();
    };
    let DeValue::Table(table) = value.get_ref() else {
        let what = format!("groups is {}", describe(value.get_ref()));
        let place = document.place(value.span().start);
        mistakes.push(place, what, "expected [groups.NAME]".to_owned());
        return Vec::new();
    };
    if table.len() > MAX_GROUPS {
        let what = format!("{} groups", table.len());
        mistakes.push(
            document.whole(),
            what,
            format!("expected at most {MAX_GROUPS}"),
        );
    }
    let mut groups = Vec::new();
    for (name, value) in table.iter().take(MAX_GROUPS) {
        let start = name.span().start;
        let name = name.get_ref();
        let mut shown = name.to_string();
        if !is_group_name(name) {
            shown = quote(name);
            let what = format!("the group name is {shown}");
            mistakes.push(
                document.place(start),
                what,
                format!("expected {GROUP_NAME}"),
            );
        }
        let DeValue::Table(table) = value.get_ref() else {
            let what = format!("groups.{shown} is {}", describe(value.get_ref()));
            mistakes.push(
                document.place(start),
                what,
                "expected [groups.NAME]".to_owned(),
            );
            continue;
        };
        let fields = Fields::new(document, table, format!("groups.{shown}"), start);
        groups.extend(read_group(fields, mistakes).map(|spec| (name.to_string(), spec)));
    }
    groups
}

/// Reads one group; `None` if it has a mistake.
fn read_group(mut fields: Fields<'_, '_>, mistakes: &mut Mistakes) -> Option<GroupSpec> {
    let source = read_source(&mut fields, mistakes);
    let binary = "application/octet-stream".to_owned();
    let content_type = fields.optional("content_type", &CONTENT_TYPE, binary, mistakes);
    let ttl = fields.required("ttl", &TTL, mistakes);
    let ttl_jitter = fields.optional("ttl_jitter", &TTL_JITTER, 0.1, mistakes);
    let stale = fields.optional("stale", &WINDOW, Duration::ZERO, mistakes);
    let stale_if_error = fields.optional("stale_if_error", &WINDOW, Duration::ZERO, mistakes);
    let five_seconds = Duration::from_secs(5);
    let negative_ttl = fields.optional("negative_ttl", &WINDOW, five_seconds, mistakes);
    let half_second = Duration::from_millis(500);
    let error_ttl = fields.optional("error_ttl", &ERROR_TTL, half_second, mistakes);
    let one_mib = ByteSize::mib(1);
    let max_value_bytes = fields.optional("max_value_bytes", &MAX_VALUE, one_mib, mistakes);
    let serve = OnIsolated::Serve;
    let on_isolated = fields.optional("on_isolated", &ON_ISOLATED, serve, mistakes);
    let copies = fields.optional("copies", &COPIES, 1, mistakes);
    fields.finish(mistakes);
    Some(GroupSpec {
        source: source?,
        content_type: content_type?,
        ttl: ttl?,
        ttl_jitter: ttl_jitter?,
        stale: stale?,
        stale_if_error: stale_if_error?,
        negative_ttl: negative_ttl?,
        error_ttl: error_ttl?,
        max_value_bytes: max_value_bytes?.0,
        on_isolated: on_isolated?,
        copies: copies?,
    })
}

/// Reads where a group's rows are: three identifiers or a query.
fn read_source(fields: &mut Fields<'_, '_>, mistakes: &mut Mistakes) -> Option<Source> {
    let key_type = fields.maybe("key_type", &KEY_TYPE, mistakes);
    if fields.has("query") {
        let statement = fields.required("query", &STATEMENT, mistakes);
        for field in ["table", "key_column", "value_column"] {
            fields.refuse(field, "a group has a query or a table, not both", mistakes);
        }
        return Some(Source::Query {
            statement: statement?,
            key_type: key_type?.unwrap_or(KeyType::Text),
        });
    }
    if !["table", "key_column", "value_column"]
        .iter()
        .any(|field| fields.has(field))
    {
        let right = "expected table, key_column and value_column, or a query";
        fields.lacks("rows", right, mistakes);
        for field in ["table", "key_column", "value_column", "query"] {
            fields.know(field);
        }
        return None;
    }
    let table = fields.required("table", &TABLE, mistakes);
    let key_column = fields.required("key_column", &IDENTIFIER, mistakes);
    let value_column = fields.required("value_column", &IDENTIFIER, mistakes);
    fields.know("query");
    Some(Source::Table {
        table: table?,
        key_column: key_column?,
        value_column: value_column?,
        key_type: key_type?,
    })
}

/// A statement without what may end it; none if it cannot be one over the array `$1`.
fn statement(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches(';').trim_end();
    is_statement(text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, GroupSpec)>, ConfigError> {
        read_groups(SourceFile {
            name: "groups.toml",
            text,
        })
    }

    #[test]
    fn a_group_of_required_fields_gets_the_documented_defaults() {
        let groups = read(
            "[groups.zebra]\ntable=\"public.t\"\nkey_column=\"k\"\nvalue_column=\"v\"\nttl=\"60s\"\n\
             [groups.ant]\ntable=\"t\"\nkey_column=\"k\"\nvalue_column=\"v\"\nttl=\"1500ms\"\n",
        )
        .unwrap();
        assert_eq!(groups[0].0, "ant", "sorted by name");
        assert_eq!(groups[0].1.ttl, Duration::from_millis(1500));
        let expected = GroupSpec {
            source: Source::Table {
                table: "public.t".to_owned(),
                key_column: "k".to_owned(),
                value_column: "v".to_owned(),
                key_type: None,
            },
            content_type: "application/octet-stream".to_owned(),
            ttl: Duration::from_mins(1),
            ttl_jitter: 0.1,
            stale: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            negative_ttl: Duration::from_secs(5),
            error_ttl: Duration::from_millis(500),
            max_value_bytes: 1 << 20,
            on_isolated: OnIsolated::Serve,
            copies: 1,
        };
        assert_eq!(groups[1], ("zebra".to_owned(), expected));
    }

    #[test]
    fn nothing_but_an_identifier_comes_near_a_statement() {
        for text in ["a", "_", "Ab_9", &"x".repeat(63)] {
            assert!(is_identifier(text), "{text}");
        }
        for text in [
            "",
            "9a",
            "a b",
            "a\"b",
            "a;--",
            "é",
            "a.b",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(!is_identifier(text), "{text}");
        }
        for text in ["a.b.c", ".a", "a.", "a. b"] {
            assert!((TABLE.read)(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_query_has_the_keys_as_its_one_parameter() {
        let query = "SELECT k, v FROM t WHERE k = ANY($1)";
        for text in [
            query,
            &format!("  {query} ;\n"),
            &format!("{query} AND $1 IS NOT NULL"),
        ] {
            let read = statement(text).unwrap();
            assert!(read.starts_with("SELECT") && !read.ends_with(';'), "{read}");
        }
        for text in [
            "",
            ";",
            "SELECT 1",
            "SELECT $2",
            "SELECT $1, $2",
            "SELECT $11",
            "a\0$1",
        ] {
            assert_eq!(statement(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_query_asks_for_text_unless_it_says_otherwise() {
        let source = |extra: &str| {
            let text = format!("[groups.a]\nquery=\"SELECT $1\"\nttl=\"1s\"\n{extra}\n");
            read(&text).map(|groups| groups[0].1.source.clone())
        };
        let query = |key_type| Source::Query {
            statement: "SELECT $1".to_owned(),
            key_type,
        };
        assert_eq!(source(""), Ok(query(KeyType::Text)));
        assert_eq!(source("key_type=\"uuid\""), Ok(query(KeyType::Uuid)));
        let both = source("table=\"t\"").unwrap_err().to_string();
        assert!(both.contains("a query or a table, not both"), "{both}");
    }

    #[test]
    fn a_content_type_can_stand_in_a_header() {
        for text in ["text/plain", "text/plain; charset=utf-8"] {
            assert!(is_content_type(text), "{text}");
        }
        for text in [
            "",
            "text",
            "/",
            "text/",
            "text/plain\r\nx: y",
            "text/pläin",
            " text/plain",
        ] {
            assert!(!is_content_type(text), "{text}");
        }
    }
}
