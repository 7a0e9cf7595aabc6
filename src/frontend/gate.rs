//! The bounds on the look-ups of a frontend that are under way, and how long a caller that finds no place
//! had better stay away.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::no_answer::NoAnswer;
use crate::ids::GroupId;
use crate::metrics::Registry;
use crate::overload::shares::{self, Bounds, Full, Place};
use crate::topology::model::group::Group;

/// The longest that a caller is asked to stay away.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// How much a load counts in the mean of its group's latest loads: one part in so many. So the mean
/// follows a change within some eight loads, and is not that of a single one.
const WEIGHT: u32 = 8;

/// The look-ups under way. Shared by all requests of a frontend.
pub(super) struct Gate {
    places: shares::Gate,
    /// How long the latest loads of each group took on the mean. As many as groups that were ever asked
    /// for, which come from the topology.
    loads: Mutex<HashMap<GroupId, Duration>>,
    registry: Registry,
}

impl Gate {
    pub(super) fn new(bounds: Bounds, registry: &Registry) -> Self {
        Self {
            places: shares::Gate::new(bounds),
            loads: Mutex::default(),
            registry: registry.clone(),
        }
    }

    /// Takes a place for a look-up of `group`, or counts it, and says which setting left it none.
    pub(super) fn enter(&self, group: &Group) -> Result<Place, NoAnswer> {
        let entered = self.places.enter(group.id);
        entered.map_err(|full| match full {
            Full::InAll => self.refuse(group, "frontend.max_waiting"),
            Full::PerGroup => self.refuse(group, "frontend.max_waiting_per_group"),
        })
    }

    /// Counts a call that the bounds of a pipeline left no place for, and says which setting did.
    pub(super) fn refused(&self, group: &Group, full: Full) -> NoAnswer {
        match full {
            Full::InAll => self.refuse(group, "pipeline.max_in_flight"),
            Full::PerGroup => self.refuse(group, "pipeline.max_in_flight_per_group"),
        }
    }

    fn refuse(&self, group: &Group, setting: &'static str) -> NoAnswer {
        let limit = setting.split('.').next_back().unwrap_or(setting);
        // Registering again only finds the counter.
        let refused = self.registry.counter(
            "gcache_frontend_refused_calls_total",
            "Look-ups that a bound of the frontend left no place for, by that bound.",
            &[("group", &group.name), ("limit", limit)],
        );
        refused.increment(1);
        NoAnswer::Overloaded(setting)
    }

    /// Notes how long a look-up that waited for a load took.
    pub(super) fn loaded(&self, group: GroupId, took: Duration) {
        let mut loads = self.loads.lock();
        let mean = loads.entry(group).or_insert(took);
        *mean = *mean * (WEIGHT - 1) / WEIGHT + took / WEIGHT;
    }

    /// Says when a caller that found no place in `group` may try again: by then what waits now is answered, if
    /// it takes as long as what came before.
    pub(super) fn retry_after(&self, group: GroupId) -> Duration {
        let mean = self.loads.lock().get(&group).copied();
        mean.unwrap_or_default().min(MAX_RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(1);

    fn gate() -> Gate {
        let bounds = Bounds {
            in_all: 2,
            per_group: 2,
        };
        Gate::new(bounds, &Registry::new())
    }

    #[test]
    fn a_caller_without_a_place_is_asked_to_stay_away_for_as_long_as_a_load_takes() {
        let gate = gate();
        assert_eq!(gate.retry_after(GROUP), Duration::ZERO, "nothing is known");
        gate.loaded(GROUP, Duration::from_secs(4));
        assert_eq!(gate.retry_after(GROUP), Duration::from_secs(4));
        for _ in 0..50 {
            gate.loaded(GROUP, Duration::from_millis(10));
        }
        assert!(gate.retry_after(GROUP) < Duration::from_millis(20));
        assert_eq!(gate.retry_after(GroupId(2)), Duration::ZERO);
    }

    #[test]
    fn nobody_is_asked_to_stay_away_for_minutes() {
        let gate = gate();
        gate.loaded(GROUP, Duration::from_secs(300));
        assert_eq!(gate.retry_after(GROUP), MAX_RETRY_AFTER);
    }
}
