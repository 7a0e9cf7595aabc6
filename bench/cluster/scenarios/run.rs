//! Carries out a scenario: starts everything, warms it up, measures, does what the scenario says, measures on.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use gcache::shutdown::Shutdown;
use gcache::topology::model::partitions::moves;
use tokio::time::Instant;

use super::cluster::{BOND, Cluster, SEEDS};
use super::load::{DISTRIBUTION, Load};
use super::note;
use super::origin::{ADDED, Origin, VALUE_BYTES};
use super::outcome::{Event, Outcome, Setting, Settled};
use super::plan::{BEFORE, LEAD, after};
use super::sample::{Sampler, unix_ms};
use super::scenario::Scenario;
use super::stage::{SMALL, Stage};
use super::tell::{Told, must_move};
use super::variant::Variant;
use crate::testkit::disk::Disk;
use crate::testkit::processes::{Processes, Seeds};
use crate::watch::Watch;

/// What an entry is charged in a node's cache, as measured: key, value, and what it costs beside.
const ENTRY_BYTES: u64 = 425;

/// The longest that warming up may take.
const WARM_MAX: Duration = Duration::from_secs(200);

/// How to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) rate: u32,
    /// The cache of each node.
    pub(crate) memory_mib: u64,
}

/// Carries out a scenario in an empty folder, on a thread of its own: where it is afterwards, in what network and
/// on which cores, and what it has started, is the scenario's.
///
/// # Errors
/// Something does not come about within its bound, or somebody interrupts it. No process is left.
pub(crate) fn carry_out(
    scenario: &Scenario,
    variant: &Variant,
    options: &Options,
    (folder, shutdown): (&Path, &Shutdown),
) -> anyhow::Result<Outcome> {
    let watch = Watch::new(shutdown, scenario.bound);
    let stage = Stage::prepare(scenario, folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let held = scenario.sized_for as u64 * (options.memory_mib << 20) / ENTRY_BYTES;
    let held = held / scenario.copies;
    let (keys, rate) = (2 * held, scenario.rate(options.rate));
    note(&format!(
        "{}, {}: PostgreSQL with {keys} rows",
        scenario.name, variant.name
    ));
    let origin = Origin::start(folder, keys, stage.place.outside())?;
    let mut settings = variant.settings.clone();
    if scenario.leaves {
        settings.push("node.leave_on_term=true".into());
    }
    settings.push(format!("node.memory={}MiB", options.memory_mib));
    let mut processes = Processes::in_folder(folder, stage.place, scenario.nodes);
    processes.origin = origin.url();
    processes.zones = Some(scenario.zones);
    processes.set_nodes = settings;
    processes.seeds = Seeds::First(SEEDS);
    processes.bond = BOND;
    if stage.disk.is_some() {
        processes.data[scenario.nodes - 1] = folder.join(SMALL);
    }
    let frontends = (0..scenario.frontends).map(|frontend| processes.http(frontend));
    let frontends: Vec<_> = frontends.collect();
    let mut run = Run {
        scenario,
        watch: &watch,
        folder,
        cluster: Cluster::new(processes, &watch, &runtime),
        disk: stage.disk,
        sampler: Sampler::start(),
        frontends,
        began: Instant::now(),
        events: Vec::new(),
        steps: Vec::new(),
    };
    run.sampler
        .watch(|watched| watched.database = Some(origin.server()));
    run.start()?;
    run.warm(keys)?;
    let mut load = Load::steady(folder, &run.frontends, keys, rate);
    run.sampler
        .watch(|watched| watched.load_id = Some(load.id()));
    note("measuring before the change");
    watch.pause(LEAD + BEFORE)?;
    let (change, nodes_before) = (unix_ms(), run.cluster.running().len());
    let entries = run.entries();
    run.began = Instant::now();
    run.act()?;
    note("measuring after the change");
    watch.pause(after(scenario))?;
    let converged = run.cluster.converged();
    converged.context("it had converged, and has not any more")?;
    load.check()?;
    let seconds = load.stop(&watch)?;
    let setting = Setting {
        rate,
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
    let told = Told {
        samples: run.sampler.samples(),
        seconds,
        change,
        events: run.events,
        steps: run.steps,
    };
    Ok(told.outcome(scenario, variant, setting))
}

/// A scenario that is carried out.
pub(crate) struct Run<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) watch: &'a Watch,
    pub(crate) folder: &'a Path,
    pub(crate) cluster: Cluster<'a>,
    /// The last node's, where it can be full.
    pub(crate) disk: Option<Disk>,
    sampler: Sampler,
    frontends: Vec<SocketAddr>,
    /// When the change began.
    began: Instant,
    events: Vec<Event>,
    steps: Vec<Settled>,
}

/// The group that is asked for: how long its entries live, and how many members keep each.
pub(crate) fn group(ttl: &str, copies: u64) -> String {
    let copies = match copies {
        1 => String::new(),
        copies => format!("copies = {copies}\n"),
    };
    format!(
        "[groups.rows]\ntable = 'public.rows'\nkey_column = 'k'\nvalue_column = 'v'\nttl = '{ttl}'\n{copies}"
    )
}

impl Run<'_> {
    fn start(&mut self) -> anyhow::Result<()> {
        std::fs::write(
            self.folder.join("groups.toml"),
            group("1h", self.scenario.copies),
        )?;
        for node in 0..self.scenario.nodes {
            self.cluster.start(node);
        }
        self.cluster.converge()?;
        for _ in 0..self.scenario.frontends {
            self.cluster.front();
        }
        self.cluster.must(&["group", "apply", "groups.toml"])?;
        self.cluster.serves()?;
        self.look();
        Ok(())
    }

    /// Has the sampler look at the processes that run now.
    fn look(&self) {
        let (node_ids, frontend_ids) = self.cluster.ids();
        let nodes = self.cluster.answering().into_iter();
        let nodes = nodes.map(|node| (node, self.cluster.node_admin(node)));
        let nodes = nodes.collect();
        self.sampler.watch(|watched| {
            watched.nodes = nodes;
            watched.node_ids = node_ids;
            watched.frontend_ids = frontend_ids;
        });
    }

    /// Asks for keys until the caches have forgotten as many as they hold: then what they hold is what this
    /// load makes them hold.
    fn warm(&self, keys: u64) -> anyhow::Result<()> {
        note("warming up");
        let mut load = Load::warm(self.folder, &self.frontends, keys);
        self.watch.until("the caches are warm", WARM_MAX, || {
            load.check()?;
            let sample = self.sampler.last();
            let sum = |of: fn(&super::counters::Counters) -> f64| -> f64 {
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

    /// Does something, and waits until the cluster has converged.
    pub(crate) fn settle(
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

    pub(crate) fn event(&mut self, what: String) {
        let at = self.began.elapsed().as_secs_f64();
        self.events.push(Event { at, what });
    }
}
