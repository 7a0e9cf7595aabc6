//! Reads the embedded origin's rows: a CSV file with a header line, or JSON lines.
//!
//! A file is one table, named like the file without its ending. In JSON lines a field `"table"` may
//! name another, so that one file can hold several.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;

/// A file larger than this is not meant for memory.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// One table: the names of its columns and its rows, column by column.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(super) columns: Vec<String>,
    /// A row has a cell per column; none where JSON had `null` or lacked the field.
    pub(super) rows: Vec<Vec<Option<Bytes>>>,
}

/// Tables by name.
pub type Tables = HashMap<String, Table>;

/// The rows cannot be read. Says where.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file cannot be opened or read.
    #[error("origin rows: {path}: {reason}")]
    File {
        /// As it was given.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// The file does not hold what its ending says.
    #[error("origin rows: {path}:{line}: {reason}")]
    Line {
        /// As it was given.
        path: String,
        /// From 1.
        line: u64,
        /// What is wrong there.
        reason: String,
    },
}

/// Reads `path`, by its ending: `.csv`, `.jsonl` or `.ndjson`.
///
/// # Errors
/// [`RowsError`], with the line.
pub fn read(path: &Path) -> Result<Tables, RowsError> {
    let name = path.display().to_string();
    let fail = |reason: String| RowsError::File {
        path: name.clone(),
        reason,
    };
    let size = std::fs::metadata(path)
        .map_err(|error| fail(error.to_string()))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(fail(format!(
            "{size} bytes; the embedded origin takes up to {MAX_FILE_BYTES}"
        )));
    }
    let text = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let table = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("rows");
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => csv_rows(&name, table, &text),
        Some("jsonl" | "ndjson") => match std::str::from_utf8(&text) {
            Ok(text) => json_rows(&name, table, text),
            Err(error) => Err(fail(format!("JSON is UTF-8, and this is not: {error}"))),
        },
        _ => Err(fail("the ending must be .csv, .jsonl or .ndjson".into())),
    }
}

/// Reads a CSV text as the table `table`.
///
/// # Errors
/// [`RowsError`], with the line.
pub fn from_csv(table: &str, text: &str) -> Result<Tables, RowsError> {
    csv_rows("embedded rows", table, text.as_bytes())
}

fn csv_rows(path: &str, table: &str, text: &[u8]) -> Result<Tables, RowsError> {
    let fail = |error: csv::Error| RowsError::Line {
        path: path.to_owned(),
        line: error.position().map_or(1, csv::Position::line),
        reason: error.to_string(),
    };
    let mut reader = csv::Reader::from_reader(text);
    let columns = reader
        .headers()
        .map_err(fail)?
        .iter()
        .map(str::to_owned)
        .collect();
    let mut rows = Vec::new();
    for record in reader.byte_records() {
        let record = record.map_err(fail)?;
        rows.push(
            record
                .iter()
                .map(|cell| Some(Bytes::copy_from_slice(cell)))
                .collect(),
        );
    }
    Ok(HashMap::from([(table.to_owned(), Table { columns, rows })]))
}

fn json_rows(path: &str, default_table: &str, text: &str) -> Result<Tables, RowsError> {
    let mut tables = Tables::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let fail = |reason: String| RowsError::Line {
            path: path.to_owned(),
            line: index as u64 + 1,
            reason,
        };
        let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line)
            .map_err(|error| fail(format!("not a JSON object: {error}")))?;
        let table = match object.remove("table") {
            None => default_table.to_owned(),
            Some(serde_json::Value::String(name)) => name,
            Some(other) => return Err(fail(format!("\"table\" must be a string, not {other}"))),
        };
        add(tables.entry(table).or_default(), object);
    }
    Ok(tables)
}

fn add(table: &mut Table, object: serde_json::Map<String, serde_json::Value>) {
    let mut row = vec![None; table.columns.len()];
    for (name, value) in object {
        let cell = match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(Bytes::from(text)),
            other => Some(Bytes::from(other.to_string())),
        };
        if let Some(place) = table.columns.iter().position(|column| *column == name) {
            row[place] = cell;
        } else {
            table.columns.push(name);
            row.push(cell);
        }
    }
    table.rows.push(row);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_keeps_quotes_commas_and_newlines() {
        let tables = from_csv("t", "name,score\n\"a,b\",\"1\n2\"\n").unwrap();
        assert_eq!(
            tables["t"].rows,
            [[Some("a,b".into()), Some("1\n2".into())]]
        );
    }

    #[test]
    fn a_short_csv_line_is_named() {
        let error = from_csv("t", "name,score\nTom,1\nAnn\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("origin rows: embedded rows:3:"),
            "{error}"
        );
    }

    #[test]
    fn json_lines_may_hold_several_tables_and_uneven_rows() {
        let text =
            "{\"k\":\"a\",\"v\":1}\n\n{\"table\":\"other\",\"k\":true}\n{\"k\":\"b\",\"w\":null}\n";
        let tables = json_rows("x.jsonl", "x", text).unwrap();
        assert_eq!(tables["x"].columns, ["k", "v", "w"]);
        assert_eq!(tables["x"].rows[0], [Some("a".into()), Some("1".into())]);
        assert_eq!(tables["other"].rows, [[Some("true".into())]]);
        let error = json_rows("x.jsonl", "x", "{}\n[1]\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("origin rows: x.jsonl:2: not a JSON object"),
            "{error}"
        );
    }
}
