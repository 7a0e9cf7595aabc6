//! A cache group: a named cache with its origin statement and its freshness rules. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Epoch, Generation, GroupId};

/// A group in the topology: its description by an operator, and the identity that it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Never reused, not even for a later group of the same name.
    pub id: GroupId,
    /// The name in URLs and metrics: 1 to 64 of `a-z 0-9 _ -`, beginning with a letter.
    pub name: Arc<str>,
    /// Entries of an older generation are void.
    pub generation: Generation,
    /// The epoch that last changed the number of copies; 0 if none did. Until all members know that epoch,
    /// some may still serve copies.
    pub copies_since: Epoch,
    /// The description by an operator.
    pub spec: GroupSpec,
}

/// An operator's description of a group. Parsed and checked by `config::groups`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// Where the rows are.
    pub source: Source,
    /// The `Content-Type` of a value.
    pub content_type: String,
    /// How long a value is fresh, before jitter.
    pub ttl: Duration,
    /// The share of `ttl` that is taken off at random, 0.0 to 0.5, so that entries filled together
    /// do not expire together.
    pub ttl_jitter: f64,
    /// How long after `ttl` a value may still be served while one refresh runs.
    pub stale: Duration,
    /// How long after `ttl` a value may be served when the origin fails. A hard cap.
    pub stale_if_error: Duration,
    /// How long the origin's "no such key" is kept.
    pub negative_ttl: Duration,
    /// How long a failed load is remembered before the origin is asked again: 100 ms to 1 s.
    pub error_ttl: Duration,
    /// A larger value is served and not stored.
    pub max_value_bytes: u64,
    /// What a node answers while it may have been replaced without knowing it.
    pub on_isolated: OnIsolated,
    /// How many members keep a loaded value: 1 (the owner alone) to [`MAX_COPIES`] (the standby too).
    pub copies: u8,
}

/// The most [`copies`](GroupSpec::copies): an owner and a standby.
pub const MAX_COPIES: u8 = 2;

/// What a node answers while it holds no lease. Another member may own its keys by now and may have deleted
/// values that this node still has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnIsolated {
    /// The cached value within its ttl, without any stale window; else a value from the origin, which is not
    /// kept.
    #[default]
    Serve,
    /// A value from the origin, which is not kept.
    Origin,
    /// An error.
    Refuse,
}

impl OnIsolated {
    /// Every choice with its name in the groups file.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Serve, "serve"),
        (Self::Origin, "origin"),
        (Self::Refuse, "refuse"),
    ];

    /// The name of the choice.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Origin => "origin",
            Self::Refuse => "refuse",
        }
    }
}

/// The rows behind a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One table, looked up by one column.
    Table {
        /// `table` or `schema.table`.
        table: String,
        /// The column that holds the key.
        key_column: String,
        /// The column that holds the value.
        value_column: String,
        /// The type of keys; none: the type of the column in the origin's catalog.
        key_type: Option<KeyType>,
    },
    /// A statement that takes an array of keys as `$1` and returns rows of key and value.
    Query {
        /// One statement, without a semicolon at its end.
        statement: String,
        /// The type of keys.
        key_type: KeyType,
    },
}

/// The type of a group's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// Any text.
    Text,
    /// A whole number of 64 bits.
    Bigint,
    /// A UUID (RFC 9562).
    Uuid,
}

/// A key that no row can have. The text says what a key must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key of this group is {expects}")]
pub struct NotAKey {
    expects: &'static str,
}

impl KeyType {
    /// Every type with its name, as the groups file and PostgreSQL have it.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Text, "text"),
        (Self::Bigint, "bigint"),
        (Self::Uuid, "uuid"),
    ];

    /// The name of the type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bigint => "bigint",
            Self::Uuid => "uuid",
        }
    }

    /// Checks that `key` is of this type, in the one way in which it can be written.
    ///
    /// One way only: were `7` and `07` both served, they would be two entries of one row, and a
    /// delete of one would leave the other.
    ///
    /// # Errors
    /// What a key must look like.
    pub fn check(self, key: &[u8]) -> Result<(), NotAKey> {
        let (is_right, expects) = match self {
            Self::Text => (
                std::str::from_utf8(key).is_ok_and(|text| !text.contains('\0')),
                "UTF-8 text without a zero byte",
            ),
            Self::Bigint => (
                is_bigint(key),
                "a whole number of 64 bits, written without spaces, leading zeros or a plus sign",
            ),
            Self::Uuid => (
                is_uuid(key),
                "a UUID in lower case with hyphens, such as 01890a5d-ac96-774b-bcce-b302099a8057",
            ),
        };
        if is_right {
            Ok(())
        } else {
            Err(NotAKey { expects })
        }
    }
}

/// Whether `key` is how a 64-bit number prints itself.
fn is_bigint(key: &[u8]) -> bool {
    let digits = key.strip_prefix(b"-").unwrap_or(key);
    let is_plain = match digits {
        [b'0'] => digits.len() == key.len(),
        [first, ..] => *first != b'0',
        [] => false,
    };
    is_plain
        && digits.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(key).is_ok_and(|text| text.parse::<i64>().is_ok())
}

/// Whether `key` is 8-4-4-4-12 lower-case hexadecimal digits.
fn is_uuid(key: &[u8]) -> bool {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    key.len() == 36
        && key.iter().enumerate().all(|(place, byte)| {
            if HYPHENS.contains(&place) {
                *byte == b'-'
            } else {
                matches!(byte, b'0'..=b'9' | b'a'..=b'f')
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_one_way() {
        let is_key = |text: &str| KeyType::Bigint.check(text.as_bytes()).is_ok();
        for text in [
            "0",
            "7",
            "-7",
            "10",
            "9223372036854775807",
            "-9223372036854775808",
        ] {
            assert!(is_key(text), "{text}");
        }
        for text in [
            "",
            "-",
            "-0",
            "00",
            "07",
            "+7",
            " 7",
            "7 ",
            "7.0",
            "1e3",
            "0x7",
            "٧",
            "--7",
            "9223372036854775808",
            "-9223372036854775809",
        ] {
            assert!(!is_key(text), "{text:?}");
        }
    }

    #[test]
    fn a_uuid_is_written_in_one_way() {
        let is_key = |text: &str| KeyType::Uuid.check(text.as_bytes()).is_ok();
        assert!(is_key("01890a5d-ac96-774b-bcce-b302099a8057"));
        for text in [
            "01890A5D-ac96-774b-bcce-b302099a8057",
            "01890a5dac96774bbcceb302099a8057",
            "{01890a5d-ac96-774b-bcce-b302099a8057}",
            "01890a5d-ac96-774b-bcce-b302099a805",
            "01890a5d-ac96-774b-bcce-b302099a805g",
            "01890a5d_ac96-774b-bcce-b302099a8057",
        ] {
            assert!(!is_key(text), "{text}");
        }
    }

    #[test]
    fn text_is_the_same_as_in_postgresql() {
        assert!(KeyType::Text.check("Zoë /?".as_bytes()).is_ok());
        assert!(KeyType::Text.check(b"a\0b").is_err());
        assert!(KeyType::Text.check(b"\xff").is_err());
    }
}
