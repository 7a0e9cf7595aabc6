//! From a group's source to the statement that loads it, checked against the database's catalog.
//!
//! The statement as the operator meant it is prepared first, which shows the types of its columns. What
//! runs is that statement as a subquery: PostgreSQL then writes the value as text, in the form that
//! `psql` shows, and refuses a statement that is not a SELECT.

use postgres_types::{Kind, Type};

use super::connect::Connection;
use super::error::{bad_statement, of_statement};
use super::keys::{array, array_type};
use crate::cache::{LoadError, LoadErrorKind};
use crate::topology::model::group::{KeyType, Source};

/// How a group is loaded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The statement: one parameter, the array of keys; three columns. Key and value, and one that is
    /// always NULL and of the value's own type: with it PostgreSQL reports when that type changes, which
    /// the cast would hide, and bytes would be served as their text.
    pub(super) text: String,
    /// What keys are.
    pub(super) key_type: KeyType,
    /// The type of the value before it was made bytes.
    pub(super) value_type: Type,
    /// The table has no index that begins with the key column.
    pub(super) lacks_index: bool,
}

impl Plan {
    /// Makes the plan of `source` on `connection`.
    ///
    /// # Errors
    /// What is wrong with the table, the columns or the query; or that PostgreSQL cannot be asked.
    pub(super) async fn make(connection: &Connection, source: &Source) -> Result<Self, LoadError> {
        let (statement, declared) = match source {
            Source::Query {
                statement,
                key_type,
            } => (statement.clone(), *key_type),
            Source::Table { key_type, .. } => {
                let declared = match key_type {
                    Some(key_type) => *key_type,
                    None => catalog_key_type(connection, source).await?,
                };
                (select(source, true), declared)
            }
        };
        let prepared = connection
            .client()
            .prepare_typed(&statement, &[array_type(declared)])
            .await
            .map_err(|error| of_statement(&error))?;
        let [key, value] = prepared.columns() else {
            let reason = format!(
                "the query returns {} columns; two are wanted, key and value",
                prepared.columns().len()
            );
            return Err(bad_statement(reason));
        };
        if key_type_of(key.type_()) != Some(declared) {
            let reason = format!(
                "the query returns keys of type {}, and the group's key_type is {}",
                key.type_().name(),
                declared.name()
            );
            return Err(bad_statement(reason));
        }
        let cast = value_cast(value.type_())?;
        let lacks_index = lacks_index(connection, source).await?;
        let key_cast = if declared == KeyType::Bigint {
            "int8"
        } else {
            declared.name()
        };
        let plan = Self {
            // A comment at the end of the query ends with its line.
            text: format!(
                "SELECT q.k::{key_cast}, q.v{cast}, CASE WHEN false THEN q.v END \
                 FROM (\n{statement}\n) AS q (k, v)"
            ),
            key_type: declared,
            value_type: value.type_().clone(),
            lacks_index,
        };
        plan.prepare(connection).await?;
        Ok(plan)
    }

    /// Prepares what will run. That the operator's statement can be prepared is known by then.
    async fn prepare(&self, connection: &Connection) -> Result<(), LoadError> {
        let types = [array_type(self.key_type)];
        let prepared = connection
            .client()
            .prepare_typed_cached(&self.text, &types)
            .await;
        prepared.map(|_| ()).map_err(|error| {
            let mut error = of_statement(&error);
            if error.kind == LoadErrorKind::BadStatement {
                error = bad_statement(format!(
                    "the query must be one SELECT that can be a subquery: {}",
                    error.message
                ));
            }
            error
        })
    }

    /// Lets PostgreSQL plan the statement, which it does only for a role that may read what it reads.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub(super) async fn explain(&self, connection: &Connection) -> Result<(), LoadError> {
        let client = connection.client();
        let text = format!("EXPLAIN {}", self.text);
        let none = array(self.key_type, &[]);
        let types = [array_type(self.key_type)];
        let explained = async {
            let statement = client.prepare_typed(&text, &types).await?;
            client.query(&statement, &[&*none]).await
        };
        explained.await.map_err(|error| of_statement(&error))?;
        Ok(())
    }
}

/// The statement that reads a table: for the keys in `$1`, or for none.
fn select(source: &Source, for_keys: bool) -> String {
    let Source::Table {
        table,
        key_column,
        value_column,
        ..
    } = source
    else {
        unreachable!("only tables are asked for their statement")
    };
    let table = quoted(table);
    let all = format!("SELECT \"{key_column}\", \"{value_column}\" FROM {table}");
    if for_keys {
        format!("{all} WHERE \"{key_column}\" = ANY($1)")
    } else {
        all
    }
}

