//! The distinct specs in the revisions of the groups, each once. Pure.
//!
//! Sixteen revisions of the same groups are nearly the same. So each pair of name and spec is counted and
//! encoded only once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::topology::model::group::{GroupSpec, Source};

/// Every group of a revision, by name.
pub(super) type Specs = BTreeMap<Arc<str>, Arc<GroupSpec>>;

/// Distinct pairs of name and spec, compared by value.
#[derive(Default)]
pub(super) struct Pool<'a> {
    pairs: Vec<(&'a Arc<str>, &'a Arc<GroupSpec>)>,
    /// For each name, its indexes in `pairs`.
    places: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Pool<'a> {
    /// Adds a pair. Returns its index, and whether it is new.
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

    /// The index of this pair, if it was added.
    pub(super) fn place(&self, name: &str, spec: &GroupSpec) -> Option<usize> {
        let mut places = self.places.get(name)?.iter().copied();
        places.find(|place| **self.pairs[*place].1 == *spec)
    }

    /// The pairs, in the order in which they were first added.
    pub(super) fn pairs(&self) -> &[(&'a Arc<str>, &'a Arc<GroupSpec>)] {
        &self.pairs
    }
}

/// The number of bytes of a group's text.
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
