//! A setting that nobody may see: a password given outside the origin's URL.
//!
//! Pure. `Debug`, `--print-config` and messages show that there is one, never what it is.

use std::fmt;

use super::rule::Rule;
use super::value::Given;

/// What is shown in place of a secret.
const HIDDEN: &str = "***";

/// A credential. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The credential: for the database driver only, never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({HIDDEN})")
    }
}

/// A secret, or none.
pub(super) struct OptionalSecret;

impl Rule for OptionalSecret {
    type Out = Option<Secret>;

    fn read(&self, given: &Given) -> Option<Option<Secret>> {
        let text = given.text().filter(|text| !text.contains('\0'))?;
        Some((!text.is_empty()).then(|| Secret(text.to_owned())))
    }

    fn expects(&self) -> String {
        "text in quotes, or \"\" for none".to_owned()
    }

    fn show(&self, value: &Option<Secret>) -> String {
        let shown = value.as_ref().map_or("", |_| HIDDEN);
        format!("{shown:?}")
    }
}
