//! How long an answer lives: a group's rules in milliseconds, and their application to one fill.

use std::time::Duration;

use super::entry::{Kind, saturated};
use super::request::{Role, STANDBY_MS};
use crate::ids::Millis;
use crate::topology::model::group::GroupSpec;
use crate::topology::view::Stamps;

/// A group's freshness rules. Made once per view, not per fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// How long a value is fresh, before jitter.
    pub ttl_ms: u32,
    /// The share of `ttl_ms` that is taken off at random, in 65,536ths, at most half.
    pub jitter: u16,
    /// How long after its freshness a value may be served while one refresh runs.
    pub stale_ms: u32,
    /// How long after its freshness a value may be served when the origin fails.
    pub stale_if_error_ms: u32,
    /// How long "no such key" is believed.
    pub negative_ttl_ms: u32,
    /// How long a failure is remembered.
    pub error_ttl_ms: u32,
    /// A larger value is served and not stored.
    pub max_value_bytes: u64,
}

impl Freshness {
    /// The rules of a group. Lifetimes above 49.7 days become 49.7 days.
    #[must_use]
    pub fn of(spec: &GroupSpec) -> Self {
        Self {
            ttl_ms: millis(spec.ttl),
            // A float cast saturates, and NaN becomes 0.
            jitter: (spec.ttl_jitter.clamp(0.0, 0.5) * 65_536.0) as u16,
            stale_ms: millis(spec.stale),
            stale_if_error_ms: millis(spec.stale_if_error),
            negative_ttl_ms: millis(spec.negative_ttl),
            error_ttl_ms: millis(spec.error_ttl),
            max_value_bytes: spec.max_value_bytes,
        }
    }

    /// `ttl_ms` less a share that `random` chooses uniformly between nothing and `jitter`.
    fn jittered_ttl_ms(&self, random: u64) -> u32 {
        let most = (u64::from(self.ttl_ms) * u64::from(self.jitter)) >> 16;
        // The high half of a product with a 32-bit number maps it to 0..=most without bias.
        let off = ((most + 1) * (random >> 32)) >> 32;
        self.ttl_ms - saturated(off)
    }
}

/// The circumstances in which a load ends: what decides whether and for how long it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// What is valid now, at the end of the load; read from a view taken after the load ended.
    pub stamps: Stamps,
    /// The group's rules.
    pub freshness: Freshness,
    /// The end of the load.
    pub now: Millis,
    /// When the origin was asked, or earlier.
    pub load_started: Millis,
    /// 64 random bits, for the jitter.
    pub random: u64,
}

/// The lifetimes of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lifetimes {
    pub(super) fresh_ms: u32,
    pub(super) stale_ms: u32,
    pub(super) stale_if_error_ms: u32,
}

