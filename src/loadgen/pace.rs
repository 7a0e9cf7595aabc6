//! When requests are to be sent: a sequence of times from the start, the same for everybody who
//! computes it. Pure.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::plan::Arrivals;

/// A request's number in the run and when it is due, from the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Due {
    pub(super) number: u64,
    pub(super) at: Duration,
}

/// Intended send times, in order, until the end.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    gap_seconds: f64,
    random: Option<SmallRng>,
    at_seconds: f64,
    end: Duration,
    number: u64,
}

impl Pace {
    /// `rate_per_second` requests until `end`; the first of even arrivals is due at once.
    pub(super) fn new(rate_per_second: f64, arrivals: Arrivals, end: Duration, seed: u64) -> Self {
        Self {
            gap_seconds: rate_per_second.recip(),
            random: match arrivals {
                Arrivals::Even => None,
                Arrivals::Poisson => Some(SmallRng::seed_from_u64(seed)),
            },
            at_seconds: 0.0,
            end,
            number: 0,
        }
    }

    /// Every `stride`th, from `first`: one of `stride` workers' share.
    pub(super) fn share(self, first: usize, stride: usize) -> impl Iterator<Item = Due> {
        self.skip(first).step_by(stride)
    }
}

impl Iterator for Pace {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let at_seconds = match &mut self.random {
            // By multiplication: a sum of gaps would drift over millions of them.
            None => self.number as f64 * self.gap_seconds,
            Some(random) => {
                // From 0 inclusive to 1 exclusive, so that the logarithm is finite.
                let uniform: f64 = random.random();
                self.at_seconds -= (1.0 - uniform).ln() * self.gap_seconds;
                self.at_seconds
            }
        };
        if at_seconds >= self.end.as_secs_f64() {
            return None;
        }
        let due = Due {
            number: self.number,
            at: Duration::from_secs_f64(at_seconds),
        };
        self.number += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Duration = Duration::from_secs(10);

    #[test]
    fn even_arrivals_are_as_many_as_the_rate_says_at_equal_distances() {
        let pace = Pace::new(300.0, Arrivals::Even, END, 1);
        let times: Vec<_> = pace.map(|due| due.at).collect();
        assert_eq!(times.len(), 3000);
        assert_eq!(times[0], Duration::ZERO);
        assert_eq!(times[2999], Duration::from_secs_f64(2999.0 / 300.0));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_gaps_of_an_exponential_distribution() {
        let pace = Pace::new(1000.0, Arrivals::Poisson, END, 1);
        let times: Vec<_> = pace.map(|due| due.at).collect();
        assert!((9_600..10_400).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted());
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let long = gaps.filter(|gap| *gap > Duration::from_millis(1)).count();
        // e⁻¹ of the gaps are longer than their mean.
        let share = long as f64 / times.len() as f64;
        assert!((share - 0.368).abs() < 0.03, "{share}");
    }

    #[test]
    fn the_shares_of_workers_are_the_whole() {
        for arrivals in [Arrivals::Even, Arrivals::Poisson] {
            let pace = Pace::new(100.0, arrivals, Duration::from_secs(1), 1);
            let mut together: Vec<_> = (0..3)
                .flat_map(|first| pace.clone().share(first, 3))
                .collect();
            together.sort_by_key(|due| due.number);
            assert_eq!(together, pace.collect::<Vec<_>>());
        }
    }
}
