//! The origin: where values are loaded from. One trait, one implementation per kind of origin.
//!
//! Called by a node's loader and by the load generator's verification, in batches; nothing here caches,
//! retries or coalesces.

pub mod memory;
mod postgres;
pub mod rows;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

pub use self::postgres::OpenError;
use self::rows::RowsError;
use crate::cache::{LoadError, LoadErrorKind};
use crate::config;
use crate::metrics::Registry;
use crate::topology::model::group::Group;

/// What became of one key: its value, none if the origin has no such key, or why it cannot be had.
pub type Row = Result<Option<Bytes>, LoadError>;

/// A boxed future, so that an origin can be chosen when the process starts.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that an operator should know of a group before it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The group cannot be loaded; otherwise it can.
    pub is_error: bool,
    /// What was found, and what would be right; never a value or a credential.
    pub text: String,
}

impl Finding {
    /// The group cannot be loaded, for this reason.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            is_error: true,
            text: text.into(),
        }
    }

    /// The group can be loaded, but.
    #[must_use]
    pub fn warning(text: impl Into<String>) -> Self {
        Self {
            is_error: false,
            text: text.into(),
        }
    }

    /// Returns what a check comes to: a mistake of the group is a finding, a failure of the origin an error.
    fn of(checked: Result<(), LoadError>) -> Result<Vec<Self>, LoadError> {
        match checked {
            Ok(()) => Ok(Vec::new()),
            Err(error) => match error.kind {
                LoadErrorKind::BadStatement | LoadErrorKind::BadValue | LoadErrorKind::BadKey => {
                    Ok(vec![Self::error(error.message)])
                }
                LoadErrorKind::Unavailable
                | LoadErrorKind::Timeout
                | LoadErrorKind::Overloaded
                | LoadErrorKind::Internal => Err(error),
            },
        }
    }
}

/// Where values come from.
pub trait Origin: Send + Sync + std::fmt::Debug {
    /// Loads `keys` of `group` in one call: the result has one row per key, in their order.
    ///
    /// The caller bounds the time and the number of calls at once, and may drop the future: then the
    /// origin should stop working for it.
    ///
    /// # Errors
    /// If the whole call failed; a single key's failure is its row's.
    fn load<'a>(
        &'a self,
        group: &'a Group,
        keys: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Vec<Row>, LoadError>>;

    /// Whether `group` can be loaded at all, found out without touching its rows.
    ///
    /// # Errors
    /// What is wrong with the group, or with the origin.
    fn check<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<(), LoadError>>;

    /// Returns what is to be said of a group before it is applied, found out without reading its rows and
    /// leaving no trace of it. Its id may be one that no group has.
    ///
    /// An origin that knows no more than [`check`](Self::check) need not say more. The caller bounds
    /// the time, and may drop the future.
    ///
    /// # Errors
    /// Why it could not be found out: the origin is away or too slow. What is wrong with the group is
    /// a finding.
    fn inspect<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<Vec<Finding>, LoadError>> {
        Box::pin(async { Finding::of(self.check(group).await) })
    }

    /// Makes ready what the first loads would have to wait for. Everything works without it, later.
    ///
    /// The caller bounds the time, and may drop the future.
    ///
    /// # Errors
    /// Why it is not ready: the origin is away.
    fn prepare(&self) -> BoxFuture<'_, Result<(), LoadError>> {
        Box::pin(async { Ok(()) })
    }

    /// The origin as an operator may see it: no credentials.
    fn describe(&self) -> String;

    /// Begins to count in `registry`, if the origin has something to count that its callers do not.
    fn register(&self, _registry: &Registry) {}
}

/// An origin at a PostgreSQL server, within the bounds of `section`. It connects when it is first asked, for
/// rows or to prepare: a server that is away is no error here.
///
/// # Errors
/// What is wrong with the URL or with the files that it and `section` name; never a credential.
pub fn open_postgres(
    url: &config::PostgresUrl,
    section: &config::Origin,
) -> Result<Arc<dyn Origin>, OpenError> {
    Ok(Arc::new(postgres::Postgres::open(url, section)?))
}

/// Opens an embedded origin with the rows of a file.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn open_rows(path: &Path, faults: memory::Faults) -> Result<Arc<dyn Origin>, RowsError> {
    Ok(Arc::new(memory::Memory::new(rows::read(path)?, faults)))
}

/// An embedded origin with the rows of a CSV text, as table `table`.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn embedded(
    table: &str,
    csv: &str,
    faults: memory::Faults,
) -> Result<Arc<dyn Origin>, RowsError> {
    Ok(Arc::new(memory::Memory::new(
        rows::from_csv(table, csv)?,
        faults,
    )))
}
