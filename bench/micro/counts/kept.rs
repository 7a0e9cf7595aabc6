//! What is kept of the counts, and what a new count is beside it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// The share of instructions that is no change. One executable differs by 0.3 % at most between runs, by the
/// seeds of its hash tables; moving code between files alone, which changes what is inlined, by 1.5 %.
const INSTRUCTIONS_SLACK: f64 = 0.03;

/// Instructions more than kept that are none however few there are.
const INSTRUCTIONS_LEAST: f64 = 5.0;

/// Allocations are counted exactly. This is for operations that now and then grow a table: the seeds of
/// the tables decide when. An allocation in each hundredth operation is found.
const ALLOCATIONS_SLACK: f64 = 0.01;

/// Bytes follow the size of types, which may grow a little for a good reason.
const BYTES_SLACK: f64 = 0.03;

/// Bytes more than kept that are none: growing tables, again.
const BYTES_LEAST: f64 = 8.0;

/// What one operation costs.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    /// None where they cannot be counted.
    pub(crate) instructions: Option<f64>,
    /// Calls of the allocator for memory, reallocations included.
    pub(crate) allocations: f64,
    /// What they asked for.
    pub(crate) bytes: f64,
}

/// The counts in the repository.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// Compiler and valgrind.
    pub(crate) counted_with: String,
    /// By the name of the path.
    pub(crate) paths: BTreeMap<String, Count>,
}

/// What a count is beside the kept one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    /// More than it may be.
    Worse(String),
    /// So much less that a step back would not be seen.
    Better(String),
    /// Counted and not kept, or kept and not counted.
    Unpaired(String),
}

impl Finding {
    /// Whether the comparison fails by it.
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self, Self::Better(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worse(what) => write!(f, "MORE THAN KEPT: {what}"),
            Self::Better(what) => {
                write!(f, "less than kept, keep it (just counts --bless): {what}")
            }
            Self::Unpaired(what) => write!(f, "NOT COMPARED: {what}"),
        }
    }
}

/// Everything worth saying about `now`. With `is_all`, what is kept has to be among it.
pub(crate) fn compare(kept: &Kept, now: &BTreeMap<String, Count>, is_all: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, count) in now {
        match kept.paths.get(name) {
            Some(before) => findings.extend(judge(name, before, count)),
            None => findings.push(Finding::Unpaired(format!(
                "{name} is not kept: just counts --bless"
            ))),
        }
    }
    let gone = kept
        .paths
        .keys()
        .filter(|name| is_all && !now.contains_key(*name));
    findings
        .extend(gone.map(|name| Finding::Unpaired(format!("{name} is kept and was not counted"))));
    findings
}

fn judge(name: &str, kept: &Count, now: &Count) -> Vec<Finding> {
    // Both numbers are rounded to hundredths where they are kept.
    let slack = |kept: f64, share: f64, least: f64| (kept * share).max(least) + 0.005;
    let judged = [
        (
            "instructions",
            kept.instructions.zip(now.instructions),
            (INSTRUCTIONS_SLACK, INSTRUCTIONS_LEAST),
        ),
        (
            "allocations",
            Some((kept.allocations, now.allocations)),
            (0.0, ALLOCATIONS_SLACK),
        ),
        (
            "bytes",
            Some((kept.bytes, now.bytes)),
            (BYTES_SLACK, BYTES_LEAST),
        ),
    ];
    let found = judged
        .into_iter()
        .filter_map(|(what, pair, (share, least))| {
            let (kept, now) = pair?;
            let change = percent(kept, now);
            let text =
                || format!("{name}: {now:.2} {what} per operation, {kept:.2} kept, {change:+.1} %");
            let slack = slack(kept, share, least);
            if now > kept + slack {
                Some(Finding::Worse(text()))
            } else if now < kept - slack {
                Some(Finding::Better(text()))
            } else {
                None
            }
        });
    found.collect()
}

fn percent(kept: f64, now: f64) -> f64 {
    100.0 * (now - kept) / kept.max(0.01)
}

/// Above the rows.
pub(crate) const HEADER: &str = "path                         instructions     kept        allocations  kept       bytes   kept";

/// One path's counts beside the kept ones.
pub(crate) fn row(name: &str, kept: Option<&Count>, now: &Count) -> String {
    let shown = |count: Option<f64>, decimals: usize| match count {
        Some(count) => format!("{count:.decimals$}"),
        None => "-".to_owned(),
    };
    let change = kept
        .and_then(|kept| kept.instructions.zip(now.instructions))
        .map_or_else(String::new, |(kept, now)| {
            format!("{:+.1}%", percent(kept, now))
        });
    format!(
        "{name:<28} {:>12} {:>8} {change:>6} {:>12} {:>6} {:>10} {:>6}",
        shown(now.instructions, 1),
        shown(kept.and_then(|kept| kept.instructions), 1),
        shown(Some(now.allocations), 2),
        shown(kept.map(|kept| kept.allocations), 2),
        shown(Some(now.bytes), 1),
        shown(kept.map(|kept| kept.bytes), 1),
    )
}

impl Kept {
    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// As it is in the repository: a line a number, so that a change of one shows as one.
    pub(crate) fn write(&self) -> String {
        let mut text = String::from(
            "# What one operation costs. `just counts --bless` writes this, `just counts` compares: bench/README.md.\n",
        );
        text.push_str(&format!("counted_with = {:?}\n", self.counted_with));
        for (name, count) in &self.paths {
            text.push_str(&format!("\n[paths.{name:?}]\n"));
            if let Some(instructions) = count.instructions {
                text.push_str(&format!("instructions = {instructions:.1}\n"));
            }
            text.push_str(&format!("allocations = {:.2}\n", count.allocations));
            text.push_str(&format!("bytes = {:.1}\n", count.bytes));
        }
        text
    }
}
