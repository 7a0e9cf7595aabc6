//! What came of a scenario: what is kept as JSON, and what Markdown and charts are made of. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::windows::Sums;

/// A run of a scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) what: String,
    /// `warm`: entries go with their partitions; `cold`: they do not.
    pub(crate) variant: String,
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) setting: Setting,
    /// What happened when.
    pub(crate) events: Vec<Event>,
    pub(crate) steps: Vec<Settled>,
    /// The seconds before the change.
    pub(crate) before: Sums,
    /// From the change until five seconds after the last step had converged.
    pub(crate) during: Sums,
    /// The last seconds.
    pub(crate) after: Sums,
    /// From the change to the end.
    pub(crate) since: Sums,
    pub(crate) goals: Vec<Goal>,
    /// Second by second.
    pub(crate) series: Series,
    /// Cores used over the whole measurement, by what used them; `others` is what has nothing to do with it.
    pub(crate) cores: BTreeMap<String, f64>,
}

/// How it was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// Requests per second that were intended.
    pub(crate) rate: u32,
    pub(crate) distribution: String,
    pub(crate) keys: u64,
    pub(crate) value_bytes: u64,
    /// The cache of each node.
    pub(crate) memory: String,
    pub(crate) frontends: usize,
    pub(crate) nodes_before: usize,
    pub(crate) nodes_after: usize,
    /// Entries of all nodes just before the change.
    pub(crate) entries: u64,
    /// What the way to the origin was lengthened by.
    pub(crate) added_ms: f64,
    /// What a call to the origin took before the change, as nodes see it.
    pub(crate) origin_call_ms: f64,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Seconds since the change.
    pub(crate) at: f64,
    pub(crate) what: String,
}

/// A step, once the cluster had converged again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settled {
    pub(crate) what: String,
    /// From what was done until every node owned its share and nothing moved.
    pub(crate) seconds: f64,
    /// Partitions that another member owns than before.
    pub(crate) moved: usize,
    /// How many must: what members own more than before, together.
    pub(crate) fair: usize,
}

/// Something that was demanded, and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) goal: String,
    pub(crate) measured: String,
    pub(crate) is_met: bool,
}

/// Numbers of every second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// When each began, in seconds since the change.
    pub(crate) at: Vec<f64>,
    pub(crate) requests: Vec<u64>,
    pub(crate) failed: Vec<u64>,
    pub(crate) hit_percent: Vec<f64>,
    pub(crate) origin_calls: Vec<f64>,
    pub(crate) origin_keys: Vec<f64>,
    pub(crate) p50_ms: Vec<f64>,
    pub(crate) p99_ms: Vec<f64>,
    pub(crate) p99_9_ms: Vec<f64>,
}

impl Outcome {
    /// The name of its files.
    pub(crate) fn file(&self) -> String {
        format!("{}.{}", self.scenario, self.variant)
    }
}
