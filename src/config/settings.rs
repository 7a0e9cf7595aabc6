//! The settings while the layers are laid over each other: for each one what was written last,
//! and where.
//!
//! Knows the schema and no type of it. `layers` fills it, `Config` is read from it.

use super::place::Place;
use super::report::Mistakes;
use super::rule::Rule;
use super::schema::{Key, Schema};
use super::value::Given;

/// Every setting of the schema with its present value.
pub(super) struct Settings {
    schema: Schema,
    rows: Vec<Row>,
}

/// One setting.
pub(super) struct Row {
    pub(super) section: &'static str,
    pub(super) key: &'static Key,
    /// What was written last and is right; `None` until the defaults were laid.
    pub(super) given: Option<Given>,
    /// Where that was.
    pub(super) place: Place,
    /// A later layer had a mistake here, so that the value is not what was meant.
    pub(super) doubtful: bool,
}

impl Settings {
    /// Every setting of `schema`, none with a value yet.
    pub(super) fn new(schema: Schema) -> Self {
        let rows = schema
            .sections
            .iter()
            .flat_map(|section| section.keys.iter().map(|key| (section.name, key)))
            .map(|(section, key)| Row {
                section,
                key,
                given: None,
                place: Place::Default,
                doubtful: false,
            })
            .collect();
        Self { schema, rows }
    }

    /// All settings in the order of the schema.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The setting `section.key`, if the schema has it.
    pub(super) fn row(&self, section: &str, key: &str) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.section == section && row.key.name == key)
    }

    /// Lays `given` over the setting, or takes note of what is wrong with it.
    pub(super) fn lay(
        &mut self,
        (section, key): (&str, &str),
        given: Given,
        place: Place,
        mistakes: &mut Mistakes,
    ) {
        let Some(row) = self
            .rows
            .iter_mut()
            .find(|row| row.section == section && row.key.name == key)
        else {
            let (what, right) = self.schema.unknown(section, key);
            mistakes.push(place, what, right);
            return;
        };
        if row.key.rule.show_given(&given).is_some() {
            row.given = Some(given);
            row.place = place;
            row.doubtful = false;
        } else {
            row.doubtful = true;
            let what = if key.ends_with("password") {
                format!("{section}.{key} is no text")
            } else {
                format!("{section}.{key} is {}", given.describe())
            };
            mistakes.push(place, what, format!("expected {}", row.key.rule.expects()));
        }
    }

    /// The value of a setting of the schema.
    pub(super) fn read<R: Rule>(&self, section: &str, key: &str, rule: &R) -> R::Out {
        self.row(section, key)
            .and_then(|row| row.given.as_ref())
            .and_then(|given| rule.read(given))
            .expect("default.toml has every setting, and only right values are laid")
    }
}
