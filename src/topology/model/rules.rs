//! Limits on the input of operators and nodes: names, addresses, statements, durations. Pure.
//!
//! `config` checks its input by them, and `apply` checks every command by them again. So a changed limit
//! changes the effect of old entries of the log: it needs a new command version.

use std::time::Duration;

use crate::topology::model::group::{GroupSpec, MAX_COPIES, Source};

/// The longest name of a process, member or zone: the limit for one label of a DNS name.
pub(crate) const MAX_NAME_BYTES: usize = 63;

/// The longest host: the limit for a DNS name.
pub(crate) const MAX_HOST_BYTES: usize = 253;

/// The most groups a cluster may have: each is a metric label and a part of every topology.
pub(crate) const MAX_GROUPS: usize = 256;

/// The longest name of a group.
pub(crate) const MAX_GROUP_NAME_BYTES: usize = 64;

/// The longest identifier that PostgreSQL keeps.
pub(crate) const MAX_IDENTIFIER_BYTES: usize = 63;

/// The longest content type, which is sent with every answer.
pub(crate) const MAX_CONTENT_TYPE_BYTES: usize = 256;

/// The longest statement: it is a part of every topology.
pub(crate) const MAX_STATEMENT_BYTES: usize = 16 << 10;

/// The longest time that an entry may be kept.
pub(crate) const MAX_TTL: Duration = Duration::from_hours(30 * 24);

/// Below 10 ms a value is stale before it has crossed the network.
pub(crate) const MIN_TTL: Duration = Duration::from_millis(10);

/// The shortest time that a failed load is remembered.
pub(crate) const MIN_ERROR_TTL: Duration = Duration::from_millis(100);

/// The longest time that a failed load is remembered.
pub(crate) const MAX_ERROR_TTL: Duration = Duration::from_secs(1);

/// The largest share of a TTL that jitter may take off.
pub(crate) const MAX_TTL_JITTER: f64 = 0.5;

/// The largest value that a group may store.
pub(crate) const MAX_VALUE_BYTES: u64 = 64 << 20;

/// Whether `text` may be the name of a process, a member or a zone: 1 to 63 of `a-z 0-9 . -`, first and
/// last a letter or digit, so that a name can be a directory and a label in any system.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= MAX_NAME_BYTES
        && bytes.first().is_some_and(|first| alphanumeric(*first))
        && bytes.last().is_some_and(|last| alphanumeric(*last))
        && bytes
            .iter()
            .all(|byte| alphanumeric(*byte) || matches!(byte, b'.' | b'-'))
}

/// Whether `text` has the form of an IP address or a DNS name. It need not exist.
pub(crate) fn is_host(text: &str) -> bool {
    (1..=MAX_HOST_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_'))
}

/// Whether `text` may name a group in URLs and metrics.
pub(crate) fn is_group_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_GROUP_NAME_BYTES
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| allowed(byte) || matches!(byte, b'_' | b'-'))
}

/// Whether `text` is `^[A-Za-z_][A-Za-z0-9_]{0,62}$`. Identifiers cannot be bound as parameters, so no other
/// text may become part of a statement.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.len() <= MAX_IDENTIFIER_BYTES
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether `text` is `table` or `schema.table`.
pub(crate) fn is_table(text: &str) -> bool {
    let parts = text
        .split_once('.')
        .map_or([None, Some(text)], |(schema, table)| {
            [Some(schema), Some(table)]
        });
    parts.into_iter().flatten().all(is_identifier)
}

/// Whether `text` is a media type that may stand in a header: `type/subtype`, visible ASCII and
/// spaces only.
pub(crate) fn is_content_type(text: &str) -> bool {
    text.len() <= MAX_CONTENT_TYPE_BYTES
        && text
            .split_once('/')
            .is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && text.trim() == text
}

/// Whether `text` can be a statement over the array `$1`, without a semicolon at its end.
pub(crate) fn is_statement(text: &str) -> bool {
    !text.is_empty()
        && text.trim().trim_end_matches(';').trim_end() == text
        && text.len() <= MAX_STATEMENT_BYTES
        && !text.contains('\0')
        && parameters(text).eq(["1"])
}

/// The different parameters that `text` mentions, without their `$`.
fn parameters(text: &str) -> impl Iterator<Item = &str> {
    let mut numbers: Vec<&str> = text
        .split('$')
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|next: char| !next.is_ascii_digit());
            Some(&rest[..end.unwrap_or(rest.len())]).filter(|number| !number.is_empty())
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.into_iter()
}

/// The first field of `spec` that the groups file does not allow, if any.
pub(crate) fn wrong_field(spec: &GroupSpec) -> Option<&'static str> {
    let source = match &spec.source {
        Source::Table {
            table,
            key_column,
            value_column,
            key_type: _,
        } => [
            ("table", is_table(table)),
            ("key_column", is_identifier(key_column)),
            ("value_column", is_identifier(value_column)),
        ],
        Source::Query {
            statement,
            key_type: _,
        } => [("query", is_statement(statement)), ("", true), ("", true)],
    };
    let is_window = |window: Duration| window <= MAX_TTL;
    // Minus zero equals zero and has other bits, so it would be another state.
    let is_jitter =
        spec.ttl_jitter.is_sign_positive() && (0.0..=MAX_TTL_JITTER).contains(&spec.ttl_jitter);
    let is_error_ttl = (MIN_ERROR_TTL..=MAX_ERROR_TTL).contains(&spec.error_ttl);
    let is_max_value = (1..=MAX_VALUE_BYTES).contains(&spec.max_value_bytes);
    let others = [
        ("content_type", is_content_type(&spec.content_type)),
        ("ttl", (MIN_TTL..=MAX_TTL).contains(&spec.ttl)),
        ("ttl_jitter", is_jitter),
        ("stale", is_window(spec.stale)),
        ("stale_if_error", is_window(spec.stale_if_error)),
        ("negative_ttl", is_window(spec.negative_ttl)),
        ("error_ttl", is_error_ttl),
        ("max_value_bytes", is_max_value),
        ("copies", (1..=MAX_COPIES).contains(&spec.copies)),
    ];
    let wrong = source
        .into_iter()
        .chain(others)
        .find(|(_, is_right)| !is_right);
    wrong.map(|(field, _)| field)
}
