//! The effective configuration as TOML, each value with where it came from. Pure.
//!
//! What it prints can be read back as a `--config` file, except for the credentials it hides.

use std::fmt::Write as _;

use super::settings::Settings;

/// Writes every setting, in the order of the schema.
pub(super) fn print(settings: &Settings) -> String {
    let mut out = String::new();
    let mut section = "";
    for row in settings.rows() {
        if row.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}[{}]", row.section);
            section = row.section;
        }
        let value = row
            .given
            .as_ref()
            .and_then(|given| row.key.rule.show_given(given))
            .expect("default.toml has every setting, and only right values are laid");
        let _ = writeln!(
            out,
            "{} = {value}  # {}",
            row.key.name,
            one_line(&row.place.to_string())
        );
    }
    out
}

/// A comment ends with its line: a file's name may hold anything.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
