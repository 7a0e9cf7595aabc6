//! The spec of a group as a message, with its name. Pure.
//!
//! Durations are whole nanoseconds, and the jitter is written as its bits, so that nothing is rounded.

use std::sync::Arc;
use std::time::Duration;

use super::error::{DecodeError, bad};
use super::pb;
use crate::topology::model::group::{GroupSpec, KeyType, OnIsolated, Source};

pub(super) fn spec_to_wire(name: &str, spec: &GroupSpec) -> pb::GroupSpec {
    // A duration beyond the range is written as the longest in range: `apply` refuses both.
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    pb::GroupSpec {
        name: name.to_owned(),
        source: Some(source_to_wire(&spec.source)),
        content_type: spec.content_type.clone(),
        ttl_ns: ns(spec.ttl),
        ttl_jitter_bits: spec.ttl_jitter.to_bits(),
        stale_ns: ns(spec.stale),
        stale_if_error_ns: ns(spec.stale_if_error),
        negative_ttl_ns: ns(spec.negative_ttl),
        error_ttl_ns: ns(spec.error_ttl),
        max_value_bytes: spec.max_value_bytes,
        on_isolated: on_isolated_to_wire(spec.on_isolated),
        copies: match spec.copies {
            1 => 0,
            copies => copies.into(),
        },
    }
}

pub(super) fn spec(wire: pb::GroupSpec) -> Result<(Arc<str>, GroupSpec), DecodeError> {
    let spec = GroupSpec {
        source: source(wire.source.ok_or_else(|| bad("source"))?)?,
        content_type: wire.content_type,
        ttl: Duration::from_nanos(wire.ttl_ns),
        ttl_jitter: f64::from_bits(wire.ttl_jitter_bits),
        stale: Duration::from_nanos(wire.stale_ns),
        stale_if_error: Duration::from_nanos(wire.stale_if_error_ns),
        negative_ttl: Duration::from_nanos(wire.negative_ttl_ns),
        error_ttl: Duration::from_nanos(wire.error_ttl_ns),
        max_value_bytes: wire.max_value_bytes,
        on_isolated: on_isolated(wire.on_isolated)?,
        copies: match wire.copies {
            0 => 1,
            copies => u8::try_from(copies).map_err(|_| bad("copies"))?,
        },
    };
    Ok((wire.name.into(), spec))
}

fn source_to_wire(source: &Source) -> pb::group_spec::Source {
    match source {
        Source::Table {
            table,
            key_column,
            value_column,
            key_type,
        } => pb::group_spec::Source::Table(pb::TableSource {
            table: table.clone(),
            key_column: key_column.clone(),
            value_column: value_column.clone(),
            key_type: key_type_to_wire(*key_type),
        }),
        Source::Query {
            statement,
            key_type,
        } => pb::group_spec::Source::Query(pb::QuerySource {
            statement: statement.clone(),
            key_type: key_type_to_wire(Some(*key_type)),
        }),
    }
}

fn source(wire: pb::group_spec::Source) -> Result<Source, DecodeError> {
    match wire {
        pb::group_spec::Source::Table(table) => Ok(Source::Table {
            key_type: key_type(table.key_type)?,
            table: table.table,
            key_column: table.key_column,
            value_column: table.value_column,
        }),
        pb::group_spec::Source::Query(query) => Ok(Source::Query {
            key_type: key_type(query.key_type)?.ok_or_else(|| bad("key_type"))?,
            statement: query.statement,
        }),
    }
}

fn on_isolated_to_wire(on_isolated: OnIsolated) -> i32 {
    let wire = match on_isolated {
        OnIsolated::Serve => pb::OnIsolated::Serve,
        OnIsolated::Origin => pb::OnIsolated::Origin,
        OnIsolated::Refuse => pb::OnIsolated::Refuse,
    };
    wire.into()
}

fn on_isolated(wire: i32) -> Result<OnIsolated, DecodeError> {
    match pb::OnIsolated::try_from(wire) {
        Ok(pb::OnIsolated::Serve) => Ok(OnIsolated::Serve),
        Ok(pb::OnIsolated::Origin) => Ok(OnIsolated::Origin),
        Ok(pb::OnIsolated::Refuse) => Ok(OnIsolated::Refuse),
        Err(_) => Err(bad("on_isolated")),
    }
}

fn key_type_to_wire(key_type: Option<KeyType>) -> i32 {
    let wire = match key_type {
        None => pb::KeyType::Unspecified,
        Some(KeyType::Text) => pb::KeyType::Text,
        Some(KeyType::Bigint) => pb::KeyType::Bigint,
        Some(KeyType::Uuid) => pb::KeyType::Uuid,
    };
    wire.into()
}

fn key_type(wire: i32) -> Result<Option<KeyType>, DecodeError> {
    match pb::KeyType::try_from(wire) {
        Ok(pb::KeyType::Unspecified) => Ok(None),
        Ok(pb::KeyType::Text) => Ok(Some(KeyType::Text)),
        Ok(pb::KeyType::Bigint) => Ok(Some(KeyType::Bigint)),
        Ok(pb::KeyType::Uuid) => Ok(Some(KeyType::Uuid)),
        Err(_) => Err(bad("key_type")),
    }
}
