//! Where a setting was written: the half of an error message, and of the print-out, that says where.
//!
//! Pure text arithmetic. Used by everything in `config`.

use std::fmt;

/// A text to parse, with the name that error messages give it.
///
/// Not `Debug`: the text may hold credentials.
#[derive(Clone, Copy)]
pub struct SourceFile<'a> {
    /// How messages name the file, usually the path as the operator typed it.
    pub name: &'a str,
    /// The whole content.
    pub text: &'a str,
}

/// A text with an index of its lines, so that finding a place costs no walk through the text.
pub(super) struct Lines<'a> {
    file: SourceFile<'a>,
    /// The offset of the first byte of each line. The first is 0.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Indexes `file`.
    pub(super) fn of(file: SourceFile<'a>) -> Self {
        let after_newlines = file
            .text
            .match_indices('\n')
            .map(|(newline, _)| newline + 1);
        Self {
            file,
            starts: std::iter::once(0).chain(after_newlines).collect(),
        }
    }

    /// The line that holds the byte at `offset`, counted from 0; past the end is the last one.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
    }

    /// The text of a line, with whatever ends it.
    pub(super) fn text(&self, line: usize) -> &'a str {
        let end = self
            .starts
            .get(line + 1)
            .copied()
            .unwrap_or(self.file.text.len());
        &self.file.text[self.starts[line]..end]
    }

    /// The place of the byte at `offset`.
    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.line(offset);
        let text = self.text(line);
        let before = &text[..text.floor_char_boundary(offset - self.starts[line])];
        Place::File {
            name: self.file.name.to_owned(),
            line: line + 1,
            column: before.chars().count() + 1,
        }
    }

    /// The place of the whole text, for what is missing from it.
    pub(super) fn whole(&self) -> Place {
        Place::WholeFile(self.file.name.to_owned())
    }
}

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the defaults that are compiled in.
    Default,
    /// In a file.
    File {
        /// The file as the operator named it.
        name: String,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
    },
    /// A whole file.
    WholeFile(String),
    /// In an environment variable of this name.
    Environment(String),
    /// In `--set` for this setting; empty if what was given names none.
    Set(String),
    /// In a flag of its own, such as `--port`.
    Flag(String),
}

impl Place {
    /// Sorts places as the layers apply, and those of a file as they stand in it.
    pub(super) fn order(&self) -> (u8, usize, usize) {
        match self {
            Self::Default => (0, 0, 0),
            Self::WholeFile(_) => (1, 0, 0),
            Self::File { line, column, .. } => (1, *line, *column),
            Self::Environment(_) => (2, 0, 0),
            Self::Set(_) => (3, 0, 0),
            Self::Flag(_) => (4, 0, 0),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::WholeFile(name) => f.write_str(name),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Set(setting) if setting.is_empty() => f.write_str("--set"),
            Self::Set(setting) => write!(f, "--set {setting}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, offset: usize) -> String {
        Lines::of(SourceFile { name: "f", text })
            .place(offset)
            .to_string()
    }

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        assert_eq!(at("", 0), "f:1:1");
        assert_eq!(at("a\nbc", 3), "f:2:2");
        assert_eq!(at("é = 1", 3), "f:1:3");
        assert_eq!(at("a\r\nb", 3), "f:2:1");
        assert_eq!(at("a\n", 99), "f:2:1");
    }

    #[test]
    fn an_offset_inside_a_character_is_not_a_panic() {
        assert_eq!(at("é", 1), "f:1:1");
        assert_eq!(
            Lines::of(SourceFile {
                name: "f",
                text: "aé\nb"
            })
            .text(0),
            "aé\n"
        );
    }
}
