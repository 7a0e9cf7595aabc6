//! Carries out a scenario: starts everything, warms it up, measures, does what the scenario says, measures on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use gcache::ids::NodeId;
use gcache::shutdown::Shutdown;
use gcache::topology::partitions::{PartitionTable, moves};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::cluster::{Cluster, Plan, frontend_http};
use crate::counters::{Sample, at, totals};
use crate::load::{DISTRIBUTION, Load};
use crate::note;
use crate::origin::{ADDED, Origin, VALUE_BYTES};
use crate::outcome::{Event, Outcome, Series, Setting, Settled};
use crate::process::said;
use crate::sample::{Sampler, unix_ms};
use crate::scenario::{Scenario, Step};
use crate::variant::Variant;
use crate::verdict::{Measured, judge};
use crate::watch::Watch;
use crate::windows::{Point, Second, Sums, between, points};

/// What an entry is charged in a node's cache, as measured: key, value, and what it costs beside.
const ENTRY_BYTES: u64 = 425;

/// How long the load runs before anything is counted: connections are opened, and the pace is another than
/// that of the warm-up.
const LEAD: Duration = Duration::from_secs(8);

/// How long it is measured before the change.
const BEFORE: Duration = Duration::from_secs(25);

/// Between the end of a step and the next: a window of 20,000 requests and more.
const BETWEEN: Duration = Duration::from_secs(8);

/// How long it is measured after the last step. What was lost is loaded again meanwhile.
const AFTER: Duration = Duration::from_secs(60);

/// The last seconds of that, to which things have settled.
const SETTLED: Duration = Duration::from_secs(20);

/// What still belongs to a step after it has converged.
const AFTERMATH: Duration = Duration::from_secs(5);

/// The longest that warming up may take.
const WARM_MAX: Duration = Duration::from_secs(120);

/// How to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) rate: u32,
    /// The cache of each node.
    pub(crate) memory_mib: u64,
}

/// Carries out a scenario in an empty folder.
///
/// # Errors
/// Something does not come about within its bound, or somebody interrupts it. No process is left.
pub(crate) fn carry_out(
    scenario: &Scenario,
    variant: &Variant,
    options: &Options,
    (folder, shutdown, runtime): (&Path, &Shutdown, &Runtime),
) -> anyhow::Result<Outcome> {
    let watch = Watch::new(shutdown, scenario.bound);
    let held = scenario.sized_for as u64 * (options.memory_mib << 20) / ENTRY_BYTES;
    let keys = 2 * held;
    note(&format!(
        "{}, {}: PostgreSQL with {keys} rows",
        scenario.name, variant.name
    ));
    let origin = Origin::start(folder, keys)?;
    let mut settings = variant.settings.clone();
    if scenario.leaves {
        settings.push("node.leave_on_term=true".into());
    }
    let plan = Plan {
        folder,
        origin: origin.url(),
        memory: format!("{}MiB", options.memory_mib),
        zones: scenario.zones,
        settings,
    };
    let mut run = Run {
        scenario,
        watch: &watch,
        cluster: Cluster::new(plan, &watch, runtime),
        sampler: Sampler::start(),
        frontends: (0..scenario.frontends).map(frontend_http).collect(),
        began: Instant::now(),
        events: Vec::new(),
        steps: Vec::new(),
    };
    run.sampler
        .watch(|watched| watched.database = Some(origin.server()));
    run.start(folder)?;
    run.warm(folder, keys)?;
    let mut load = Load::steady(folder, &run.frontends, keys, options.rate)?;
    run.sampler
        .watch(|watched| watched.load_id = Some(load.id()));
    note("measuring before the change");
    watch.pause(LEAD + BEFORE)?;
    let (change, nodes_before) = (unix_ms(), run.cluster.running().len());
    let entries = run.entries();
    run.began = Instant::now();
    run.act()?;
    note("measuring after the change");
    watch.pause(AFTER)?;
    let converged = run.cluster.converged();
    converged.context("it had converged, and has not any more")?;
    load.check()?;
    let seconds = load.stop(&watch)?;
    let setting = Setting {
        rate: options.rate,
        distribution: DISTRIBUTION.into(),
        keys,
        value_bytes: VALUE_BYTES,
        memory: format!("{} MiB", options.memory_mib),
        frontends: scenario.frontends,
        nodes_before,
        nodes_after: run.cluster.running().len(),
        entries,
        added_ms: ADDED.as_secs_f64() * 1e3,
        origin_call_ms: 0.0,
    };
    Ok(run.tell(variant, setting, &seconds, change))
}

struct Run<'a> {
    scenario: &'a Scenario,
    watch: &'a Watch,
    cluster: Cluster<'a>,
    sampler: Sampler,
    frontends: Vec<SocketAddr>,
    /// When the change began.
    began: Instant,
    events: Vec<Event>,
    steps: Vec<Settled>,
}

const GROUP: &str =
    "[groups.rows]\ntable = 'public.rows'\nkey_column = 'k'\nvalue_column = 'v'\nttl = '1h'\n";

