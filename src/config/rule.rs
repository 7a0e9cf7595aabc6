//! Rules: what a setting accepts, how it is read into its type, how it is named in messages and
//! how it is shown. One small type per kind of value.
//!
//! Pure. A rule stands once per setting, in `sections` or `groups`.

use std::fmt;
use std::time::Duration;

use super::redact::redact;
use super::value::{ByteSize, Given, parse_duration, show_duration};

/// What one setting accepts.
pub(super) trait Rule {
    /// What the program works with.
    type Out;

    /// Reads a value; `None` if the rule does not accept it.
    fn read(&self, given: &Given) -> Option<Self::Out>;

    /// Returns what would be right, for "expected {}". The comment in `default.toml` says the same.
    fn expects(&self) -> String;

    /// The value as TOML, without credentials.
    fn show(&self, value: &Self::Out) -> String;
}

/// A [`Rule`] whatever it reads, for tables of settings.
pub(super) trait AnyRule: Sync {
    /// Returns what would be right.
    fn expects(&self) -> String;

    /// The value as TOML, without credentials; `None` if the rule does not accept it.
    fn show_given(&self, given: &Given) -> Option<String>;
}

impl<R: Rule + Sync> AnyRule for R {
    fn expects(&self) -> String {
        Rule::expects(self)
    }

    fn show_given(&self, given: &Given) -> Option<String> {
        self.read(given).map(|value| self.show(&value))
    }
}

/// A whole number between two bounds.
pub(super) struct Count<T> {
    pub(super) min: T,
    pub(super) max: T,
}

impl<T: Copy + TryFrom<i128> + PartialOrd + fmt::Display> Rule for Count<T> {
    type Out = T;

    fn read(&self, given: &Given) -> Option<T> {
        let Given::Integer(number) = given.scalar() else {
            return None;
        };
        T::try_from(number)
            .ok()
            .filter(|number| *number >= self.min && *number <= self.max)
    }

    fn expects(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }
}

/// One of two whole numbers.
pub(super) struct Either(pub(super) usize, pub(super) usize);

impl Rule for Either {
    type Out = usize;

    fn read(&self, given: &Given) -> Option<usize> {
        let Given::Integer(number) = given.scalar() else {
            return None;
        };
        let number = usize::try_from(number).ok()?;
        (number == self.0 || number == self.1).then_some(number)
    }

    fn expects(&self) -> String {
        format!("{} or {}", self.0, self.1)
    }

    fn show(&self, value: &usize) -> String {
        value.to_string()
    }
}

/// A number between two bounds, such as a share of something.
pub(super) struct Share {
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Rule for Share {
    type Out = f64;

    fn read(&self, given: &Given) -> Option<f64> {
        let number = match given.scalar() {
            Given::Float(number) => number,
            // `1` for `1.0`. Out of range either way where the conversion rounds.
            Given::Integer(number) => number as f64,
            _ => return None,
        };
        (self.min..=self.max).contains(&number).then_some(number)
    }

    fn expects(&self) -> String {
        format!("a number from {:?} to {:?}", self.min, self.max)
    }

    fn show(&self, value: &f64) -> String {
        // `Debug` writes the `.0` that makes it a TOML float.
        format!("{value:?}")
    }
}

/// Yes or no.
pub(super) struct Switch;

impl Rule for Switch {
    type Out = bool;

    fn read(&self, given: &Given) -> Option<bool> {
        match given.scalar() {
            Given::Boolean(boolean) => Some(boolean),
            _ => None,
        }
    }

