//! TOML text to a table with positions, every syntax error noted. Pure.
//!
//! The rest of a document with syntax errors is still read, so that its other mistakes are
//! reported in the same run, unless a broken header makes it unclear what belongs where.

use std::collections::HashSet;

use toml::de::{DeTable, DeValue};

use super::place::{Lines, Place, SourceFile};
use super::report::{Mistakes, quote};
use super::rule::Rule;
use super::suggest::instead_of;
use super::value::Given;

/// The largest text that is read. A configuration is a few KiB; a wrong path may be anything.
const MAX_TEXT_BYTES: usize = 1 << 18;

/// The parser's message for a key or table that stands twice. A golden file pins it.
const DUPLICATE: &str = "duplicate key";

/// How the parser's message begins for a value that is nothing. A golden file pins it.
const UNQUOTED: &str = "string values must be quoted";

/// A parsed document.
pub(super) struct Document<'a> {
    lines: Lines<'a>,
    /// The top-level table.
    pub(super) root: DeTable<'a>,
    /// The lines with a syntax error: what else seems wrong there is only its echo.
    broken: HashSet<usize>,
}

impl<'a> Document<'a> {
    /// Parses `file`; `None` if nothing in it can be checked any further.
    pub(super) fn parse(file: SourceFile<'a>, mistakes: &mut Mistakes) -> Option<Self> {
        let lines = Lines::of(file);
        if file.text.len() > MAX_TEXT_BYTES {
            let what = format!("{} bytes of text", file.text.len());
            mistakes.push(
                lines.whole(),
                what,
                format!("expected at most {MAX_TEXT_BYTES}"),
            );
            return None;
        }
        let (root, mut errors) = DeTable::parse_recoverable(file.text);
        let offset = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        errors.sort_by_key(offset);
        let mut broken = HashSet::new();
        let mut headers_hold = true;
        for error in errors {
            let line = lines.line(offset(&error));
            // The first error of a line is the cause; the parser may see more behind it.
            if !broken.insert(line) {
                continue;
            }
            headers_hold &=
                error.message() == DUPLICATE || !lines.text(line).trim_start().starts_with('[');
            mistakes.push_with(|| {
                let (what, right) = explain(error.message());
                (
                    lines.place(offset(&error)),
                    format!("not TOML: {what}"),
                    right.to_owned(),
                )
            });
        }
        headers_hold.then(|| Self {
            lines,
            root: root.into_inner(),
            broken,
        })
    }

    /// The place of the byte at `offset`.
    pub(super) fn place(&self, offset: usize) -> Place {
        self.lines.place(offset)
    }

    /// The place of the whole document, for what is missing from it.
    pub(super) fn whole(&self) -> Place {
        self.lines.whole()
    }

    /// Whether the line of the byte at `offset` has a syntax error that was already noted.
    pub(super) fn is_broken_at(&self, offset: usize) -> bool {
        self.broken.contains(&self.lines.line(offset))
    }

    /// Notes every top-level key but `expected`, the only one of this kind of document.
    pub(super) fn only(&self, expected: &str, right: &str, mistakes: &mut Mistakes) {
        for key in self.root.keys().filter(|key| key.get_ref() != expected) {
            let offset = key.span().start;
            if !self.is_broken_at(offset) {
                mistakes.push_with(|| {
                    let what = format!("unknown section {}", quote(key.get_ref()));
                    (self.place(offset), what, right.to_owned())
                });
            }
        }
    }
}

/// Returns what is wrong and what would be right, from the parser's message.
fn explain(message: &str) -> (String, &'static str) {
    if message == DUPLICATE {
        (
            message.to_owned(),
            "expected each setting and each [section] once",
        )
    } else if message.starts_with(UNQUOTED) {
        let what = "a value that is neither a number nor in quotes".to_owned();
        (
            what,
            "expected text, durations and sizes in quotes, such as \"10s\"",
        )
    } else {
        let what = message.replace('\n', ", ");
        (
            what,
            "expected lines of the form key = value under a [section]",
        )
    }
}

