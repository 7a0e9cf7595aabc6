//! The different specs that revisions of the groups mention, each once. Pure.
//!
//! Sixteen revisions of the same groups say nearly the same: what counts and what is encoded is each
//! pair of name and spec, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::topology::model::group::{GroupSpec, Source};

/// Every group of a revision, by name.
pub(super) type Specs = BTreeMap<Arc<str>, Arc<GroupSpec>>;

/// Pairs of name and spec that differ from each other, by value.
#[derive(Default)]
pub(super) struct Pool<'a> {
    pairs: Vec<(&'a Arc<str>, &'a Arc<GroupSpec>)>,
    /// The places in `pairs` of each name.
    places: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Pool<'a> {
    /// The place of this pair, and whether it was not there before.
    pub(super) fn add(&mut self, name: &'a Arc<str>, spec: &'a Arc<GroupSpec>) -> (usize, bool) {
        let places = self.places.entry(name).or_default();
        let known = places.iter().find(|place| self.pairs[**place].1 == spec);
        if let Some(&place) = known {
            return (place, false);
        }
        let place = self.pairs.len();
        places.push(place);
        self.pairs.push((name, spec));
        (place, true)
    }

    /// The place of this pair, if it is there.
    pub(super) fn place(&self, name: &str, spec: &GroupSpec) -> Option<usize> {
        let mut places = self.places.get(name)?.iter().copied();
        places.find(|place| **self.pairs[*place].1 == *spec)
    }

    /// The pairs, by their first mention.
    pub(super) fn pairs(&self) -> &[(&'a Arc<str>, &'a Arc<GroupSpec>)] {
        &self.pairs
    }
}

/// How many bytes of text a group has.
pub(super) fn text_bytes(name: &str, spec: &GroupSpec) -> usize {
    let source = match &spec.source {
        Source::Table {
            table,
            key_column,
            value_column,
            key_type: _,
        } => table.len() + key_column.len() + value_column.len(),
        Source::Query {
            statement,
            key_type: _,
        } => statement.len(),
    };
    name.len() + source + spec.content_type.len()
}
