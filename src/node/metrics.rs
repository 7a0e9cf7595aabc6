//! The metrics of a node's read path and of its cache.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram};
use parking_lot::RwLock;

use crate::cache::{Kind, Stats};
use crate::ids::GroupId;
use crate::metrics::{CACHE_ENTRIES, CACHE_MEMORY, NODE_CALLS, Registry};
use crate::rpc::proto::Via;
use crate::topology::model::group::Group;
use crate::topology::view::View;

/// The outcome of a call of a known group: every such call counts as exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// A value from the cache, fresh.
    Hit,
    /// "No such key" from the cache.
    NegativeHit,
    /// A remembered failure from the cache.
    ErrorHit,
    /// A stale value, while one refresh runs.
    Stale,
    /// A stale value, because the origin fails or too many callers wait.
    StaleIfError,
    /// Began a load.
    Miss,
    /// Joined a load.
    Collapsed,
    /// Deleted.
    Deleted,
    /// Expired on request.
    Expired,
    /// Not this node's key.
    NotOwner,
    /// A bound was reached, or the key is not valid.
    Refused,
}

impl CallOutcome {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Hit, "hit"),
        (Self::NegativeHit, "negative-hit"),
        (Self::ErrorHit, "error-hit"),
        (Self::Stale, "stale"),
        (Self::StaleIfError, "stale-if-error"),
        (Self::Miss, "miss"),
        (Self::Collapsed, "collapsed"),
        (Self::Deleted, "deleted"),
        (Self::Expired, "expired"),
        (Self::NotOwner, "not-owner"),
        (Self::Refused, "refused"),
    ];

    /// The kind of hit that a fresh entry is.
    #[must_use]
    pub(super) fn of_fresh(kind: Kind) -> Self {
        match kind {
            Kind::Value => Self::Hit,
            Kind::Negative => Self::NegativeHit,
            Kind::Error(_) => Self::ErrorHit,
        }
    }

    /// The kind of stale answer, of two.
    #[must_use]
    pub(super) fn of_stale(via: Via) -> Self {
        if via == Via::StaleIfError {
            Self::StaleIfError
        } else {
            Self::Stale
        }
    }
}

/// One counter per outcome, of one group.
struct GroupCounters {
    id: GroupId,
    by_outcome: [Counter; CallOutcome::ALL.len()],
}

/// Counts calls by group and outcome. Groups come from the topology, so labels stay a closed set.
#[derive(Clone)]
pub(super) struct ReadMetrics {
    registry: Registry,
    groups: Arc<RwLock<Vec<GroupCounters>>>,
}

impl ReadMetrics {
    /// Registers nothing yet: a group's counters appear with its first call.
    #[must_use]
    pub(super) fn register(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            groups: Arc::default(),
        }
    }

    /// Counts a call of `group` that may not wait because of a bound; `limit` is the setting's name.
    pub(super) fn limited(&self, group: &Group, limit: &'static str) {
        // Registering again only finds the counter.
        let labels = [("group", &*group.name), ("limit", limit)];
        let refused = self.registry.counter(
            "gcache_node_refused_calls_total",
            "Calls that may not wait because of a bound, by that bound.",
            &labels,
        );
        refused.increment(1);
    }

    /// Counts a call of `group`.
    pub(super) fn count(&self, group: &Group, outcome: CallOutcome) {
        // The discriminant is the index in ALL, which a test checks.
        let place = outcome as usize;
        if let Some(counters) = self.groups.read().iter().find(|known| known.id == group.id) {
            counters.by_outcome[place].increment(1);
            return;
        }
        let by_outcome = CallOutcome::ALL.map(|(_, label)| {
            self.registry.counter(
                NODE_CALLS,
                "Calls by group and outcome.",
                &[("group", &group.name), ("outcome", label)],
            )
        });
        by_outcome[place].increment(1);
        self.groups.write().push(GroupCounters {
            id: group.id,
            by_outcome,
        });
    }
}

