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
use crate::topology::group::{Group, Source};

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

/// Rows in memory.
pub struct Memory {
    tables: Tables,
    faults: Faults,
    indexes: RwLock<HashMap<(String, String, String), std::sync::Arc<Index>>>,
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

    /// How many times `load` was called.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn index(&self, source: &Source) -> Result<std::sync::Arc<Index>, LoadError> {
        let name = (
            source.table.clone(),
            source.key_column.clone(),
            source.value_column.clone(),
        );
        if let Some(index) = self.indexes.read().get(&name) {
            return Ok(std::sync::Arc::clone(index));
        }
        let index = std::sync::Arc::new(self.build(source)?);
        self.indexes
            .write()
            .insert(name, std::sync::Arc::clone(&index));
        Ok(index)
    }

    /// The first row of a key wins, as a lookup by primary key has but one.
    fn build(&self, source: &Source) -> Result<Index, LoadError> {
        let refuse = |message: String| LoadError::new(LoadErrorKind::BadStatement, message);
        let plain = source.table.rsplit('.').next().unwrap_or(&source.table);
        let table = self
            .tables
            .get(&source.table)
            .or_else(|| self.tables.get(plain))
            .ok_or_else(|| {
                let mut known: Vec<_> = self.tables.keys().map(String::as_str).collect();
                known.sort_unstable();
                refuse(format!(
                    "no table {:?}; there is {}",
                    source.table,
                    known.join(", ")
                ))
            })?;
        let place = |column: &str| {
            table
                .columns
                .iter()
                .position(|name| name == column)
                .ok_or_else(|| {
                    refuse(format!(
                        "table {:?} has no column {column:?}; it has {}",
                        source.table,
                        table.columns.join(", ")
                    ))
                })
        };
        let (key, value) = (place(&source.key_column)?, place(&source.value_column)?);
        let mut index = Index::with_capacity(table.rows.len());
        for row in &table.rows {
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
                "the embedded origin was told to fail",
            ));
        }
        Ok(())
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
            let row = |key: &Bytes| match index.get(key) {
                None => Ok(None),
                // A database's NULL: the row exists and has nothing to serve.
                Some(None) => Ok(None),
                Some(Some(value)) => Ok(Some(value.clone())),
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
