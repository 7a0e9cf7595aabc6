//! The layers of a configuration, laid over each other from the weakest to the strongest.
//!
//! Pure: the caller has read the file and the environment. Called by [`load`](super::load).

use std::ffi::{OsStr, OsString};

use toml::de::DeValue;

use super::document::{Document, describe};
use super::place::{Place, SourceFile};
use super::report::{Mistakes, quote};
use super::sections::SCHEMA;
use super::settings::Settings;
use super::suggest::instead_of;
use super::value::Given;

/// What environment variables of ours begin with, and what parts section and key.
const PREFIX: &str = "GCACHE__";
const SEPARATOR: &str = "__";

/// The seeds, for every role and every operator's command. Weaker than `GCACHE__CLUSTER__SEEDS`.
pub const SEEDS_VARIABLE: &str = "GCACHE_SEEDS";

/// The defaults of every setting.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What may be laid over the defaults, weakest first.
///
/// Not `Debug`: it may hold credentials.
#[derive(Clone, Default)]
pub struct Layers<'a> {
    /// The file of `--config`.
    pub file: Option<SourceFile<'a>>,
    /// The environment, as `std::env::vars_os` has it; only `GCACHE_SEEDS` and
    /// `GCACHE__SECTION__KEY` are looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// The values of `--set`, each `section.key=value`; of several for one key the last wins.
    pub sets: Vec<String>,
    /// Flags that stand for one setting each.
    pub flags: Vec<Flag>,
}

/// A flag of its own for one setting, such as `--port` for `frontend.port`.
///
/// Not `Debug`: the value may hold credentials.
#[derive(Clone)]
pub struct Flag {
    /// The flag as it was typed, with its dashes.
    pub name: &'static str,
    /// The setting it stands for, as `section.key`.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
}

/// Lays the defaults and then all of `layers`.
pub(super) fn lay_all(layers: &Layers<'_>, settings: &mut Settings, mistakes: &mut Mistakes) {
    let defaults = SourceFile {
        name: "config/default.toml",
        text: DEFAULTS,
    };
    lay_document(defaults, true, settings, mistakes);
    if let Some(file) = layers.file {
        lay_document(file, false, settings, mistakes);
    }
    lay_environment(&layers.environment, settings, mistakes);
    for set in &layers.sets {
        lay_set(set, settings, mistakes);
    }
    for flag in &layers.flags {
        let (section, key) = flag.setting.split_once('.').unwrap_or((flag.setting, ""));
        let place = Place::Flag(flag.name.to_owned());
        settings.lay(
            (section, key),
            Given::Word(flag.value.clone()),
            place,
            mistakes,
        );
    }
}

/// Lays a file, or the defaults, which are a file whose places nobody wants to know.
fn lay_document(
    file: SourceFile<'_>,
    is_default: bool,
    settings: &mut Settings,
    mistakes: &mut Mistakes,
) {
    let Some(document) = Document::parse(file, mistakes) else {
        return;
    };
    for (section, value) in &document.root {
        let offset = section.span().start;
        let name = section.get_ref().as_ref();
        if let (Some(_), DeValue::Table(table)) = (SCHEMA.section_named(name), value.get_ref()) {
            for (key, value) in table {
                let known = settings.row(name, key.get_ref()).is_some();
                // A name that is unknown is wrong where it stands, anything else at its value.
                let offset = if known {
                    value.span().start
                } else {
                    key.span().start
                };
                if !document.is_broken_at(offset) {
                    let place = if is_default {
                        Place::Default
                    } else {
                        document.place(offset)
                    };
                    let given = Given::of(value.get_ref());
                    settings.lay((name, key.get_ref()), given, place, mistakes);
                }
            }
        } else if !document.is_broken_at(offset) {
            mistakes.push_with(|| {
                let (what, right) = no_section(name, value.get_ref());
                (document.place(offset), what, right)
            });
        }
    }
}

/// Returns what is wrong with a top-level value that is no section, and what was probably meant.
fn no_section(name: &str, value: &DeValue<'_>) -> (String, String) {
    if value.is_table() {
        return SCHEMA.unknown(name, "");
    }
    if SCHEMA.section_named(name).is_some() {
        let what = format!("{name} is {}", describe(value));
        return (what, format!("expected a section [{name}]"));
    }
    let owner = SCHEMA
        .sections
        .iter()
        .find(|section| section.keys.iter().any(|key| key.name == name));
    let what = format!("{} stands outside of any section", quote(name));
    match owner {
        Some(section) => (what, format!("did you mean {}.{name}?", section.name)),
        None => (
            what,
            instead_of(name, SCHEMA.sections.iter().map(|section| section.name)),
        ),
    }
}

