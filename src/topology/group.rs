//! A cache group: a named cache with its origin statement and its freshness rules. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Generation, GroupId};

/// A group as the topology knows it: what an operator wrote, with the identity it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Never reused, not even for a later group of the same name.
    pub id: GroupId,
    /// The name in URLs and metrics: 1 to 64 of `a-z 0-9 _ -`, beginning with a letter.
    pub name: Arc<str>,
    /// Entries of an older generation are void.
    pub generation: Generation,
    /// What an operator wrote.
    pub spec: GroupSpec,
}

/// What an operator writes about a group. Parsed and checked by `config::groups`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// Where the rows are.
    pub source: Source,
    /// The `Content-Type` of a value.
    pub content_type: String,
    /// How long a value is fresh, before jitter.
    pub ttl: Duration,
    /// The share of `ttl` that is taken off at random, 0.0 to 0.5, so that entries filled together
    /// do not expire together.
    pub ttl_jitter: f64,
    /// How long after `ttl` a value may still be served while one refresh runs.
    pub stale: Duration,
    /// How long after `ttl` a value may be served when the origin fails. A hard cap.
    pub stale_if_error: Duration,
    /// How long the origin's "no such key" is believed.
    pub negative_ttl: Duration,
    /// How long a failed load is remembered before the origin is asked again: 100 ms to 1 s.
    pub error_ttl: Duration,
    /// A larger value is served and not stored.
    pub max_value_bytes: u64,
}

/// The rows behind a group: one table, looked up by one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `table` or `schema.table`.
    pub table: String,
    /// The column that holds the key.
    pub key_column: String,
    /// The column that holds the value.
    pub value_column: String,
}
