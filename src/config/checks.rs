//! Checks between settings: each is right alone and they cannot be meant together. Pure.

use super::Config;
use super::report::Mistakes;
use super::settings::Settings;
use super::value::show_duration;

/// Two settings that do not fit.
struct Conflict {
    /// The setting whose place is reported unless only the other one was changed.
    first: (&'static str, &'static str),
    second: (&'static str, &'static str),
    what: String,
    right: &'static str,
}

/// Notes every pair of settings that do not fit, except where one of them has a mistake of its own.
pub(super) fn check(config: &Config, settings: &Settings, mistakes: &mut Mistakes) {
    for conflict in conflicts(config) {
        let row = |(section, key)| {
            settings
                .row(section, key)
                .expect("conflicts name settings of the schema")
        };
        let (first, second) = (row(conflict.first), row(conflict.second));
        if first.doubtful || second.doubtful {
            continue;
        }
        let place = if first.place == super::Place::Default {
            &second.place
        } else {
            &first.place
        };
        mistakes.push(place.clone(), conflict.what, conflict.right.to_owned());
    }
}

/// Every pair of settings that do not fit.
fn conflicts(config: &Config) -> Vec<Conflict> {
    let Config {
        node,
        origin,
        pipeline,
        ..
    } = config;
    let mut found = Vec::new();
    if pipeline.ping_timeout < pipeline.ping_interval * 2 {
        found.push(Conflict {
            first: ("pipeline", "ping_timeout"),
            second: ("pipeline", "ping_interval"),
            what: format!(
                "pipeline.ping_timeout is \"{}\" and pipeline.ping_interval is \"{}\"",
                show_duration(pipeline.ping_timeout),
                show_duration(pipeline.ping_interval)
            ),
            right: "expected a timeout of at least two intervals, so that one late ping is no outage",
        });
    }
    if pipeline.reconnect_max < pipeline.reconnect_min {
        found.push(Conflict {
            first: ("pipeline", "reconnect_max"),
            second: ("pipeline", "reconnect_min"),
            what: format!(
                "pipeline.reconnect_max is \"{}\" and pipeline.reconnect_min is \"{}\"",
                show_duration(pipeline.reconnect_max),
                show_duration(pipeline.reconnect_min)
            ),
            right: "expected reconnect_max to be at least reconnect_min",
        });
    }
    if node.max_waiters_per_group < node.max_waiters_per_key {
        found.push(Conflict {
            first: ("node", "max_waiters_per_group"),
            second: ("node", "max_waiters_per_key"),
            what: format!(
                "node.max_waiters_per_group is {} and node.max_waiters_per_key is {}",
                node.max_waiters_per_group, node.max_waiters_per_key
            ),
            right: "expected a group to allow at least as many waiters as one of its keys",
        });
    }
    if origin.password.is_some() && origin.password_file.is_some() {
        found.push(Conflict {
            first: ("origin", "password_file"),
            second: ("origin", "password"),
            what: "origin.password and origin.password_file are both set".to_owned(),
            right: "expected one of them",
        });
    }
    if origin.memory_failure_ratio + origin.memory_hang_ratio > 1.0 {
        found.push(Conflict {
            first: ("origin", "memory_failure_ratio"),
            second: ("origin", "memory_hang_ratio"),
            what: format!(
                "origin.memory_failure_ratio is {:?} and origin.memory_hang_ratio is {:?}",
                origin.memory_failure_ratio, origin.memory_hang_ratio
            ),
            right: "expected a sum of at most 1.0, since a call either fails or hangs",
        });
    }
    found
}
