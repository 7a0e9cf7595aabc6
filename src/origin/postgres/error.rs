//! What a failure of PostgreSQL means for a load: whose fault it is, and whether asking again can help.
//!
//! Messages reach HTTP clients, so that they name tables and columns, which an operator wrote, but never
//! what rows hold nor who logs in.

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::cache::{LoadError, LoadErrorKind};

/// The origin cannot be used as it is configured. Nothing was connected yet.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub(super) String);

/// PostgreSQL cannot be asked now.
pub(super) fn unavailable(message: impl Into<String>) -> LoadError {
    LoadError::new(LoadErrorKind::Unavailable, message)
}

/// The group's statement is wrong.
pub(super) fn bad_statement(message: impl Into<String>) -> LoadError {
    LoadError::new(LoadErrorKind::BadStatement, message)
}

/// Says why no connection could be had.
pub(super) fn of_pool(error: &PoolError) -> LoadError {
    match error {
        PoolError::Backend(error) => of_connect(error),
        PoolError::Timeout(TimeoutType::Create) => {
            unavailable("PostgreSQL did not let us in within origin.connect_timeout")
        }
        PoolError::Timeout(_) => unavailable("no connection to PostgreSQL came free in time"),
        other => unavailable(format!("no connection to PostgreSQL: {other}")),
    }
}

/// Says why connecting failed: always a matter of the server or of how it is reached.
fn of_connect(error: &Error) -> LoadError {
    match error.as_db_error() {
        Some(refusal) if refusal.code().code().starts_with("28") => unavailable(format!(
            "PostgreSQL refuses the log-in: a wrong user or password, or pg_hba.conf does not let \
             this host in ({})",
            refusal.code().code()
        )),
        // PostgreSQL's own message may name the user.
        Some(refusal) if *refusal.code() == SqlState::TOO_MANY_CONNECTIONS => unavailable(
            "PostgreSQL has no connection left: max_connections, or a limit of the database or of \
             the user, is reached (53300)",
        ),
        Some(refusal) => unavailable(describe(refusal)),
        None => unavailable(format!(
            "cannot connect to PostgreSQL: {}",
            innermost(error)
        )),
    }
}

/// Says why a statement failed.
pub(super) fn of_statement(error: &Error) -> LoadError {
    let Some(refusal) = error.as_db_error() else {
        return unavailable(format!(
            "the connection to PostgreSQL was lost: {}",
            innermost(error)
        ));
    };
    let code = refusal.code();
    match kind(code) {
        LoadErrorKind::BadValue => LoadError::new(
            LoadErrorKind::BadValue,
            format!(
                "PostgreSQL cannot make a value of what the row holds ({})",
                code.code()
            ),
        ),
        LoadErrorKind::Timeout => LoadError::new(
            LoadErrorKind::Timeout,
            format!(
                "PostgreSQL ended the statement, which took too long ({})",
                code.code()
            ),
        ),
        kind => LoadError::new(kind, describe(refusal)),
    }
}

/// By SQLSTATE, of which the first two characters are the class (PostgreSQL's appendix A).
fn kind(code: &SqlState) -> LoadErrorKind {
    if matches!(
        *code,
        SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE
    ) {
        return LoadErrorKind::Timeout;
    }
    match code.code().get(..2) {
        // A data exception: a division by zero, text that is no number.
        Some("22") => LoadErrorKind::BadValue,
        // Connection, transaction rollback, resources, operator intervention, system, internal;
        // log-in and database.
        Some("08" | "28" | "3D" | "40" | "53" | "55" | "57" | "58" | "XX") => {
            LoadErrorKind::Unavailable
        }
        _ => LoadErrorKind::BadStatement,
    }
}

/// Whether the statement was prepared for a table that has changed since, or by a connection that has
/// forgotten it: preparing it again may help.
pub(super) fn is_outdated(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        matches!(
            *code,
            SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::FEATURE_NOT_SUPPORTED
        )
    })
}

fn describe(refusal: &DbError) -> String {
    let (message, code) = (refusal.message(), refusal.code().code());
    match refusal.hint() {
        Some(hint) => format!("PostgreSQL: {message} ({code}); {hint}"),
        None => format!("PostgreSQL: {message} ({code})"),
    }
}

/// The cause of the causes: what the system or rustls says, without what each layer puts before it.
fn innermost(error: &Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_the_state_says_whose_fault_it_is() {
        for (code, expected) in [
            ("57014", LoadErrorKind::Timeout),
            ("55P03", LoadErrorKind::Timeout),
            ("57P01", LoadErrorKind::Unavailable),
            ("53300", LoadErrorKind::Unavailable),
            ("40001", LoadErrorKind::Unavailable),
            ("08006", LoadErrorKind::Unavailable),
            ("28P01", LoadErrorKind::Unavailable),
            ("3D000", LoadErrorKind::Unavailable),
            ("22P02", LoadErrorKind::BadValue),
            ("22012", LoadErrorKind::BadValue),
            ("42P01", LoadErrorKind::BadStatement),
            ("42501", LoadErrorKind::BadStatement),
            ("25006", LoadErrorKind::BadStatement),
            ("0A000", LoadErrorKind::BadStatement),
            ("P0001", LoadErrorKind::BadStatement),
        ] {
            assert_eq!(kind(&SqlState::from_code(code)), expected, "{code}");
        }
    }
}
