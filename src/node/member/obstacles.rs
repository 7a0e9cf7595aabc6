//! What keeps this node from being up in a cluster: for the log (each reason once), a metric and `/readyz`.
//!
//! The kinds are in [`crate::membership::obstacle`]. `admission` and `life` note them.

use std::collections::VecDeque;

use metrics::Gauge;
use parking_lot::Mutex;

use crate::membership::Reason;
use crate::membership::obstacle::{Kind, Obstacle};
use crate::metrics::Registry;

/// The most reasons that are remembered, so that each is logged once, even if two alternate.
const LOGGED_MAX: usize = 32;

/// The obstacles that this node has met.
#[derive(Debug)]
pub(in crate::node) struct Obstacles {
    met: Mutex<Met>,
    gauges: Vec<(Kind, Gauge)>,
}

#[derive(Debug, Default)]
struct Met {
    latest: Option<Reason>,
    /// The newest last.
    logged: VecDeque<Reason>,
}

impl Obstacles {
    pub(in crate::node) fn register(registry: &Registry) -> Self {
        let gauge = |(kind, label)| {
            let gauge = registry.gauge(
                "gcache_node_obstacle_info",
                "1 for what keeps the node from being up in a cluster, else 0.",
                &[("reason", label)],
            );
            gauge.set(0.0);
            (kind, gauge)
        };
        Self {
            met: Mutex::default(),
            gauges: Kind::ALL.into_iter().map(gauge).collect(),
        }
    }

    /// Notes an obstacle, and logs it unless that was done.
    pub(in crate::node) fn note(&self, Obstacle { kind, why }: Obstacle) {
        for (other, gauge) in &self.gauges {
            gauge.set(f64::from(u8::from(*other == kind)));
        }
        let mut met = self.met.lock();
        if !met.logged.contains(&why) {
            tracing::warn!(reason = kind.label(), why, "not admitted to the cluster");
            if met.logged.len() == LOGGED_MAX {
                met.logged.pop_front();
            }
            met.logged.push_back(why.clone());
        }
        met.latest = Some(why);
    }

    /// Notes that there is none any more.
    pub(in crate::node) fn overcome(&self) {
        for (_, gauge) in &self.gauges {
            gauge.set(0.0);
        }
        *self.met.lock() = Met::default();
    }

    /// The latest, if there is one.
    pub(in crate::node) fn latest(&self) -> Option<Reason> {
        self.met.lock().latest.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_obstacle_is_shown_until_it_is_overcome() {
        let registry = Registry::new();
        let obstacles = Obstacles::register(&registry);
        let shown = |label: &str, value: u8| {
            let line = format!("gcache_node_obstacle_info{{reason=\"{label}\"}} {value}\n");
            assert!(registry.render().contains(&line), "{line}");
        };
        shown("full", 0);
        obstacles.note(Obstacle::new(Kind::Full, "full"));
        obstacles.note(Obstacle::new(Kind::TooOld, "old"));
        assert_eq!(obstacles.latest().as_deref(), Some("old"));
        shown("full", 0);
        shown("too_old", 1);
        obstacles.overcome();
        assert_eq!(obstacles.latest(), None);
        shown("too_old", 0);
    }
}
