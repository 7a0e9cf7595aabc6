//! Where components register what they count, and how it is shown to Prometheus.
//!
//! No statics: a role makes a [`Registry`] and hands it to its components, each of which owns a cloneable
//! struct of handles. In `dev` several roles share one exposition; each has a registry of its own with a
//! `node` label, made with [`Registry::labelled`].

use std::sync::Arc;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

/// 50 µs to 10 s: below lies the cost of a hit on loopback, above every deadline has passed.
const SECONDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// 1 to 1024 in powers of two: how many calls or keys travelled together.
const BATCH: [f64; 11] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

/// Calls of a node, by group and outcome. Named here, as are the three below, because operators' commands
/// read it too.
pub const NODE_CALLS: &str = "gcache_node_calls_total";

/// Charged to a node's entries.
pub const CACHE_MEMORY: &str = "gcache_cache_memory_bytes";

/// A node's entries.
pub const CACHE_ENTRIES: &str = "gcache_cache_entries";

/// Keys that a node asked of the origin.
pub const LOADED_KEYS: &str = "gcache_origin_loaded_keys_total";

/// Hands out metric handles. Clones and labelled copies feed the same exposition.
#[derive(Clone)]
pub struct Registry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    labels: Vec<Label>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty exposition.
    #[must_use]
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_batch_calls".into()), &BATCH))
            .and_then(|b| b.set_buckets_for_metric(Matcher::Suffix("_batch_keys".into()), &BATCH))
            .expect("the bucket lists are not empty")
            .build_recorder();
        Self {
            handle: recorder.handle(),
            recorder: Arc::new(recorder),
            labels: Vec::new(),
        }
    }

    /// The same exposition, with one more label on everything registered through the result.
    #[must_use]
    pub fn labelled(&self, name: &'static str, value: &str) -> Self {
        let mut labels = self.labels.clone();
        labels.push(Label::new(name, value.to_owned()));
        Self {
            labels,
            ..self.clone()
        }
    }

    /// A count that only grows. `name` ends in `_total`.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        self.recorder.describe_counter(
            KeyName::from_const_str(name),
            None,
            SharedString::const_str(help),
        );
        self.recorder
            .register_counter(&self.key(name, labels), &METADATA)
    }

    /// A value that goes up and down.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        self.recorder.describe_gauge(
            KeyName::from_const_str(name),
            None,
            SharedString::const_str(help),
        );
        self.recorder
            .register_gauge(&self.key(name, labels), &METADATA)
    }

    /// A distribution: of seconds if `name` ends in `_seconds`, of a batch's size if it ends in
    /// `_batch_calls` or `_batch_keys`.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Histogram {
        let unit = name.ends_with("_seconds").then_some(Unit::Seconds);
        self.recorder.describe_histogram(
            KeyName::from_const_str(name),
            unit,
            SharedString::const_str(help),
        );
        self.recorder
            .register_histogram(&self.key(name, labels), &METADATA)
    }

    /// Says once what this process is, so that a dashboard can join on it.
    pub fn describe_process(&self, role: &str, zone: &str) {
        let labels = &[
            ("role", role),
            ("zone", zone),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        self.gauge(
            "gcache_process_info",
            "What this process is; always 1.",
            labels,
        )
        .set(1.0);
    }

    /// The exposition in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds what histograms have gathered into their buckets; to be called every few seconds, or
    /// they grow until somebody scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    fn key(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Key {
        let own = labels.iter().map(|&(k, v)| Label::new(k, v.to_owned()));
        Key::from_parts(
            name,
            self.labels.iter().cloned().chain(own).collect::<Vec<_>>(),
        )
    }
}

const METADATA: Metadata<'static> = Metadata::new("gcache", Level::INFO, None);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roles_share_one_exposition_without_repeating_its_types() {
        let all = Registry::new();
        for node in ["a", "b"] {
            let mine = all.labelled("node", node);
            mine.counter("gcache_test_things_total", "Things.", &[("kind", "x")])
                .increment(2);
            mine.histogram("gcache_test_load_seconds", "Loads.", &[])
                .record(0.003);
        }
        let text = all.render();
        assert_eq!(
            text.matches("# TYPE gcache_test_things_total counter")
                .count(),
            1,
            "{text}"
        );
        assert!(
            text.contains(r#"gcache_test_things_total{node="b",kind="x"} 2"#),
            "{text}"
        );
        assert!(
            text.contains(r#"gcache_test_load_seconds_bucket{node="a",le="0.005"} 1"#),
            "{text}"
        );
    }
}