/// `schema.table` with each part quoted: the groups file lets nothing but identifiers through.
pub(super) fn quoted(table: &str) -> String {
    let parts: Vec<_> = table.split('.').map(|part| format!("\"{part}\"")).collect();
    parts.join(".")
}

/// Asks the catalog what keys are by the type of the table's key column.
async fn catalog_key_type(connection: &Connection, source: &Source) -> Result<KeyType, LoadError> {
    let prepared = connection
        .client()
        .prepare(&select(source, false))
        .await
        .map_err(|error| of_statement(&error))?;
    let key = &prepared.columns()[0];
    key_type_of(key.type_()).ok_or_else(|| {
        bad_statement(format!(
            "the key column {:?} has type {}; keys are text, varchar, uuid or a whole number",
            key.name(),
            key.type_().name()
        ))
    })
}

/// Returns what keys a column of this type holds; none if it cannot hold any.
///
/// Not `char(n)`, whose values are equal to what does not look like them.
fn key_type_of(column: &Type) -> Option<KeyType> {
    match base(column) {
        &Type::TEXT | &Type::VARCHAR | &Type::NAME => Some(KeyType::Text),
        &Type::INT2 | &Type::INT4 | &Type::INT8 => Some(KeyType::Bigint),
        &Type::UUID => Some(KeyType::Uuid),
        _ => None,
    }
}

/// Returns what makes a value's bytes of a column of this type: nothing for those that are bytes.
fn value_cast(column: &Type) -> Result<&'static str, LoadError> {
    const TEXT_FORM: [Type; 22] = [
        Type::TEXT,
        Type::VARCHAR,
        Type::BPCHAR,
        Type::NAME,
        Type::JSON,
        Type::JSONB,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::BOOL,
        Type::UUID,
        Type::DATE,
        Type::TIME,
        Type::TIMETZ,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::INTERVAL,
        Type::XML,
    ];
    let column = base(column);
    if *column == Type::BYTEA {
        Ok("")
    } else if TEXT_FORM.contains(column) || matches!(column.kind(), Kind::Enum(_)) {
        Ok("::text")
    } else {
        Err(bad_statement(format!(
            "the value column has type {}, which cannot be served; a query can make text or json of it",
            column.name()
        )))
    }
}

/// The type that a domain restricts.
fn base(column: &Type) -> &Type {
    match column.kind() {
        Kind::Domain(inner) => base(inner),
        _ => column,
    }
}

/// Whether a table has no index that begins with its key column, so that each load would read it all.
async fn lacks_index(connection: &Connection, source: &Source) -> Result<bool, LoadError> {
    let Source::Table {
        table, key_column, ..
    } = source
    else {
        return Ok(false);
    };
    // Views and foreign tables have no indexes of their own.
    const TEXT: &str = "SELECT c.relkind IN ('r', 'p', 'm') AND NOT EXISTS ( \
         SELECT FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
         WHERE i.indrelid = c.oid AND a.attname = $2 AND i.indisvalid AND i.indpred IS NULL) \
         FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)";
    let client = connection.client();
    let asked = async {
        let statement = client
            .prepare_typed_cached(TEXT, &[Type::TEXT, Type::TEXT])
            .await?;
        client
            .query_opt(&statement, &[&quoted(table), key_column])
            .await
    };
    let found = asked.await.map_err(|error| of_statement(&error))?;
    Ok(found.is_some_and(|row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted_one_by_one() {
        let source = Source::Table {
            table: "App.user".into(),
            key_column: "id".into(),
            value_column: "select".into(),
            key_type: None,
        };
        assert_eq!(
            select(&source, true),
            "SELECT \"id\", \"select\" FROM \"App\".\"user\" WHERE \"id\" = ANY($1)"
        );
    }

    #[test]
    fn a_value_has_a_text_form_or_is_refused_by_name() {
        assert_eq!(value_cast(&Type::BYTEA), Ok(""));
        assert_eq!(value_cast(&Type::TIMESTAMPTZ), Ok("::text"));
        let refused = value_cast(&Type::INT4_ARRAY).unwrap_err();
        assert!(refused.message.contains("type _int4,"), "{refused}");
    }
}