impl Run<'_> {
    fn start(&mut self, folder: &Path) -> anyhow::Result<()> {
        std::fs::write(folder.join("groups.toml"), GROUP)?;
        for node in 0..self.scenario.nodes {
            self.cluster.start(node)?;
        }
        self.cluster.converge()?;
        for _ in 0..self.scenario.frontends {
            self.cluster.front()?;
        }
        self.cluster.operate(&["group", "apply", "groups.toml"])?;
        self.cluster.serves()?;
        self.look();
        Ok(())
    }

    /// Has the sampler look at the processes that run now.
    fn look(&self) {
        let (node_ids, frontend_ids) = self.cluster.ids();
        let nodes = self.cluster.answering();
        self.sampler.watch(|watched| {
            watched.nodes = nodes;
            watched.node_ids = node_ids;
            watched.frontend_ids = frontend_ids;
        });
    }

    /// Asks for keys until the caches have forgotten as many as they hold: then what they hold is what this
    /// load makes them hold.
    fn warm(&self, folder: &Path, keys: u64) -> anyhow::Result<()> {
        note("warming up");
        let mut load = Load::warm(folder, &self.frontends, keys)?;
        self.watch.until("the caches are warm", WARM_MAX, || {
            load.check()?;
            let sample = self.sampler.last();
            let sum = |of: fn(&crate::counters::Counters) -> f64| -> f64 {
                sample.nodes.values().map(of).sum()
            };
            let (entries, evicted) = (sum(|node| node.entries), sum(|node| node.evicted));
            if entries == 0.0 || evicted < entries {
                bail!("{entries} entries, {evicted} evicted");
            }
            Ok(())
        })?;
        load.stop(self.watch)?;
        Ok(())
    }

    /// Entries of all nodes.
    fn entries(&self) -> u64 {
        let sample = self.sampler.last();
        let entries: f64 = sample.nodes.values().map(|node| node.entries).sum();
        entries as u64
    }

    fn act(&mut self) -> anyhow::Result<()> {
        for (index, &step) in self.scenario.steps.iter().enumerate() {
            if index > 0 {
                self.watch.pause(BETWEEN)?;
            }
            self.step(step)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> anyhow::Result<()> {
        let running = self.cluster.running();
        let last = *running.last().context("no node runs")?;
        match step {
            Step::Join => self.settle(&format!("n{} joins", last + 2), |run| {
                run.cluster.start(last + 1)
            }),
            Step::Leave => {
                let mut leaver = None;
                self.settle(&format!("n{} leaves", last + 1), |run| {
                    leaver = Some(run.cluster.ask_to_stop(last)?);
                    Ok(())
                })?;
                let mut leaver = leaver.context("it was asked")?;
                leaver.ended(self.watch)?;
                self.event(format!("n{} has ended", last + 1));
                Ok(())
            }
            Step::KillLeader => {
                let leader = self.cluster.leader()?;
                self.kill(&[leader])
            }
            Step::KillFollower => {
                let follower = self.follower(&running)?;
                self.kill(&[follower])
            }
            Step::KillZone => {
                let zones = self.scenario.zones;
                let mut nodes = running;
                nodes.retain(|node| node % zones == zones - 1);
                self.kill(&nodes)
            }
            Step::Freeze(seconds) => self.freeze(&running, Duration::from_secs(seconds)),
            Step::RestartAll => {
                for (index, node) in running.into_iter().enumerate() {
                    if index > 0 {
                        self.watch.pause(BETWEEN)?;
                    }
                    self.settle(&format!("n{} restarts", node + 1), |run| {
                        run.cluster.ask_to_stop(node)?.ended(run.watch)?;
                        run.event(format!("n{} has ended", node + 1));
                        run.cluster.start(node)
                    })?;
                }
                Ok(())
            }
        }
    }

    fn kill(&mut self, nodes: &[usize]) -> anyhow::Result<()> {
        let names: Vec<_> = nodes.iter().map(|node| format!("n{}", node + 1)).collect();
        self.settle(&format!("{} killed", names.join(" and ")), |run| {
            run.cluster.kill(nodes)
        })
    }

    fn freeze(&mut self, running: &[usize], time: Duration) -> anyhow::Result<()> {
        let node = self.follower(running)?;
        let began = Instant::now();
        self.settle(&format!("n{} frozen", node + 1), |run| {
            run.cluster.freeze(node)
        })?;
        self.watch.pause(time.saturating_sub(began.elapsed()))?;
        self.settle(&format!("n{} goes on", node + 1), |run| {
            run.cluster.thaw(node)
        })
    }

    /// A node that does not lead.
    fn follower(&self, running: &[usize]) -> anyhow::Result<usize> {
        let leader = self.cluster.leader()?;
        let mut others = running.iter().filter(|node| **node != leader);
        others.next_back().copied().context("only one node runs")
    }

    /// Does something, and waits until the cluster has converged.
    fn settle(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let before = self.cluster.state()?;
        self.event(what.to_owned());
        let began = Instant::now();
        act(self)?;
        self.look();
        let after = self.cluster.converge()?;
        let seconds = began.elapsed().as_secs_f64();
        self.event(format!("{what}: converged"));
        let moved = moves(before.table(), after.table()).len();
        let fair = must_move(before.table(), after.table());
        note(&format!(
            "{what}: converged after {seconds:.2} s, {moved} partitions moved"
        ));
        self.steps.push(Settled {
            what: what.to_owned(),
            seconds,
            moved,
            fair,
        });
        Ok(())
    }

    fn event(&mut self, what: String) {
        let at = self.began.elapsed().as_secs_f64();
        self.events.push(Event { at, what });
    }

    fn tell(self, variant: &Variant, setting: Setting, seconds: &[Second], change: f64) -> Outcome {
        let samples = self.sampler.samples();
        let totals = totals(&samples);
        let points = points(seconds, &totals, change);
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
        let demands = self.scenario.demands.iter();
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
            scenario: self.scenario.name.into(),
            what: self.scenario.what.into(),
            variant: variant.name.into(),
            date: said("date", &["-u", "+%F %H:%M UTC"]),
            machine: format!("{} cores, {}", said("nproc", &[]), said("uname", &["-srm"])),
            setting: Setting {
                origin_call_ms: call_seconds / (late.calls - early.calls).max(1.0) * 1e3,
                ..setting
            },
            series: series(points),
            cores: cores(&samples, change + begin * 1e3),
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
fn must_move(before: &PartitionTable, after: &PartitionTable) -> usize {
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
