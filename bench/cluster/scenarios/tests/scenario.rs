//! What the list of scenarios must be for it to be carried out.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::plan::{after, estimate, told};
use crate::scenario::ALL;

#[test]
fn each_scenario_has_its_own_name_and_says_what_it_does() {
    let names: BTreeSet<_> = ALL.iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), ALL.len());
    for scenario in ALL {
        let name = scenario.name;
        assert!(!name.is_empty() && !scenario.what.is_empty(), "{name}");
        assert!(
            !scenario.steps.is_empty() && !scenario.demands.is_empty(),
            "{name}"
        );
        // A zone that is cut off or killed is the last, and is somebody's.
        assert!(scenario.nodes >= scenario.zones, "{name}");
    }
}

#[test]
fn no_scenario_is_stopped_before_it_can_be_over() {
    for scenario in ALL {
        let spare = scenario.bound.saturating_sub(estimate(scenario));
        assert!(
            spare >= Duration::from_secs(40),
            "{}: {spare:?}",
            scenario.name
        );
    }
}

#[test]
fn what_a_scenario_needs_of_the_machine_follows_from_its_steps() {
    let needs = |name: &str| {
        let found = ALL.iter().find(|scenario| scenario.name == name);
        let scenario = found.unwrap_or_else(|| panic!("no scenario {name}"));
        (
            scenario.cuts_links(),
            scenario.fills_a_disk(),
            scenario.crowds_a_core(),
            scenario.rate(5_000),
        )
    };
    assert_eq!(needs("3to4"), (false, false, false, 5_000));
    for name in ["zone-cut-off", "one-way-in", "one-way-out"] {
        assert_eq!(needs(name), (true, false, false, 5_000));
    }
    assert_eq!(needs("disk-full"), (false, true, false, 5_000));
    assert_eq!(needs("busy-cpu"), (false, false, true, 2_500));
}

#[test]
fn it_is_measured_longer_where_caches_have_to_fill_again() {
    for (name, seconds) in [("3to4", 60), ("rolling-restart", 60), ("frozen", 30)] {
        let scenario = ALL.iter().find(|scenario| scenario.name == name).unwrap();
        assert_eq!(after(scenario), Duration::from_secs(seconds), "{name}");
    }
}

#[test]
fn whoever_starts_it_is_told_how_long_it_takes() {
    let runs: Vec<_> = ALL
        .iter()
        .take(2)
        .map(|scenario| (scenario, "warm"))
        .collect();
    let text = told(&runs);
    assert!(text.starts_with("2 runs, about 5 minutes: "), "{text}");
    assert!(text.ends_with("3to4 warm, 4to3 warm"), "{text}");
}
