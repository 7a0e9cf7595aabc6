//! Drops expired entries and publishes the cache's metrics, once per sweep interval.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::Gauge;
use tokio::sync::watch;

use super::known::Known;
use super::lease::Held;
use super::metrics;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Registry;
use crate::shutdown::Shutdown;
use crate::topology::view::View;

/// The most entries that one sweep drops: this bounds how long it keeps a core.
const SWEEP_ENTRIES: usize = 100_000;

/// Drops expired entries, and publishes metrics of the cache and of the lease.
pub(super) struct Sweeper {
    cache: Cache,
    clock: Clock,
    view: watch::Receiver<Arc<View>>,
    budget_bytes: u64,
    metrics: metrics::CacheMetrics,
    held: Held,
    isolated: Gauge,
}

impl Sweeper {
    /// The sweeper of a node with this id, view and lease.
    pub(super) fn new(
        known: &Known,
        cache: &Cache,
        clock: Clock,
        config: &Config,
        registry: &Registry,
    ) -> Self {
        Self {
            cache: cache.clone(),
            clock,
            view: known.view.clone(),
            budget_bytes: config.node.memory.0,
            metrics: metrics::CacheMetrics::register(registry),
            held: known.held.clone(),
            isolated: metrics::isolated(registry),
        }
    }

    /// Sweeps once per `every`, until shutdown.
    pub(super) async fn run(self, every: Duration, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.begun() => return,
            }
            self.cache.sweep(self.clock.now(), SWEEP_ENTRIES);
            let is_isolated = !self.held.is_valid(self.clock.now());
            self.isolated.set(f64::from(u8::from(is_isolated)));
            let view = Arc::clone(&self.view.borrow());
            self.metrics
                .show(&self.cache.stats(), self.budget_bytes, &view);
        }
    }
}
