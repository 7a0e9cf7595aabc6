//! With which moves a scenario is carried out: with what the executable does by itself, and with what makes
//! moves warm switched off, where it can be switched off.

use std::process::Command;

use anyhow::{Context, bail};

use super::scenario::Scenario;
use crate::testkit::process::GCACHE;

/// What makes moves warm: sections and settings, each `true` by default where it exists.
const SWITCHES: [(&str, &str); 2] = [("transfer", "enabled"), ("transfer", "peek")];

/// How nodes are started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variant {
    /// `warm`: entries go with their partitions; `cold`: they do not.
    pub(crate) name: &'static str,
    /// `section.key=value`.
    pub(crate) settings: Vec<String>,
}

/// The variants of a scenario: side by side where partitions move as planned.
pub(crate) fn variants(scenario: &Scenario) -> anyhow::Result<Vec<Variant>> {
    let switches = switches()?;
    let cold = Variant {
        name: "cold",
        settings: switches
            .iter()
            .map(|switch| format!("{switch}=false"))
            .collect(),
    };
    if switches.is_empty() {
        return Ok(vec![cold]);
    }
    let mut variants = vec![Variant {
        name: "warm",
        settings: Vec::new(),
    }];
    if scenario.is_about_moves() {
        variants.push(cold);
    }
    Ok(variants)
}

/// Those of [`SWITCHES`] that this executable has.
fn switches() -> anyhow::Result<Vec<String>> {
    let output = Command::new(GCACHE)
        .args(["node", "--print-config"])
        .output();
    let output = output.context("gcache node --print-config")?;
    if !output.status.success() {
        bail!("gcache node --print-config fails");
    }
    let text = String::from_utf8(output.stdout)?;
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
        }
        let key = line.split(" = ").next().unwrap_or_default();
        if SWITCHES.contains(&(section, key)) {
            found.push(format!("{section}.{key}"));
        }
    }
    Ok(found)
}