/// One table of a document while its fields are read: wrong, missing and unknown fields are noted.
pub(super) struct Fields<'d, 'a> {
    document: &'d Document<'a>,
    table: &'d DeTable<'a>,
    /// How messages name the table, such as `groups.scores`.
    name: String,
    /// Where the table begins, for what is missing from it.
    start: usize,
    /// The fields that were asked for: all that exist.
    known: Vec<&'static str>,
}

impl<'d, 'a> Fields<'d, 'a> {
    /// The fields of `table`, which messages call `name` and which begins at byte `start`.
    pub(super) fn new(
        document: &'d Document<'a>,
        table: &'d DeTable<'a>,
        name: String,
        start: usize,
    ) -> Self {
        Self {
            document,
            table,
            name,
            start,
            known: Vec::new(),
        }
    }

    /// Reads a field that must be there; `None` once a mistake was noted.
    pub(super) fn required<R: Rule>(
        &mut self,
        key: &'static str,
        rule: &R,
        mistakes: &mut Mistakes,
    ) -> Option<R::Out> {
        self.known.push(key);
        if self.table.contains_key(key) {
            return self.read(key, rule, mistakes);
        }
        let what = format!("{} has no {key}", self.name);
        let right = format!("expected {key} = {}", rule.expects());
        mistakes.push(self.document.place(self.start), what, right);
        None
    }

    /// Reads a field that has a default; `None` once a mistake was noted.
    pub(super) fn optional<R: Rule>(
        &mut self,
        key: &'static str,
        rule: &R,
        default: R::Out,
        mistakes: &mut Mistakes,
    ) -> Option<R::Out> {
        self.known.push(key);
        if self.table.contains_key(key) {
            self.read(key, rule, mistakes)
        } else {
            Some(default)
        }
    }

    /// Reads a field that may be missing; the outer `None` once a mistake was noted.
    pub(super) fn maybe<R: Rule>(
        &mut self,
        key: &'static str,
        rule: &R,
        mistakes: &mut Mistakes,
    ) -> Option<Option<R::Out>> {
        self.known.push(key);
        if self.has(key) {
            self.read(key, rule, mistakes).map(Some)
        } else {
            Some(None)
        }
    }

    /// Whether the field is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Takes note that the field exists, for tables which do not read it.
    pub(super) fn know(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Notes a field that is there and must not be beside others.
    pub(super) fn refuse(&mut self, key: &'static str, right: &str, mistakes: &mut Mistakes) {
        self.known.push(key);
        if let Some(value) = self.table.get(key) {
            let what = format!("{}.{key} is one field too many", self.name);
            let place = self.document.place(value.span().start);
            mistakes.push(place, what, right.to_owned());
        }
    }

    /// Notes that the table says nothing of `what`.
    pub(super) fn lacks(&self, what: &str, right: &str, mistakes: &mut Mistakes) {
        let what = format!("{} has no {what}", self.name);
        mistakes.push(self.document.place(self.start), what, right.to_owned());
    }

    /// Reads a field that is there.
    fn read<R: Rule>(&self, key: &str, rule: &R, mistakes: &mut Mistakes) -> Option<R::Out> {
        let value = self.table.get(key)?;
        let given = Given::of(value.get_ref());
        let out = rule.read(&given);
        let offset = value.span().start;
        if out.is_none() && !self.document.is_broken_at(offset) {
            let what = format!("{}.{key} is {}", self.name, given.describe());
            let right = format!("expected {}", rule.expects());
            mistakes.push(self.document.place(offset), what, right);
        }
        out
    }

    /// Notes every field that nobody asked for. Call it last.
    pub(super) fn finish(self, mistakes: &mut Mistakes) {
        for key in self
            .table
            .keys()
            .filter(|key| !self.known.contains(&key.get_ref().as_ref()))
        {
            let offset = key.span().start;
            if !self.document.is_broken_at(offset) {
                let what = format!(
                    "{} has an unknown field {}",
                    self.name,
                    quote(key.get_ref())
                );
                let right = instead_of(key.get_ref(), self.known.iter().copied());
                mistakes.push(self.document.place(offset), what, right);
            }
        }
    }
}

/// Returns what a value is, for messages about tables that are none.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    Given::of(value).describe()
}