impl Lifetimes {
    /// Returns how long an answer of this `kind` lives when `role` fills it.
    ///
    /// Only values have windows: "no such key" and errors are cheap to be wrong about for a
    /// moment and not longer. A last resort's answer is for those who wait, and lives for no one.
    pub(super) fn of(kind: Kind, role: Role, fill: &Fill) -> Self {
        let rules = &fill.freshness;
        let own = match kind {
            Kind::Value => Self {
                fresh_ms: rules.jittered_ttl_ms(fill.random),
                stale_ms: rules.stale_ms,
                stale_if_error_ms: rules.stale_if_error_ms,
            },
            Kind::Negative => Self {
                fresh_ms: rules.negative_ttl_ms,
                ..Self::default()
            },
            Kind::Error(kind) if kind.is_remembered() => Self {
                fresh_ms: rules.error_ttl_ms,
                ..Self::default()
            },
            Kind::Error(_) => Self::default(),
        };
        match role {
            Role::Owner => own,
            Role::Standby => {
                let left = STANDBY_MS.saturating_sub(fill.now.since(fill.load_started));
                Self {
                    fresh_ms: own.fresh_ms.min(saturated(left)),
                    ..Self::default()
                }
            }
            Role::LastResort => Self::default(),
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::load::LoadErrorKind;
    use super::*;
    use crate::ids::{Generation, Tenure};
    use crate::topology::model::group::Source;

    fn rules() -> Freshness {
        Freshness::of(&GroupSpec {
            source: Source::Table {
                table: "t".into(),
                key_column: "k".into(),
                value_column: "v".into(),
                key_type: None,
            },
            content_type: "text/plain".into(),
            ttl: Duration::from_secs(60),
            ttl_jitter: 0.25,
            stale: Duration::from_secs(30),
            stale_if_error: Duration::from_secs(300),
            negative_ttl: Duration::from_secs(5),
            error_ttl: Duration::from_millis(500),
            max_value_bytes: 1 << 20,
            on_isolated: crate::topology::model::group::OnIsolated::Serve,
            copies: 1,
        })
    }

    fn fill(random: u64) -> Fill {
        Fill {
            stamps: Stamps {
                tenure: Tenure(1),
                inherits: None,
                copies: None,
                generation: Generation(1),
            },
            freshness: rules(),
            now: Millis(10_000),
            load_started: Millis(9_500),
            random,
        }
    }

    #[test]
    fn jitter_only_shortens_and_by_no_more_than_its_share() {
        let (low, high) = (45_000, 60_000);
        assert_eq!(rules().jittered_ttl_ms(0), high);
        assert_eq!(rules().jittered_ttl_ms(u64::MAX), low);
        let step = u64::MAX / 1_000;
        let all: Vec<u32> = (0..1_000)
            .map(|i| rules().jittered_ttl_ms(i * step))
            .collect();
        assert!(all.iter().all(|ms| (low..=high).contains(ms)));
        let mean = all.iter().map(|&ms| u64::from(ms)).sum::<u64>() / 1_000;
        assert!(
            (52_400..=52_600).contains(&mean),
            "mean {mean} is not the middle"
        );
    }

    #[test]
    fn jitter_of_nothing_or_of_the_longest_ttl_is_in_range() {
        let none = Freshness {
            jitter: 0,
            ..rules()
        };
        assert_eq!(none.jittered_ttl_ms(u64::MAX), 60_000);
        let longest = Freshness {
            ttl_ms: u32::MAX,
            jitter: 32_768,
            ..rules()
        };
        assert_eq!(longest.jittered_ttl_ms(u64::MAX), u32::MAX - u32::MAX / 2);
    }

    #[test]
    fn only_values_have_windows() {
        let of = |kind| Lifetimes::of(kind, Role::Owner, &fill(0));
        assert_eq!(
            of(Kind::Value),
            Lifetimes {
                fresh_ms: 60_000,
                stale_ms: 30_000,
                stale_if_error_ms: 300_000
            }
        );
        assert_eq!(
            of(Kind::Negative),
            Lifetimes {
                fresh_ms: 5_000,
                ..Lifetimes::default()
            }
        );
        assert_eq!(
            of(Kind::Error(LoadErrorKind::Timeout)),
            Lifetimes {
                fresh_ms: 500,
                ..Lifetimes::default()
            }
        );
        assert_eq!(
            of(Kind::Error(LoadErrorKind::Overloaded)),
            Lifetimes::default()
        );
    }

    #[test]
    fn a_standbys_answer_lives_two_seconds_from_the_loads_start() {
        let of = |kind, fill| Lifetimes::of(kind, Role::Standby, fill);
        let soon = fill(0);
        assert_eq!(
            of(Kind::Value, &soon),
            Lifetimes {
                fresh_ms: 1_500,
                ..Lifetimes::default()
            }
        );
        assert_eq!(of(Kind::Error(LoadErrorKind::Timeout), &soon).fresh_ms, 500);
        let late = Fill {
            now: Millis(11_500),
            ..soon
        };
        assert_eq!(of(Kind::Value, &late), Lifetimes::default());
    }

    #[test]
    fn a_last_resorts_answer_lives_for_no_one() {
        assert_eq!(
            Lifetimes::of(Kind::Value, Role::LastResort, &fill(0)),
            Lifetimes::default()
        );
    }

    #[test]
    fn endless_lifetimes_are_cut_to_32_bits() {
        assert_eq!(millis(Duration::MAX), u32::MAX);
    }
}