    fn expects(&self) -> String {
        "true or false".to_owned()
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// A duration between two bounds, in whole milliseconds.
pub(super) struct Span {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Rule for Span {
    type Out = Duration;

    fn read(&self, given: &Given) -> Option<Duration> {
        let Given::Text(text) = given.scalar() else {
            return None;
        };
        parse_duration(&text).filter(|duration| (self.min..=self.max).contains(duration))
    }

    fn expects(&self) -> String {
        let (min, max) = (show_duration(self.min), show_duration(self.max));
        format!("a duration from \"{min}\" to \"{max}\"")
    }

    fn show(&self, value: &Duration) -> String {
        format!("{:?}", show_duration(*value))
    }
}

/// A size in bytes between two bounds.
pub(super) struct Size {
    pub(super) min: ByteSize,
    pub(super) max: ByteSize,
}

impl Rule for Size {
    type Out = ByteSize;

    fn read(&self, given: &Given) -> Option<ByteSize> {
        let size = match given.scalar() {
            Given::Text(text) => ByteSize::parse(&text)?,
            Given::Integer(bytes) => ByteSize(u64::try_from(bytes).ok()?),
            _ => return None,
        };
        (self.min..=self.max).contains(&size).then_some(size)
    }

    fn expects(&self) -> String {
        format!("a size from \"{}\" to \"{}\"", self.min, self.max)
    }

    fn show(&self, value: &ByteSize) -> String {
        format!("\"{value}\"")
    }
}

/// Text that means something: a name, an address, a URL, one of a few words.
pub(super) struct Text<T> {
    /// What would be right.
    pub(super) expects: &'static str,
    /// Reads the text; `None` if it means nothing.
    pub(super) read: fn(&str) -> Option<T>,
    /// Writes the text that reads back as the value.
    pub(super) write: fn(&T) -> String,
}

impl<T> Rule for Text<T> {
    type Out = T;

    fn read(&self, given: &Given) -> Option<T> {
        given.text().and_then(self.read)
    }

    fn expects(&self) -> String {
        self.expects.to_owned()
    }

    fn show(&self, value: &T) -> String {
        toml::Value::String(redact(&(self.write)(value))).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Given {
        Given::Word(text.to_owned())
    }

    #[test]
    fn bounds_belong_to_the_range() {
        let count = Count { min: 1u16, max: 9 };
        for (text, expected) in [("0", None), ("1", Some(1)), ("9", Some(9)), ("10", None)] {
            assert_eq!(count.read(&word(text)), expected, "{text}");
        }
        let span = Span {
            min: Duration::from_millis(10),
            max: Duration::from_secs(1),
        };
        for (text, accepted) in [
            ("9ms", false),
            ("10ms", true),
            ("1s", true),
            ("1001ms", false),
        ] {
            assert_eq!(span.read(&word(text)).is_some(), accepted, "{text}");
        }
        let size = Size {
            min: ByteSize(2),
            max: ByteSize::kib(1),
        };
        for (text, accepted) in [("1", false), ("2B", true), ("1KiB", true), ("1025", false)] {
            assert_eq!(size.read(&word(text)).is_some(), accepted, "{text}");
        }
        let share = Share { min: 0.0, max: 1.0 };
        for (text, accepted) in [("-0.1", false), ("0", true), ("1", true), ("1.1", false)] {
            assert_eq!(share.read(&word(text)).is_some(), accepted, "{text}");
        }
    }

    #[test]
    fn a_switch_is_on_or_off_and_nothing_between() {
        for (given, expected) in [
            (word("true"), Some(true)),
            (word("false"), Some(false)),
            (Given::Boolean(true), Some(true)),
            (word("yes"), None),
            (word("1"), None),
            (word(""), None),
            (Given::Text("true".to_owned()), None),
        ] {
            assert_eq!(Switch.read(&given), expected, "{}", given.describe());
        }
    }

    #[test]
    fn one_of_two_numbers_is_neither_between_them_nor_a_word() {
        for (text, expected) in [("3", Some(3)), ("5", Some(5)), ("4", None), ("three", None)] {
            assert_eq!(Either(3, 5).read(&word(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_no_number() {
        let share = Share { min: 0.0, max: 1.0 };
        let count = Count {
            min: 0u64,
            max: u64::MAX,
        };
        for text in ["nan", "inf", "-inf", "half", "", "true"] {
            assert_eq!(share.read(&word(text)), None, "{text}");
            assert_eq!(count.read(&word(text)), None, "{text}");
        }
        assert_eq!(
            count.read(&Given::Text("5".to_owned())),
            None,
            "a string in a file"
        );
        assert_eq!(count.read(&word("99999999999999999999")), None);
    }
}
