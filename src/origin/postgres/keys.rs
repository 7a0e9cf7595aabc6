//! The keys of a load: which of them can be asked for, once each, and which row is whose. Pure.

use std::collections::HashMap;

use bytes::Bytes;
use postgres_types::{ToSql, Type};
use uuid::Uuid;

use crate::cache::{LoadError, LoadErrorKind};
use crate::origin::Row;
use crate::topology::model::group::KeyType;

/// The keys of one load, sorted out.
pub(super) struct Asked {
    /// For each key of the load the place among `distinct`, or why it is no key.
    places: Vec<Result<usize, LoadError>>,
    distinct: Vec<Bytes>,
}

impl Asked {
    /// Sorts out `keys`: what is no key of this type is not asked for, and a key that stands twice
    /// is asked for once.
    pub(super) fn of(key_type: KeyType, keys: &[Bytes]) -> Self {
        let mut known = HashMap::with_capacity(keys.len());
        let mut distinct = Vec::with_capacity(keys.len());
        let places = keys
            .iter()
            .map(|key| {
                key_type
                    .check(key)
                    .map_err(|error| LoadError::new(LoadErrorKind::BadKey, error.to_string()))?;
                Ok(*known.entry(key).or_insert_with(|| {
                    distinct.push(key.clone());
                    distinct.len() - 1
                }))
            })
            .collect();
        Self { places, distinct }
    }

    /// Whether nothing is to be asked.
    pub(super) fn is_empty(&self) -> bool {
        self.distinct.is_empty()
    }

    /// Returns what is to be asked.
    pub(super) fn keys(&self) -> &[Bytes] {
        &self.distinct
    }

    /// A row for each key of the load, from one for each key that was asked for.
    pub(super) fn answer(self, rows: Vec<Row>) -> Vec<Row> {
        let row = |place: Result<usize, LoadError>| rows[place?].clone();
        self.places.into_iter().map(row).collect()
    }
}

/// The type of the array that keys of a type are sent in.
pub(super) fn array_type(key_type: KeyType) -> Type {
    match key_type {
        KeyType::Text => Type::TEXT_ARRAY,
        KeyType::Bigint => Type::INT8_ARRAY,
        KeyType::Uuid => Type::UUID_ARRAY,
    }
}

/// The array itself, of keys that were checked.
pub(super) fn array(key_type: KeyType, keys: &[Bytes]) -> Box<dyn ToSql + Sync + Send> {
    let texts = keys
        .iter()
        .map(|key| std::str::from_utf8(key).expect("checked to be text"));
    match key_type {
        KeyType::Text => Box::new(texts.map(str::to_owned).collect::<Vec<String>>()),
        KeyType::Bigint => Box::new(
            texts
                .map(|text| text.parse().expect("checked to be a number"))
                .collect::<Vec<i64>>(),
        ),
        KeyType::Uuid => Box::new(
            texts
                .map(|text| text.parse().expect("checked to be a UUID"))
                .collect::<Vec<Uuid>>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&'static str]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::from(*text)).collect()
    }

    #[test]
    fn a_key_that_stands_twice_is_asked_for_once_and_answered_twice() {
        let asked = Asked::of(KeyType::Bigint, &keys(&["7", "x", "8", "7"]));
        assert_eq!(asked.keys(), keys(&["7", "8"]));
        let seven = Bytes::from("seven");
        let rows = asked.answer(vec![Ok(Some(seven.clone())), Ok(None)]);
        assert_eq!(rows[0], Ok(Some(seven.clone())));
        assert_eq!(rows[1].as_ref().unwrap_err().kind, LoadErrorKind::BadKey);
        assert_eq!(rows[2], Ok(None));
        assert_eq!(rows[3], Ok(Some(seven)));
    }

    #[test]
    fn what_cannot_be_a_key_is_not_asked_for() {
        let asked = Asked::of(KeyType::Uuid, &keys(&["7", ""]));
        assert!(asked.is_empty());
        assert!(asked.answer(Vec::new()).iter().all(Result::is_err));
    }
}
