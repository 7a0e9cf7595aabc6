//! What a run came to, once it is over: its seconds beside each other, judged. Pure but for the date and the
//! machine's name.

use std::collections::BTreeMap;
use std::time::Duration;

use gcache::ids::NodeId;
use gcache::topology::model::partitions::PartitionTable;

use super::counters::{Sample, at, totals};
use super::machine::said;
use super::outcome::{Event, Outcome, Series, Setting, Settled};
use super::plan::BEFORE;
use super::scenario::Scenario;
use super::variant::Variant;
use super::verdict::{Measured, judge};
use super::windows::{Point, Second, Sums, between, points};

/// The last seconds, to which things have settled.
const SETTLED: Duration = Duration::from_secs(20);

/// What still belongs to a step after it has converged.
const AFTERMATH: Duration = Duration::from_secs(5);

/// What was seen of a run.
pub(crate) struct Told {
    pub(crate) samples: Vec<Sample>,
    pub(crate) seconds: Vec<Second>,
    /// When the change began, in milliseconds of Unix time.
    pub(crate) change: f64,
    pub(crate) events: Vec<Event>,
    pub(crate) steps: Vec<Settled>,
}

impl Told {
    /// Holds it against what is demanded.
    pub(crate) fn outcome(
        self,
        scenario: &Scenario,
        variant: &Variant,
        setting: Setting,
    ) -> Outcome {
        let (change, totals) = (self.change, totals(&self.samples));
        let points = points(&self.seconds, &totals, change);
        let last = points.last().map_or(0.0, |point| point.at + 1.0);
        let settled_at = self
            .events
            .iter()
            .rev()
            .find(|event| event.what.ends_with("converged"));
        let settled_at = settled_at.map_or(0.0, |event| event.at) + AFTERMATH.as_secs_f64();
        let of = |from: f64, to: f64| Sums::of(between(&points, from, to));
        let begin = -BEFORE.as_secs_f64();
        let points = between(&points, begin, last);
        let measured = Measured {
            points,
            steps: &self.steps,
            before: of(begin, 0.0),
            during: of(-1.0, settled_at),
            after: of(last - SETTLED.as_secs_f64(), last),
            since: of(-1.0, last),
        };
        let demands = scenario.demands.iter();
        let goals = demands
            .flat_map(|demand| judge(*demand, &measured))
            .collect();
        let (early, late) = (at(&totals, change + begin * 1e3), at(&totals, change));
        let call_seconds = late.call_seconds - early.call_seconds;
        let Measured {
            before,
            during,
            after,
            since,
            ..
        } = measured;
        Outcome {
            scenario: scenario.name.into(),
            what: scenario.what.into(),
            variant: variant.name.into(),
            date: said("date", &["-u", "+%F %H:%M UTC"]),
            machine: format!("{} cores, {}", said("nproc", &[]), said("uname", &["-srm"])),
            setting: Setting {
                origin_call_ms: call_seconds / (late.calls - early.calls).max(1.0) * 1e3,
                ..setting
            },
            series: series(points),
            cores: cores(&self.samples, change + begin * 1e3),
            events: self.events,
            steps: self.steps,
            before,
            during,
            after,
            since,
            goals,
        }
    }
}

/// How many partitions must change owner: as many as members own more than before.
pub(crate) fn must_move(before: &PartitionTable, after: &PartitionTable) -> usize {
    let owners = |table: &PartitionTable| {
        let mut owned: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (_, assignment) in table.iter() {
            if let Some(owner) = assignment.owner {
                *owned.entry(owner).or_default() += 1;
            }
        }
        owned
    };
    let before = owners(before);
    let gains = owners(after)
        .into_iter()
        .map(|(member, owned)| owned.saturating_sub(before.get(&member).copied().unwrap_or(0)));
    gains.sum()
}

fn series(points: &[Point]) -> Series {
    let mut series = Series::default();
    let round = |value: f64| (value * 1e3).round() / 1e3;
    for point in points {
        let sums = Sums::of(std::slice::from_ref(point));
        series.at.push(round(point.at));
        series.requests.push(sums.requests);
        series.failed.push(sums.failed);
        series.hit_percent.push(round(sums.hit_ratio * 100.0));
        series
            .origin_calls
            .push(round(sums.origin_calls_per_second));
        series.origin_keys.push(round(sums.origin_keys_per_second));
        series.p50_ms.push(sums.p50_us as f64 / 1e3);
        series.p99_ms.push(sums.p99_us as f64 / 1e3);
        series.p99_9_ms.push(sums.p99_9_us as f64 / 1e3);
    }
    series
}

/// What used how much of a core since `from`. Of a process that ended, what it used since the last sample
/// is not known.
fn cores(samples: &[Sample], from: f64) -> BTreeMap<String, f64> {
    let samples: Vec<_> = samples
        .iter()
        .filter(|sample| sample.unix_ms >= from)
        .collect();
    let mut used: BTreeMap<String, f64> = BTreeMap::new();
    for pair in samples.windows(2) {
        for (what, now) in &pair[1].cpu {
            let before = pair[0].cpu.get(what).copied().unwrap_or(0.0);
            *used.entry((*what).to_owned()).or_default() += (now - before).max(0.0);
        }
    }
    let times = samples.first().zip(samples.last());
    let seconds = times.map_or(1.0, |(first, last)| (last.unix_ms - first.unix_ms) / 1e3);
    used.values_mut().for_each(|used| *used /= seconds.max(1.0));
    // What else the machine did: much of it spoils the tails.
    let machine = used.remove("machine").unwrap_or(0.0);
    let ours: f64 = used.values().sum();
    used.insert("others".into(), (machine - ours).max(0.0));
    used
}
