//! What the nodes' metrics and the processors' clocks say, once a second, in a thread of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::cluster::REQUEST_MAX;
use super::counters::{Counters, Sample};
use crate::testkit::http::ask_blocking;
use crate::testkit::proc::{machine_used, used, used_with_children};
use crate::testkit::wait::pause;

/// Between two samples.
const INTERVAL: Duration = Duration::from_millis(500);

/// The processes that are watched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// Nodes whose metrics are read: their indices, and where.
    pub(crate) nodes: Vec<(usize, SocketAddr)>,
    /// Whose processor time is counted.
    pub(crate) node_ids: Vec<u32>,
    pub(crate) frontend_ids: Vec<u32>,
    pub(crate) load_id: Option<u32>,
    pub(crate) database: Option<u32>,
    pub(crate) is_over: bool,
}

/// Takes samples until it is stopped.
pub(crate) struct Sampler {
    watched: Arc<Mutex<Watched>>,
    samples: Arc<Mutex<Vec<Sample>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    pub(crate) fn start() -> Self {
        let (watched, samples) = (Arc::<Mutex<Watched>>::default(), Arc::default());
        let (looked_up, kept) = (
            Arc::clone(&watched),
            Arc::<Mutex<Vec<Sample>>>::clone(&samples),
        );
        let thread = std::thread::spawn(move || {
            loop {
                let now = looked_up.lock().clone();
                if now.is_over {
                    return;
                }
                let sample = take(&now);
                kept.lock().push(sample);
                pause(INTERVAL);
            }
        });
        Self {
            watched,
            samples,
            thread: Some(thread),
        }
    }

    /// Changes who is watched.
    pub(crate) fn watch(&self, change: impl FnOnce(&mut Watched)) {
        change(&mut self.watched.lock());
    }

    /// The last sample; an empty one before the first.
    pub(crate) fn last(&self) -> Sample {
        self.samples.lock().last().cloned().unwrap_or_default()
    }

    /// All samples so far.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.samples.lock().clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.watched.lock().is_over = true;
        if let Some(thread) = self.thread.take() {
            // A panic in it was told by itself.
            let _ended = thread.join();
        }
    }
}

fn take(watched: &Watched) -> Sample {
    let nodes = watched.nodes.iter().filter_map(|&(node, admin)| {
        // One that is dead or frozen tells nothing.
        let (_, text) = ask_blocking(admin, "GET", "/metrics", REQUEST_MAX).ok()?;
        Some((node, Counters::read(&text)))
    });
    let nodes = nodes.collect();
    let sum = |ids: &[u32]| {
        let used: Duration = ids.iter().filter_map(|&id| used(id)).sum();
        used.as_secs_f64()
    };
    let load: Vec<u32> = watched.load_id.into_iter().collect();
    let database = watched.database.map(used_with_children).unwrap_or_default();
    Sample {
        unix_ms: unix_ms(),
        nodes,
        cpu: BTreeMap::from([
            ("nodes", sum(&watched.node_ids)),
            ("frontends", sum(&watched.frontend_ids)),
            ("load", sum(&load)),
            ("PostgreSQL", database.as_secs_f64()),
            ("harness", sum(&[std::process::id()])),
            ("machine", machine_used().as_secs_f64()),
        ]),
    }
}

/// Wall time, as the load's timeline has it.
#[expect(
    clippy::disallowed_methods,
    reason = "another program's clock is compared with it"
)]
pub(crate) fn unix_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64() * 1e3
}
