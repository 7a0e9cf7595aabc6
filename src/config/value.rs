//! What an operator can write for a value, before it is known what the setting wants; and how
//! durations and sizes are written. Pure.

use std::fmt;
use std::time::Duration;

use toml::de::DeValue;

use super::report::quote;

/// A number of bytes.
///
/// Written as `64KiB`, `256MiB`, `1GiB` or a plain number of bytes; shown in the largest unit that
/// divides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// The units of sizes, largest first. Powers of 1024 only: `MB` means two things.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// The units of durations in milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl ByteSize {
    /// `n` × 1024 bytes.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` × 1024² bytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` × 1024³ bytes.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// Reads `256MiB` or `4096`; `None` if it is neither or does not fit.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_number(text)?;
        let factor = if unit.is_empty() {
            1
        } else {
            unit_named(&SIZE_UNITS, unit)?
        };
        number.checked_mul(factor).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = largest_unit(&SIZE_UNITS, self.0);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// Reads `250ms`, `10s`, `5m`, `1h` or `30d`; `None` if it is none of them or does not fit.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    number
        .checked_mul(unit_named(&DURATION_UNITS, unit)?)
        .map(Duration::from_millis)
}

/// Writes a duration in the largest unit that divides it. Settings have whole milliseconds.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = largest_unit(&DURATION_UNITS, ms);
    format!("{}{unit}", ms / factor)
}

/// Splits `250ms` into 250 and `ms`. No sign, no fraction, no spaces.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// The factor of the unit called `name`.
fn unit_named(units: &[(&str, u64)], name: &str) -> Option<u64> {
    units
        .iter()
        .find(|(unit, _)| *unit == name)
        .map(|(_, factor)| *factor)
}

/// The largest unit that divides `amount`; the smallest one for zero.
fn largest_unit(units: &[(&'static str, u64)], amount: u64) -> (&'static str, u64) {
    let smallest = units[units.len() - 1];
    let divides = |(_, factor): &(&str, u64)| amount.is_multiple_of(*factor);
    units
        .iter()
        .copied()
        .find(divides)
        .filter(|_| amount > 0)
        .unwrap_or(smallest)
}

/// What an operator wrote for a value.
///
/// Not `Debug`: it may hold credentials; [`Given::describe`] is what messages show.
#[derive(Clone, PartialEq)]
pub(super) enum Given {
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i128),
    /// A TOML float.
    Float(f64),
    /// A TOML boolean.
    Boolean(bool),
    /// Any other TOML value, by what it is.
    Other(&'static str),
    /// Untyped text from the environment or the command line.
    Word(String),
}

impl Given {
    /// The value as a file holds it.
    pub(super) fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
                .map_or(Self::Other("an integer that does not fit"), Self::Integer),
            DeValue::Float(float) => float
                .as_str()
                .parse()
                .map_or(Self::Other("a malformed float"), Self::Float),
            DeValue::Boolean(boolean) => Self::Boolean(*boolean),
            DeValue::Datetime(_) => Self::Other("a date or time"),
            DeValue::Array(_) => Self::Other("an array"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }

    /// The value for a setting that is text: a word is taken as it is.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Word(text) => Some(text),
            _ => None,
        }
    }

    /// The value for a setting that is not text: a word is read as a file would read it, and as a
    /// string without quotes if that fails, so that `10s` and `"10s"` both work.
    pub(super) fn scalar(&self) -> Self {
        let Self::Word(word) = self else {
            return self.clone();
        };
        DeValue::parse(word).map_or_else(|_| Self::Text(word.clone()), |v| Self::of(v.get_ref()))
    }

    /// Returns what it is, for "… is {}".
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("the string {}", quote(text)),
            Self::Word(word) => quote(word),
            Self::Integer(integer) => integer.to_string(),
            Self::Float(float) => float.to_string(),
            Self::Boolean(boolean) => format!("the boolean {boolean}"),
            Self::Other(what) => (*what).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("7B", Some(7)),
            ("64KiB", Some(65_536)),
            ("1GiB", Some(1 << 30)),
            ("64KB", None),
            ("64 KiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("", None),
            ("MiB", None),
            ("99999999999GiB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(ByteSize::parse(text).map(|size| size.0), bytes, "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, ms) in [
            ("250ms", Some(250)),
            ("10s", Some(10_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("30d", Some(2_592_000_000)),
            ("0s", Some(0)),
            ("10", None),
            ("10 s", None),
            ("1m30s", None),
            ("1.5s", None),
            ("-1s", None),
            ("999999999999999999d", None),
        ] {
            assert_eq!(
                parse_duration(text),
                ms.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn a_word_is_read_as_toml_where_the_setting_is_not_text() {
        let scalar = |word: &str| Given::Word(word.to_owned()).scalar().describe();
        assert_eq!(scalar("0x10"), "16");
        assert_eq!(scalar("65_536"), "65536");
        assert_eq!(scalar("\"10s\""), "the string \"10s\"");
        assert_eq!(scalar("10s"), "the string \"10s\"");
        assert_eq!(scalar(""), "the string \"\"");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(amount in any::<u64>(), unit in 0usize..4) {
            let size = ByteSize(amount >> (unit * 10) << (unit * 10));
            prop_assert_eq!(ByteSize::parse(&size.to_string()), Some(size));
            let duration = Duration::from_millis(amount);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            ByteSize::parse(&text);
            let _read = parse_duration(&text);
            Given::Word(text).scalar().describe();
        }
    }
}
