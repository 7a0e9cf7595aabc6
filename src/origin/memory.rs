//! The embedded origin: rows in memory, with a latency and faults to order, so that a laptop without
//! PostgreSQL has a slow database to cache.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;

use super::rows::Tables;
use super::{BoxFuture, Origin, Row};
use crate::cache::{LoadError, LoadErrorKind};
use crate::topology::model::group::{Group, KeyType, Source};

/// How the embedded origin misbehaves. All zero: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Every call takes this long.
    pub latency: Duration,
    /// Plus up to this long, drawn for each call.
    pub jitter: Duration,
    /// This share of calls fails as if the database were down, 0 to 1.
    pub failure_ratio: f64,
    /// This share of calls never ends by itself, 0 to 1.
    pub hang_ratio: f64,
}

/// Which column holds what, per group source: built at a group's first load.
type Index = HashMap<Bytes, Option<Bytes>>;

/// A table and its columns of key and value.
type Name = (String, String, String);

/// Rows in memory.
pub struct Memory {
    tables: Tables,
    faults: Faults,
    indexes: RwLock<HashMap<Name, std::sync::Arc<Index>>>,
    calls: AtomicU64,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Memory {
    /// An origin with these tables.
    #[must_use]
    pub fn new(tables: Tables, faults: Faults) -> Self {
        Self {
            tables,
            faults,
            indexes: RwLock::default(),
            calls: AtomicU64::new(0),
        }
    }

    /// Returns how many times `load` was called.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn index(&self, source: &Source) -> Result<std::sync::Arc<Index>, LoadError> {
        let Source::Table {
            table,
            key_column,
            value_column,
            ..
        } = source
        else {
            return Err(refuse(
                "the embedded origin runs no queries; name a table of its file".into(),
            ));
        };
        let name = (table.clone(), key_column.clone(), value_column.clone());
        if let Some(index) = self.indexes.read().get(&name) {
            return Ok(std::sync::Arc::clone(index));
        }
        let index = std::sync::Arc::new(self.build(&name)?);
        self.indexes
            .write()
            .insert(name, std::sync::Arc::clone(&index));
        Ok(index)
    }

    /// The first row of a key wins, as a lookup by primary key has but one.
    fn build(&self, (table, key, value): &Name) -> Result<Index, LoadError> {
        let plain = table.rsplit('.').next().unwrap_or(table);
        let rows = self
            .tables
            .get(table)
            .or_else(|| self.tables.get(plain))
            .ok_or_else(|| {
                let mut known: Vec<_> = self.tables.keys().map(String::as_str).collect();
                known.sort_unstable();
                refuse(format!(
                    "no table {:?}; there is {}",
                    table,
                    known.join(", ")
                ))
            })?;
        let place = |column: &str| {
            rows.columns
                .iter()
                .position(|name| name == column)
                .ok_or_else(|| {
                    refuse(format!(
                        "table {:?} has no column {column:?}; it has {}",
                        table,
                        rows.columns.join(", ")
                    ))
                })
        };
        let (key, value) = (place(key)?, place(value)?);
        let mut index = Index::with_capacity(rows.rows.len());
        for row in &rows.rows {
            if let Some(Some(name)) = row.get(key) {
                let cell = row.get(value).cloned().flatten();
                index.entry(name.clone()).or_insert(cell);
            }
        }
        Ok(index)
    }

    async fn misbehave(&self) -> Result<(), LoadError> {
        let Faults {
            latency,
            jitter,
            failure_ratio,
            hang_ratio,
        } = self.faults;
        let wait = latency + jitter.mul_f64(fastrand::f64());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        if fastrand::f64() < hang_ratio {
            std::future::pending::<()>().await;
        }
        if fastrand::f64() < failure_ratio {
            return Err(LoadError::new(
                LoadErrorKind::Unavailable,
                "the embedded origin fails as configured",
            ));
        }
        Ok(())
    }
}

fn refuse(message: String) -> LoadError {
    LoadError::new(LoadErrorKind::BadStatement, message)
}

fn declared(source: &Source) -> Option<KeyType> {
    match source {
        Source::Table { key_type, .. } => *key_type,
        Source::Query { key_type, .. } => Some(*key_type),
    }
}

impl Origin for Memory {
    fn load<'a>(
        &'a self,
        group: &'a Group,
        keys: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Vec<Row>, LoadError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.misbehave().await?;
            let index = self.index(&group.spec.source)?;
            let key_type = declared(&group.spec.source);
            let row = |key: &Bytes| {
                if let Some(Err(error)) = key_type.map(|key_type| key_type.check(key)) {
                    return Err(LoadError::new(LoadErrorKind::BadKey, error.to_string()));
                }
                // A database's NULL: the row exists and has nothing to serve.
                Ok(index.get(key).cloned().flatten())
            };
            Ok(keys.iter().map(row).collect())
        })
    }

    fn check<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<(), LoadError>> {
        Box::pin(async move { self.index(&group.spec.source).map(|_| ()) })
    }

    fn describe(&self) -> String {
        let rows: usize = self.tables.values().map(|table| table.rows.len()).sum();
        format!("the embedded origin with {rows} rows")
    }
}
