//! What an operator should know of a group before it is applied: whether its statement prepares, finds
//! its rows by an index, and whether the role could write.
//!
//! All of it in one read-only transaction that is rolled back, on a connection that nobody else uses
//! meanwhile. Nothing is executed but look-ups in the catalog: the statement is planned and no more.

use super::connect::Connection;
use super::error::of_statement;
use super::plan::{Plan, quoted};
use super::scans::{Scan, scans};
use super::{Shared, to_the_end};
use crate::cache::{LoadError, LoadErrorKind};
use crate::ids::GroupId;
use crate::origin::Finding;
use crate::topology::model::group::{Group, Source};

/// The group whose lane inspections are on. No group is ever given this id, so that no load comes between the
/// statements of the transaction.
const INSPECTIONS: GroupId = GroupId(0);

/// A table that each load may read whole without a word: it is a page or two.
const MAX_SCANNED_ROWS: f64 = 1_000.0;

/// Tables that one warning names; of more the number is given.
const MAX_NAMED_TABLES: usize = 3;

/// The prepared statement's name. It ends with the inspection.
const PREPARED: &str = "inspected";

/// What the catalog says of a table that the statement reads.
struct Table {
    name: String,
    /// As the planner estimates them.
    rows: f64,
    is_writable: bool,
    /// Each load reads all of it.
    is_whole: bool,
}

impl Shared {
    /// Returns what is to be said of `group`. One inspection at a time, so that all of them together hold one
    /// connection.
    pub(super) async fn inspect(&self, group: &Group) -> Result<Vec<Finding>, LoadError> {
        let _alone = self.inspecting.lock().await;
        let seat = self.seat(INSPECTIONS).await?;
        let inspected = async {
            let found = rolled_back(&seat, &group.spec.source, self.is_read_only).await;
            if found.is_err() {
                // Whatever state it is in, nobody else is to find it so.
                seat.give_up();
                seat.condemn();
            }
            found
        };
        to_the_end(&seat, inspected).await
    }
}

/// The findings of a transaction that leaves nothing behind.
async fn rolled_back(
    connection: &Connection,
    source: &Source,
    is_read_only: bool,
) -> Result<Vec<Finding>, LoadError> {
    batch(connection, "BEGIN READ ONLY").await?;
    let findings = match findings(connection, source, is_read_only).await {
        Ok(findings) => findings,
        Err(error) => Finding::of(Err(error))?,
    };
    batch(connection, "ROLLBACK; DEALLOCATE ALL").await?;
    connection.client().statement_cache.clear();
    Ok(findings)
}

async fn batch(connection: &Connection, text: &str) -> Result<(), LoadError> {
    let done = connection.client().batch_execute(text).await;
    done.map_err(|error| of_statement(&error))
}

/// Fails with what makes the group unusable; what is found is only worth a warning.
async fn findings(
    connection: &Connection,
    source: &Source,
    is_read_only: bool,
) -> Result<Vec<Finding>, LoadError> {
    let plan = Plan::make(connection, source).await?;
    let scans = scans(&explain(connection, &plan).await?);
    let tables = tables(connection, source, &scans).await?;
    let is_slow = |table: &&Table| table.is_whole && table.rows > MAX_SCANNED_ROWS;
    let whole: Vec<&Table> = tables.iter().filter(is_slow).collect();
    let mut findings = Vec::new();
    findings.extend(no_index(&whole, source));
    if !is_read_only {
        findings.extend(may_write(connection, &tables).await?);
    }
    Ok(findings)
}

/// The plan for any keys, as JSON, with every index that can be used in use: where the whole table is
/// read even so, there is none.
async fn explain(connection: &Connection, plan: &Plan) -> Result<String, LoadError> {
    // Servers before version 12 do not know the first of them, and plan for no keys at all.
    let prepare = format!(
        "SELECT pg_catalog.set_config(name, 'force_generic_plan', true) \
         FROM pg_catalog.pg_settings WHERE name = 'plan_cache_mode'; \
         SET LOCAL enable_seqscan = off; \
         PREPARE {PREPARED} ({}[]) AS {}",
        plan.key_type.name(),
        plan.text
    );
    batch(connection, &prepare).await?;
    let text = format!("EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE {PREPARED} ('{{}}')");
    let explained = connection.client().simple_query(&text).await;
    let lines = explained.map_err(|error| of_statement(&error))?;
    let row = lines.iter().find_map(|line| match line {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.unwrap_or_default().to_owned())
}

/// Asks the catalog about the tables of `scans`, in their order, and of the one that the group names
/// if that is another: a view's rights are its own.
async fn tables(
    connection: &Connection,
    source: &Source,
    scans: &[Scan],
) -> Result<Vec<Table>, LoadError> {
    // The planner's own estimate: rows per page when they were last counted, times the pages now. Not
    // counted yet, a row is taken for 100 bytes.
    const TEXT: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), \
         coalesce(CASE WHEN c.relpages > 0 AND c.reltuples >= 0 \
           THEN c.reltuples::float8 * pg_catalog.pg_relation_size(c.oid) \
             / pg_catalog.current_setting('block_size')::float8 / c.relpages \
           ELSE pg_catalog.pg_relation_size(c.oid)::float8 / 100 END, 0), \
         pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') \
           OR pg_catalog.has_any_column_privilege(c.oid, 'INSERT, UPDATE'), t.place \
         FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t (s, r, place) \
         JOIN pg_catalog.pg_namespace n ON n.nspname = t.s \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.r \
         ORDER BY t.place";
    let named = match source {
        Source::Table { table, .. } => named(connection, table).await?,
        Source::Query { .. } => None,
    };
    let mut places: Vec<(&str, &str)> = scans
        .iter()
        .map(|scan| (scan.schema.as_str(), scan.table.as_str()))
        .collect();
    if let Some((schema, table)) = &named
        && !places.contains(&(schema, table))
    {
        places.push((schema, table));
    }
    let (schemas, relations): (Vec<&str>, Vec<&str>) = places.into_iter().unzip();
    let rows = connection
        .client()
        .query(TEXT, &[&schemas, &relations])
        .await;
    let rows = rows.map_err(|error| of_catalog(&error))?;
    let table = |row: &tokio_postgres::Row| Table {
        name: row.get(0),
        rows: row.get(1),
        is_writable: row.get(2),
        is_whole: scan_at(scans, row.get(3)).is_some_and(|scan| scan.is_whole),
    };
    Ok(rows.iter().map(table).collect())
}

