//! Running a group's statement: an array of keys goes out, rows of key and value come back.

use std::collections::HashMap;

use bytes::Bytes;
use postgres_types::{FromSql, Type};
use tokio_postgres::Row as Tuple;
use uuid::Uuid;

use super::connect::Connection;
use super::error::{bad_statement, is_outdated, of_statement};
use super::keys::{array, array_type};
use super::plan::Plan;
use crate::cache::{LoadError, LoadErrorKind};
use crate::origin::Row;
use crate::topology::model::group::KeyType;

/// A column as it came, whatever its type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A row for each of `keys`, which differ and were checked, in their order.
///
/// # Errors
/// What PostgreSQL says of the statement, or what is wrong with the rows that it returns.
pub(super) async fn run(
    connection: &Connection,
    plan: &Plan,
    keys: &[Bytes],
) -> Result<Vec<Row>, LoadError> {
    let client = connection.client();
    let keys_array = array(plan.key_type, keys);
    let types = [array_type(plan.key_type)];
    for is_again in [false, true] {
        let prepared = client.prepare_typed_cached(&plan.text, &types).await;
        let statement = prepared.map_err(|error| of_statement(&error))?;
        if statement.columns()[2].type_() != &plan.value_type {
            // Either the table changed after the plan was made, or this connection prepared the same
            // text before it did.
            if is_again {
                return Err(bad_statement("the type of the value column has changed"));
            }
            client.statement_cache.clear();
            continue;
        }
        match client.query(&statement, &[&*keys_array]).await {
            Ok(tuples) => return sort_out(plan.key_type, keys, &tuples),
            Err(error) if is_outdated(&error) && !is_again => {
                client.statement_cache.clear();
            }
            Err(error) => return Err(of_statement(&error)),
        }
    }
    unreachable!("the second round returns")
}

fn sort_out(key_type: KeyType, keys: &[Bytes], tuples: &[Tuple]) -> Result<Vec<Row>, LoadError> {
    let place: HashMap<&[u8], usize> = keys
        .iter()
        .enumerate()
        .map(|(place, key)| (&key[..], place))
        .collect();
    let mut rows: Vec<Option<Row>> = vec![None; keys.len()];
    for tuple in tuples {
        let key = key_of(key_type, tuple)?;
        let Some(place) = key.and_then(|key| place.get(key.as_bytes()).copied()) else {
            return Err(bad_statement(
                "the statement returns a row whose key was not asked for",
            ));
        };
        let row = match &rows[place] {
            None => Ok(value_of(tuple)?),
            Some(_) => Err(LoadError::new(
                LoadErrorKind::BadValue,
                "the statement returns more than one row for this key",
            )),
        };
        rows[place] = Some(row);
    }
    Ok(rows
        .into_iter()
        .map(|row| row.unwrap_or(Ok(None)))
        .collect())
}

/// The key of a row as callers write it; none if it is NULL.
fn key_of(key_type: KeyType, tuple: &Tuple) -> Result<Option<String>, LoadError> {
    Ok(match key_type {
        KeyType::Text => cell::<String>(tuple, 0)?,
        KeyType::Bigint => cell::<i64>(tuple, 0)?.map(|number| number.to_string()),
        KeyType::Uuid => cell::<Uuid>(tuple, 0)?.map(|uuid| uuid.hyphenated().to_string()),
    })
}

/// The value of a row; none if it is NULL: the row exists and has nothing to serve.
fn value_of(tuple: &Tuple) -> Result<Option<Bytes>, LoadError> {
    let value = cell::<Raw<'_>>(tuple, 1)?;
    Ok(value.map(|Raw(bytes)| Bytes::copy_from_slice(bytes)))
}

fn cell<'a, T: FromSql<'a>>(tuple: &'a Tuple, column: usize) -> Result<Option<T>, LoadError> {
    tuple.try_get(column).map_err(|_| {
        LoadError::new(
            LoadErrorKind::Internal,
            "PostgreSQL returned another type than it had announced",
        )
    })
}
