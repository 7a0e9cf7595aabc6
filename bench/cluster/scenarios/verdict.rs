//! Demands against what was measured. Pure.

use super::outcome::{Goal, Settled};
use super::scenario::Demand;
use super::windows::{Point, Sums, WINDOW_REQUESTS, between, windows};

type Rate = fn(&Sums) -> f64;

/// What is judged.
pub(crate) struct Measured<'a> {
    /// All seconds, those before the change too.
    pub(crate) points: &'a [Point],
    pub(crate) steps: &'a [Settled],
    pub(crate) before: Sums,
    pub(crate) during: Sums,
    pub(crate) after: Sums,
    pub(crate) since: Sums,
}

/// Holds a run against a demand.
pub(crate) fn judge(demand: Demand, measured: &Measured<'_>) -> Vec<Goal> {
    match demand {
        Demand::HitDropPoints(points) => vec![measured.hit_drop(points)],
        Demand::HitFloor(share) => vec![measured.hit_floor(share)],
        Demand::OriginRatio(ratio) => measured.origin(ratio),
        Demand::FairMoves => vec![measured.moves()],
        Demand::ConvergedSeconds(seconds) => vec![measured.converged(seconds)],
        Demand::FailedShare(share) => vec![measured.failed(share)],
        Demand::NoFailureAfter(seconds) => vec![measured.failed_after(seconds)],
        Demand::TailRatio(ratio) => vec![measured.tail(ratio)],
        Demand::P99RatioAfter { seconds, ratio } => vec![measured.p99_after(seconds, ratio)],
    }
}

