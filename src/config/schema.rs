//! What a schema is made of, and what is wrong with a name that it does not have. `sections` declares ours.

use super::report::quote;
use super::rule::AnyRule;
use super::suggest::instead_of;

/// Every section, in the order of the declaration.
#[derive(Clone, Copy)]
pub(super) struct Schema {
    pub(super) sections: &'static [Section],
}

/// A section, for tables of settings.
pub(super) struct Section {
    /// The name in brackets.
    pub(super) name: &'static str,
    /// Its settings in the order of the declaration.
    pub(super) keys: &'static [Key],
}

/// A setting, for tables of settings.
pub(super) struct Key {
    /// The name within its section.
    pub(super) name: &'static str,
    /// What it accepts.
    pub(super) rule: &'static dyn AnyRule,
}

impl Schema {
    /// The section called `name`.
    pub(super) fn section_named(self, name: &str) -> Option<&'static Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Returns what is wrong with a setting that does not exist, and what was probably meant.
    pub(super) fn unknown(self, section: &str, key: &str) -> (String, String) {
        let Some(known) = self.section_named(section) else {
            let what = format!("unknown section {}", quote(section));
            return (
                what,
                instead_of(section, self.sections.iter().map(|section| section.name)),
            );
        };
        let what = format!("unknown setting {}", quote(&format!("{section}.{key}")));
        // The right name in the wrong section is likelier than a mistyped one.
        let elsewhere = self
            .sections
            .iter()
            .find(|other| other.keys.iter().any(|k| k.name == key));
        let right = match elsewhere {
            Some(other) => format!("did you mean {}.{key}?", other.name),
            None => instead_of(key, known.keys.iter().map(|key| key.name)),
        };
        (what, right)
    }
}