/// The scan at a place that PostgreSQL counted from 1; none for the table that is named besides.
fn scan_at(scans: &[Scan], place: i64) -> Option<&Scan> {
    scans.get(usize::try_from(place).ok()?.checked_sub(1)?)
}

/// Says why the catalog could not be asked: that is no mistake of the group.
fn of_catalog(error: &tokio_postgres::Error) -> LoadError {
    let reason = of_statement(error).message;
    LoadError::new(
        LoadErrorKind::Internal,
        format!("the catalog cannot be read: {reason}"),
    )
}

/// The schema and the name of the group's own table.
async fn named(
    connection: &Connection,
    table: &str,
) -> Result<Option<(String, String)>, LoadError> {
    const TEXT: &str = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = pg_catalog.to_regclass($1)";
    let found = connection.client().query_opt(TEXT, &[&quoted(table)]).await;
    let found = found.map_err(|error| of_catalog(&error))?;
    Ok(found.map(|row| (row.get(0), row.get(1))))
}

fn no_index(whole: &[&Table], source: &Source) -> Option<Finding> {
    let (first, _) = whole.split_first()?;
    let each = |table: &&Table| format!("{} (about {:.0} rows)", table.name, table.rows);
    let read = listed(whole.iter().map(each).collect());
    let right = match source {
        Source::Table { key_column, .. } => {
            format!("CREATE INDEX ON {} (\"{key_column}\")", first.name)
        }
        Source::Query { .. } => {
            "an index that begins with the column that $1 is compared to".into()
        }
    };
    Some(Finding::warning(format!(
        "each load reads all of {read}, because no index can be used: {right} would end that"
    )))
}

async fn may_write(
    connection: &Connection,
    tables: &[Table],
) -> Result<Option<Finding>, LoadError> {
    const TEXT: &str = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
    const RIGHT: &str = "what gcache sends is read-only, but a role that has nothing else cannot be \
         misused: GRANT SELECT and no more; or say that this is known, by origin.read_only = true";
    let found = connection.client().query_opt(TEXT, &[]).await;
    let found = found.map_err(|error| of_catalog(&error))?;
    if found.is_some_and(|row| row.get(0)) {
        let text = format!("the role is a superuser and may write anything; {RIGHT}");
        return Ok(Some(Finding::warning(text)));
    }
    let writable = tables.iter().filter(|table| table.is_writable);
    let writable: Vec<String> = writable.map(|table| table.name.clone()).collect();
    Ok((!writable.is_empty()).then(|| {
        let text = format!("the role may write to {}; {RIGHT}", listed(writable));
        Finding::warning(text)
    }))
}

/// The first few, and how many more there are.
fn listed(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(MAX_NAMED_TABLES);
    names.truncate(MAX_NAMED_TABLES);
    let text = names.join(", ");
    match more {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(count: usize) -> Vec<Table> {
        let table = |number| Table {
            name: format!("public.t{number}"),
            rows: 20_000.4,
            is_writable: false,
            is_whole: true,
        };
        (0..count).map(table).collect()
    }

    #[test]
    fn a_place_is_counted_from_one() {
        let scan = |table: &str| Scan {
            schema: "public".into(),
            table: table.into(),
            is_whole: true,
        };
        let scans = [scan("a"), scan("b")];
        let named = |place| scan_at(&scans, place).map(|scan| scan.table.as_str());
        assert_eq!([0, 1, 2, 3].map(named), [None, Some("a"), Some("b"), None]);
    }

    #[test]
    fn a_warning_names_a_few_tables_and_counts_the_rest() {
        let tables = tables(5);
        let whole: Vec<&Table> = tables.iter().collect();
        let source = Source::Table {
            table: "t0".into(),
            key_column: "id".into(),
            value_column: "v".into(),
            key_type: None,
        };
        let found = no_index(&whole, &source).unwrap();
        assert!(!found.is_error);
        for words in [
            "public.t0 (about 20000 rows), public.t1",
            "and 2 more",
            "CREATE INDEX ON public.t0 (\"id\")",
        ] {
            assert!(found.text.contains(words), "{words} in {}", found.text);
        }
        assert!(!found.text.contains("t3"), "{}", found.text);
        assert_eq!(no_index(&[], &source), None);
    }
}