impl Measured<'_> {
    /// Every window that the change can have touched, and later ones.
    fn windows(&self) -> impl Iterator<Item = (f64, Sums)> {
        let since = between(self.points, -1.0, f64::INFINITY);
        windows(since, WINDOW_REQUESTS).map(|window| (window[0].at, Sums::of(window)))
    }

    fn worst_hits(&self) -> (f64, f64) {
        let ratios = self.windows().map(|(at, sums)| (at, sums.hit_ratio));
        let worst = ratios.min_by(|(_, a), (_, b)| a.total_cmp(b));
        worst.unwrap_or((0.0, 0.0))
    }

    /// Fewer nodes hold fewer keys: that is no fault of a move, and so the lower one of before and after
    /// counts.
    fn hit_drop(&self, points: f64) -> Goal {
        let (at, worst) = self.worst_hits();
        let reference = self.before.hit_ratio.min(self.after.hit_ratio);
        let (drop, plain) = (
            (reference - worst) * 100.0,
            (self.before.hit_ratio - worst) * 100.0,
        );
        let unit = if points == 1.0 { "point" } else { "points" };
        Goal {
            goal: format!("the hit ratio drops by ≤ {points} {unit} in any window"),
            measured: format!(
                "{drop:.2} points: {:.2} % at {at:.0} s, {:.2} % before ({plain:.2} points), {:.2} % in the end",
                worst * 100.0,
                self.before.hit_ratio * 100.0,
                self.after.hit_ratio * 100.0,
            ),
            is_met: drop <= points,
        }
    }

    fn hit_floor(&self, share: f64) -> Goal {
        let (at, worst) = self.worst_hits();
        let measured = worst / self.before.hit_ratio;
        Goal {
            goal: format!(
                "the hit ratio is never below {:.0} % of before",
                share * 100.0
            ),
            measured: format!(
                "{:.1} % of before: {:.2} % at {at:.0} s, {:.2} % before",
                measured * 100.0,
                worst * 100.0,
                self.before.hit_ratio * 100.0
            ),
            is_met: measured >= share,
        }
    }

    /// By calls and by keys: a flood of misses goes in fewer calls with more keys. The higher rate of before
    /// and after counts, as for hits.
    fn origin(&self, ratio: f64) -> Vec<Goal> {
        let kinds: [(&str, Rate); 2] = [
            ("origin queries", |sums| sums.origin_calls_per_second),
            ("keys asked of the origin", |sums| {
                sums.origin_keys_per_second
            }),
        ];
        let goal = |(name, of): (&str, Rate)| {
            let (before, after) = (of(&self.before), of(&self.after));
            let reference = before.max(after);
            let rates = self.windows().map(|(at, sums)| (at, of(&sums)));
            let worst = rates.max_by(|(_, a), (_, b)| a.total_cmp(b));
            let (at, worst) = worst.unwrap_or((0.0, f64::INFINITY));
            let measured = worst / reference;
            Goal {
                goal: format!("{name} per second ≤ {ratio} × before"),
                measured: format!(
                    "{measured:.2} ×: {worst:.0}/s at {at:.0} s, {before:.0}/s before ({:.2} ×), {after:.0}/s in the end",
                    worst / before
                ),
                is_met: measured <= ratio,
            }
        };
        kinds.into_iter().map(goal).collect()
    }

    fn moves(&self) -> Goal {
        let told = self.steps.iter().map(|step| match step.moved == step.fair {
            true => step.moved.to_string(),
            false => format!("{} for {}", step.moved, step.fair),
        });
        Goal {
            goal: "the partitions moved are the fair share exactly".into(),
            measured: told.collect::<Vec<_>>().join(", "),
            is_met: !self.steps.is_empty() && self.steps.iter().all(|step| step.moved == step.fair),
        }
    }

    fn converged(&self, seconds: f64) -> Goal {
        let longest = self.steps.iter().map(|step| step.seconds);
        let longest = longest.fold(0.0, f64::max);
        Goal {
            goal: format!("converged ≤ {seconds} s per step"),
            measured: format!("{longest:.1} s"),
            is_met: !self.steps.is_empty() && longest <= seconds,
        }
    }

    fn failed(&self, share: f64) -> Goal {
        let (failed, requests) = (self.since.failed, self.since.requests);
        let measured = failed as f64 / (requests as f64).max(1.0);
        Goal {
            goal: match share {
                0.0 => "no failed request".into(),
                share => format!("failed requests ≤ {} %", share * 100.0),
            },
            measured: match failed {
                0 => format!("none of {requests}"),
                _ => format!("{failed} of {requests}, {:.3} %", measured * 100.0),
            },
            is_met: requests > 0 && measured <= share,
        }
    }

    fn failed_after(&self, seconds: f64) -> Goal {
        let failing = self.points.iter().filter(|point| point.failed > 0);
        let last = failing.map(|point| point.at + 1.0).next_back();
        let last = last.filter(|at| *at > 0.0);
        Goal {
            goal: format!("nothing fails after {seconds} s"),
            measured: last.map_or("nothing fails".into(), |at| {
                format!("the last at {at:.0} s")
            }),
            is_met: last.is_none_or(|at| at <= seconds),
        }
    }

    fn tail(&self, ratio: f64) -> Goal {
        let (before, during) = (self.before.p99_9_us as f64, self.during.p99_9_us as f64);
        Goal {
            goal: format!("p99.9 ≤ {ratio} × before"),
            measured: format!(
                "{:.2} ×: {:.1} ms, {:.1} ms before",
                during / before,
                during / 1e3,
                before / 1e3
            ),
            is_met: during <= ratio * before,
        }
    }

    fn p99_after(&self, seconds: f64, ratio: f64) -> Goal {
        let before = self.before.p99_us as f64;
        let late = self.windows().filter(|(at, _)| *at >= seconds);
        let tails = late.map(|(at, sums)| (at, sums.p99_us as f64));
        let worst = tails.max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (at, worst) = worst.unwrap_or((0.0, f64::INFINITY));
        Goal {
            goal: format!("p99 < {ratio} × before from {seconds} s on"),
            measured: format!(
                "{:.2} ×: {:.1} ms at {at:.0} s, {:.1} ms before",
                worst / before,
                worst / 1e3,
                before / 1e3
            ),
            is_met: worst < ratio * before,
        }
    }
}