/// The state of a node's cache, as gauges and counters that are set from its own statistics.
#[derive(Clone)]
pub(super) struct CacheMetrics {
    registry: Registry,
    memory: Gauge,
    budget: Gauge,
    entries: Gauge,
    flights: Gauge,
    waiters: Gauge,
    evicted: Counter,
    expired: Counter,
    not_stored: Counter,
}

impl CacheMetrics {
    /// Registers the cache's metrics.
    #[must_use]
    pub(super) fn register(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            memory: registry.gauge(CACHE_MEMORY, "Charged to entries, overhead included.", &[]),
            budget: registry.gauge(
                "gcache_cache_budget_bytes",
                "The bound of gcache_cache_memory_bytes.",
                &[],
            ),
            entries: registry.gauge(
                CACHE_ENTRIES,
                "Entries, void ones not yet reclaimed included.",
                &[],
            ),
            flights: registry.gauge(
                "gcache_cache_flights",
                "Loads that callers wait for or refresh an entry.",
                &[],
            ),
            waiters: registry.gauge("gcache_cache_waiters", "Callers that wait for loads.", &[]),
            evicted: registry.counter(
                "gcache_cache_evicted_entries_total",
                "Entries dropped to make room.",
                &[],
            ),
            expired: registry.counter(
                "gcache_cache_expired_entries_total",
                "Entries dropped past every window.",
                &[],
            ),
            not_stored: registry.counter(
                "gcache_cache_unstored_fills_total",
                "Loaded values above max_value_bytes, or for which no room could be made.",
                &[],
            ),
        }
    }

    /// Publishes `stats`, those of each group under its name in `view`.
    pub(super) fn show(&self, stats: &Stats, budget_bytes: u64, view: &View) {
        self.memory.set(stats.bytes as f64);
        self.budget.set(budget_bytes as f64);
        self.entries.set(stats.entries as f64);
        self.flights.set(stats.flights as f64);
        self.waiters.set(stats.waiters as f64);
        self.evicted.absolute(stats.counts.evicted);
        self.expired.absolute(stats.counts.expired);
        self.not_stored.absolute(stats.counts.rejected);
        for group in view.groups() {
            let share = stats.groups.get(&group.id).copied().unwrap_or_default();
            self.of_group(group, "gcache_cache_group_memory_bytes", share.bytes);
            self.of_group(group, "gcache_cache_group_entries", share.entries);
            self.of_group(group, "gcache_cache_group_copied_bytes", share.copied_bytes);
            self.of_group(group, "gcache_cache_group_copied_entries", share.copies);
        }
    }

    /// Sets one gauge of a group. Sets one gauge of a group. Registering again only finds the gauge; this
    /// runs once a second.
    fn of_group(&self, group: &Group, name: &'static str, value: u64) {
        self.registry
            .gauge(
                name,
                "The group's share of the cache.",
                &[("group", &group.name)],
            )
            .set(value as f64);
    }
}

/// Registers the gauge that shows whether the node holds no lease.
pub(super) fn isolated(registry: &Registry) -> Gauge {
    registry.gauge(
        "gcache_node_isolated_info",
        "1 while the node holds no lease, else 0.",
        &[],
    )
}

/// Registers the gauge that shows whether the ring is paused.
pub(super) fn paused(registry: &Registry) -> Gauge {
    registry.gauge(
        "gcache_node_ring_paused_info",
        "1 while an operator has paused the ring, as far as the node knows, else 0.",
        &[],
    )
}

/// Registers the counter of directories that the node has deleted.
pub(super) fn collected(registry: &Registry) -> Counter {
    registry.counter(
        "gcache_node_collected_directories_total",
        "Directories of removed members that the node has deleted while it led.",
        &[],
    )
}

/// Registers the histogram of answers in one message to a frontend.
pub(super) fn sent_batches(registry: &Registry) -> Histogram {
    registry.histogram(
        "gcache_node_sent_batch_calls",
        "Answers in one message to a frontend.",
        &[],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_finds_its_own_label() {
        for (place, (outcome, _)) in CallOutcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, place);
        }
    }
}
