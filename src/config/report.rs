//! Mistakes: collected while reading, reported together, never with a credential in them.
//!
//! Every reader in `config` pushes into one [`Mistakes`] and goes on, so that an operator sees
//! all that is wrong in one run.

use std::fmt;

use super::place::Place;
use super::redact::redact;

/// How many mistakes a report lists; the rest is counted. More than anybody repairs in one go.
const MAX_LISTED: usize = 100;

/// How many characters of what the operator wrote a message repeats.
const MAX_QUOTED_CHARS: usize = 80;

/// One thing that is wrong: where it stands, what it is and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was written.
    pub place: Place,
    /// What is wrong, without credentials.
    pub what: String,
    /// What would be right.
    pub right: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.right)
    }
}

/// Everything that is wrong with a configuration or a groups file.
///
/// The operator's fault: nothing was started and nothing is worth retrying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
    unlisted: usize,
}

impl ConfigError {
    /// The mistakes, in the order of the layers and of the file. Bounded; the text counts the rest.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.len() + self.unlisted {
            1 => f.write_str("1 mistake in the configuration:")?,
            many => write!(f, "{many} mistakes in the configuration:")?,
        }
        for mistake in &self.mistakes {
            write!(f, "\n  {mistake}")?;
        }
        if self.unlisted > 0 {
            write!(f, "\n  and {} more", self.unlisted)?;
        }
        Ok(())
    }
}

/// The collector that every reader pushes into.
#[derive(Default)]
pub(super) struct Mistakes {
    listed: Vec<Mistake>,
    unlisted: usize,
}

impl Mistakes {
    /// Takes note of a mistake.
    pub(super) fn push(&mut self, place: Place, what: String, right: String) {
        self.push_with(|| (place, what, right));
    }

    /// Takes note of a mistake of which there may be any number: one that is only counted is not
    /// looked into, which keeps a large file of nonsense cheap.
    pub(super) fn push_with(&mut self, mistake: impl FnOnce() -> (Place, String, String)) {
        if self.listed.len() < MAX_LISTED {
            let (place, what, right) = mistake();
            self.listed.push(Mistake { place, what, right });
        } else {
            self.unlisted += 1;
        }
    }

    /// `value` if nothing is wrong, else all that is.
    pub(super) fn or<T>(mut self, value: T) -> Result<T, ConfigError> {
        if self.listed.is_empty() {
            return Ok(value);
        }
        self.listed.sort_by_key(|mistake| mistake.place.order());
        Err(ConfigError {
            mistakes: self.listed,
            unlisted: self.unlisted,
        })
    }
}

/// Returns what an operator wrote, as messages repeat it: one line, bounded, without credentials.
pub(super) fn quote(text: &str) -> String {
    let text = redact(text);
    let mut shown: String = text.chars().take(MAX_QUOTED_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_bounded_and_counts_the_rest() {
        let mut mistakes = Mistakes::default();
        for n in 0..250 {
            mistakes.push(
                Place::Default,
                format!("mistake {n}"),
                "expected none".to_owned(),
            );
        }
        let error = mistakes.or(()).unwrap_err();
        assert_eq!(error.mistakes().len(), MAX_LISTED);
        let text = error.to_string();
        assert!(text.starts_with("250 mistakes"), "{text}");
        assert!(text.ends_with("and 150 more"), "{text}");
    }

    #[test]
    fn a_quotation_is_one_bounded_line_without_credentials() {
        assert_eq!(quote("a\nb"), r#""a\nb""#);
        assert!(quote(&"x".repeat(10_000)).chars().count() <= MAX_QUOTED_CHARS + 3);
        assert!(!quote("mysql://u:secret@h").contains("secret"));
    }
}