/// Lays the variables of ours, in the order of their names: the system's order means nothing.
fn lay_environment(
    environment: &[(OsString, OsString)],
    settings: &mut Settings,
    mistakes: &mut Mistakes,
) {
    if let Some((_, seeds)) = environment
        .iter()
        .find(|(name, value)| name == SEEDS_VARIABLE && !value.is_empty())
    {
        // What is not UTF-8 is no address, and is refused as one.
        let seeds = seeds.to_string_lossy().into_owned();
        let place = Place::Environment(SEEDS_VARIABLE.to_owned());
        let seeds = Given::Word(seeds);
        settings.lay(("cluster", "seeds"), seeds, place, mistakes);
    }
    let mut ours: Vec<(String, &OsStr)> = environment
        .iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.as_os_str()))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    for (name, value) in ours {
        let place = Place::Environment(name.clone());
        let spelled = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once(SEPARATOR));
        let Some((section, key)) = spelled else {
            let what = "no setting has this name".to_owned();
            mistakes.push(
                place,
                what,
                format!("expected {PREFIX}SECTION{SEPARATOR}KEY"),
            );
            continue;
        };
        let Some(value) = value.to_str() else {
            mistakes.push(
                place,
                "not UTF-8".to_owned(),
                "expected UTF-8 text".to_owned(),
            );
            continue;
        };
        // One spelling per setting, or two variables could stand for one.
        if name.chars().any(char::is_lowercase) {
            let right = format!("expected {}", name.to_uppercase());
            mistakes.push(place, "written in lower case".to_owned(), right);
            continue;
        }
        let (section, key) = (section.to_lowercase(), key.to_lowercase());
        settings.lay(
            (&section, &key),
            Given::Word(value.to_owned()),
            place,
            mistakes,
        );
    }
}

/// Lays one `section.key=value`.
fn lay_set(set: &str, settings: &mut Settings, mistakes: &mut Mistakes) {
    let parts = set.split_once('=').and_then(|(name, value)| {
        name.split_once('.')
            .map(|(section, key)| (section, key, value))
    });
    let Some((section, key, value)) = parts else {
        mistakes.push(
            Place::Set(String::new()),
            quote(set),
            "expected section.key=value".to_owned(),
        );
        return;
    };
    let (section, key) = (section.trim(), key.trim());
    let place = Place::Set(shown(&format!("{section}.{key}")));
    settings.lay(
        (section, key),
        Given::Word(value.to_owned()),
        place,
        mistakes,
    );
}

/// A setting's name as the command line had it: bounded and on one line, bare if it is harmless.
fn shown(name: &str) -> String {
    let quoted = quote(name);
    let bare = &quoted[1..quoted.len() - 1];
    if bare == name {
        name.to_owned()
    } else {
        quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn the_seeds_have_a_variable_that_every_role_reads() {
        let mut layers = Layers::default();
        let seeds = |layers: &Layers<'_>| {
            let seeds = load(layers).unwrap().config.cluster.seeds;
            let hosts = seeds.into_iter().map(|seed| seed.host);
            hosts.collect::<Vec<_>>().join(",")
        };
        layers.file = Some(SourceFile {
            name: "gcache.toml",
            text: "[cluster]\nseeds = '10.0.0.1'",
        });
        let env = |name: &str, value: &str| (name.into(), value.into());
        layers.environment = vec![env("GCACHE_SEEDS", "")];
        assert_eq!(seeds(&layers), "10.0.0.1");
        layers.environment = vec![env("GCACHE_SEEDS", "10.0.0.2,10.0.0.3")];
        assert_eq!(seeds(&layers), "10.0.0.2,10.0.0.3");
        layers
            .environment
            .push(env("GCACHE__CLUSTER__SEEDS", "10.0.0.4"));
        assert_eq!(seeds(&layers), "10.0.0.4");
        layers.flags = vec![Flag {
            name: "--seeds",
            setting: "cluster.seeds",
            value: "10.0.0.5".to_owned(),
        }];
        assert_eq!(seeds(&layers), "10.0.0.5");
        let wrong = Layers {
            environment: vec![env("GCACHE_SEEDS", "a b")],
            ..Layers::default()
        };
        let told = load(&wrong).unwrap_err().to_string();
        assert!(told.contains("GCACHE_SEEDS"), "{told}");
    }
}
