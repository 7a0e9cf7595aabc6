//! What operators' commands print: tables for people, JSON for programs.

use std::io::Write;

use serde_json::Value;

use super::failure::Failure;

/// Writes a result to stdout, with a line's end if a person reads it.
pub(super) fn write(result: &[u8], newline: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(result).and_then(|()| {
        if newline {
            out.write_all(b"\n")
        } else {
            Ok(())
        }
    });
    match written.and_then(|()| out.flush()) {
        // A reader that had enough, such as head, is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Failure::Failed(format!("cannot write to stdout: {error}"))),
    }
}

/// Prints JSON, with a line's end.
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    write(format!("{value:#}\n").as_bytes(), false)
}

/// Rows as columns for people: as wide as the widest, with a headline.
pub(super) fn table(columns: &[&str], rows: &[Value]) -> String {
    let cell = |row: &Value, column: &str| plain(&row[column]);
    let width = |column: &&str| {
        let widths = rows.iter().map(|row| cell(row, column).chars().count());
        widths.chain([column.len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let line = |cells: Vec<String>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let head = columns.iter().map(|column| column.to_uppercase());
    let mut text = line(head.collect());
    for row in rows {
        text.push_str(&line(
            columns.iter().map(|column| cell(row, column)).collect(),
        ));
    }
    text
}

/// A value without quotes; a dash for none.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Fields as lines: a name and its value each; lists without brackets.
pub(super) fn fields(names: &[&str], value: &Value) -> String {
    let width = names.iter().map(|name| name.len()).max();
    let width = width.unwrap_or_default();
    let line = |name: &&str| {
        let shown = match &value[*name] {
            Value::Array(items) if items.is_empty() => "none".into(),
            Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
            other => plain(other),
        };
        format!("{name:<width$}  {shown}\n")
    };
    names.iter().map(line).collect()
}
