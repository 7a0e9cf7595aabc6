//! From a request's path to a group's name and a key. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use crate::hash::MAX_KEY_BYTES;

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Path<'a> {
    /// `/v1/{group}/{key}`.
    Key { group: Cow<'a, str>, key: Bytes },
    /// `/v1/{group}`.
    Group(Cow<'a, str>),
    /// Anything else.
    Other(&'a str),
}

/// Why the rest of a path is not a key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKey {
    #[error("the key is empty; write /v1/{{group}}/{{key}}")]
    Empty,
    #[error("the key has {0} bytes; at most {MAX_KEY_BYTES} are allowed")]
    TooLong(usize),
    #[error("malformed percent-encoding at byte {0} of the key; write % as %25")]
    Malformed(usize),
}

/// Reads a path as it came, still percent-encoded.
///
/// # Errors
/// [`BadKey`].
pub(super) fn parse(path: &str) -> Result<Path<'_>, BadKey> {
    let Some(rest) = path.strip_prefix("/v1/") else {
        return Ok(Path::Other(path));
    };
    match rest.split_once('/') {
        None => Ok(Path::Group(name(rest))),
        Some((group, key)) => Ok(Path::Key {
            group: name(group),
            key: decode(key)?,
        }),
    }
}

/// A group's name. Whatever is malformed in it is left as it is: no group is named so.
fn name(encoded: &str) -> Cow<'_, str> {
    percent_decode_str(encoded).decode_utf8_lossy()
}

/// The bytes of a percent-encoded key: every byte is allowed, slashes too, encoded or not.
fn decode(encoded: &str) -> Result<Bytes, BadKey> {
    let bytes = encoded.as_bytes();
    let mut key = Vec::with_capacity(bytes.len().min(MAX_KEY_BYTES));
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let digits = bytes.get(at + 1..at + 3).ok_or(BadKey::Malformed(at))?;
            let high = hex(digits[0]).ok_or(BadKey::Malformed(at))?;
            let low = hex(digits[1]).ok_or(BadKey::Malformed(at))?;
            key.push(high << 4 | low);
            at += 3;
        } else {
            key.push(byte);
            at += 1;
        }
    }
    check(&key)?;
    Ok(key.into())
}

/// Whether these bytes may be a key.
///
/// # Errors
/// [`BadKey::Empty`] or [`BadKey::TooLong`].
pub(super) fn check(key: &[u8]) -> Result<(), BadKey> {
    match key.len() {
        0 => Err(BadKey::Empty),
        len if len > MAX_KEY_BYTES => Err(BadKey::TooLong(len)),
        _ => Ok(()),
    }
}

fn hex(digit: u8) -> Option<u8> {
    // A hexadecimal digit is below 16 and fits.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> Result<Bytes, BadKey> {
        parse(path).map(|path| match path {
            Path::Key { key, .. } => key,
            other => panic!("{other:?} is not a key"),
        })
    }

    #[test]
    fn every_byte_may_be_in_a_key() {
        let path: String = (0..=255).map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(
            key(&format!("/v1/g/{path}")).unwrap(),
            (0..=255).collect::<Vec<u8>>()
        );
        assert_eq!(key("/v1/g/a/b//c").unwrap(), "a/b//c");
        assert_eq!(key("/v1/g/a%2Fb").unwrap(), "a/b");
        assert_eq!(key("/v1/g/+").unwrap(), "+");
    }

    #[test]
    fn malformed_encoding_is_named_by_its_place() {
        for (path, at) in [
            ("/v1/g/ab%", 2),
            ("/v1/g/%4", 0),
            ("/v1/g/x%zz", 1),
            ("/v1/g/%+1", 0),
        ] {
            assert_eq!(key(path), Err(BadKey::Malformed(at)), "{path}");
        }
    }

    #[test]
    fn a_key_is_bounded_by_its_decoded_length() {
        let longest = "%41".repeat(MAX_KEY_BYTES);
        assert_eq!(
            key(&format!("/v1/g/{longest}")).unwrap().len(),
            MAX_KEY_BYTES
        );
        assert_eq!(
            key(&format!("/v1/g/{longest}x")),
            Err(BadKey::TooLong(MAX_KEY_BYTES + 1))
        );
        assert_eq!(key("/v1/g/"), Err(BadKey::Empty));
    }

    #[test]
    fn other_paths_are_distinguished() {
        assert_eq!(
            parse("/v1/my%2Dscores"),
            Ok(Path::Group("my-scores".into()))
        );
        assert_eq!(parse("/livez"), Ok(Path::Other("/livez")));
        assert_eq!(parse("/v1"), Ok(Path::Other("/v1")));
    }
}
