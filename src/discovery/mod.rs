//! Discovery: at which addresses nodes may be found. A hint, never the truth about the members.
//!
//! A seed that is an IP address stands for itself and causes no DNS traffic. One that is a DNS name is
//! asked for again and again, and stands for all its addresses. The roles start one each: a node to find
//! a cluster, a frontend to find its topology. No trait: the two kinds come in one list.

mod name;

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use metrics::{Counter, Gauge};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

pub use self::name::ADDRESSES_MAX;
use self::name::Name;
use crate::config::Seed;
use crate::metrics::Registry;
use crate::net::jittered;
use crate::shutdown::Shutdown;

/// Between two questions for a name that has addresses, at most; half of it at least.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The same for a name that has none yet: somebody waits for it.
const ASK_FIRST_EVERY: Duration = Duration::from_secs(1);

/// How long an answer may take before it counts as missing. The question is not asked again while it is
/// under way: it holds a thread, and the system's resolver gives it up by itself.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);

/// How long a process that starts waits for the first answers.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// What discovery can say about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is one of the seeds, or one of their names has it.
    Yes,
    /// All names have answered of late, for a while now, and none of them has it.
    No,
    /// Discovery cannot say: there is no name among the seeds, or one does not answer.
    Unknown,
}

/// The addresses of a name: what asks DNS, or stands in for that in tests.
type Resolve = Arc<dyn Fn(Seed) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Where nodes may be found. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Discovery {
    shared: Arc<Shared>,
    /// How many names have neither answered nor failed yet.
    unasked: watch::Receiver<usize>,
}

#[derive(Debug)]
struct Shared {
    /// The seeds that are addresses.
    addresses: Vec<Seed>,
    names: Vec<Mutex<Name>>,
    from: IpAddr,
    metrics: Metrics,
}

impl Discovery {
    /// Starts to ask for the names among `seeds`, until shutdown. `from` is the local address that
    /// connections leave from: of a name with addresses of both families, its family is taken.
    #[must_use]
    pub fn start(seeds: Vec<Seed>, from: IpAddr, registry: &Registry, shutdown: &Shutdown) -> Self {
        let resolve: Resolve = Arc::new(|seed| Box::pin(look_up(seed)));
        Self::start_with(resolve, seeds, from, registry, shutdown)
    }

    fn start_with(
        resolve: Resolve,
        seeds: Vec<Seed>,
        from: IpAddr,
        registry: &Registry,
        shutdown: &Shutdown,
    ) -> Self {
        let (mut addresses, mut names) = (Vec::new(), Vec::new());
        for seed in seeds {
            match seed.host.parse::<IpAddr>() {
                Ok(address) => addresses.push(place(address, seed.port)),
                Err(_) => names.push(Mutex::new(Name::new(seed))),
            }
        }
        let (done, unasked) = watch::channel(names.len());
        let shared = Arc::new(Shared {
            addresses,
            names,
            from,
            metrics: Metrics::register(registry),
        });
        let found = Self { shared, unasked };
        found.count();
        let done = Arc::new(done);
        for name in 0..found.shared.names.len() {
            let (found, resolve, done) = (found.clone(), Arc::clone(&resolve), Arc::clone(&done));
            let stop = shutdown.clone();
            shutdown.spawn_critical("discovery", async move {
                tokio::select! {
                    () = found.ask_for(name, resolve, done) => {}
                    () = stop.begun() => {}
                }
            });
        }
        found
    }

    /// Waits until every name was asked for once, whatever came of it, and 2 s at most. Cancel-safe.
    pub async fn settled(&self) {
        let mut unasked = self.unasked.clone();
        let all = unasked.wait_for(|unasked| *unasked == 0);
        // A name without an address yet is a hint that is missing, and no reason not to start.
        let _late = timeout(FIRST_PATIENCE, all).await;
    }

    /// Every address that is known now, at most [`ADDRESSES_MAX`], each once: the host of each is an IP
    /// address as text.
    #[must_use]
    pub fn places(&self) -> Vec<Seed> {
        let mut places: Vec<Seed> = Vec::new();
        let mut add = |place: Seed| {
            if places.len() < ADDRESSES_MAX && !places.contains(&place) {
                places.push(place);
            }
        };
        self.shared.addresses.iter().cloned().for_each(&mut add);
        for name in &self.shared.names {
            let name = name.lock();
            let port = name.seed.port;
            name.addresses()
                .map(|ip| place(ip, port))
                .for_each(&mut add);
        }
        places
    }

    /// The names that have had no address yet.
    #[must_use]
    pub fn unresolved(&self) -> Vec<Seed> {
        let names = self.shared.names.iter().map(|name| name.lock());
        let unresolved = names.filter(|name| !name.is_resolved());
        unresolved.map(|name| name.seed.clone()).collect()
    }

    /// Whether all seeds are addresses, so that everybody with the same seeds knows the same places.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.shared.names.is_empty()
    }

    /// Whether a node at `host` and `port` (of gRPC) is known to discovery: by that the leader decides
    /// whether a silent member may come back. A [`Listed::No`] takes about a minute of answers without the
    /// address, and an answer within the last 30 s.
    #[must_use]
    pub fn lists(&self, host: &str, port: u16) -> Listed {
        // DNS gives addresses: of a member that goes by a name it says nothing.
        let Ok(address) = host.parse::<IpAddr>() else {
            return Listed::Unknown;
        };
        if self.shared.addresses.contains(&place(address, port)) {
            return Listed::Yes;
        }
        let now = Instant::now();
        let mut listed = match self.is_fixed() {
            true => Listed::Unknown,
            false => Listed::No,
        };
        for name in &self.shared.names {
            let name = name.lock();
            if name.seed.port == port && name.addresses().any(|known| known == address) {
                return Listed::Yes;
            }
            if !name.is_conclusive(now) {
                listed = Listed::Unknown;
            }
        }
        listed
    }

    /// Asks for one name again and again.
    async fn ask_for(&self, name: usize, resolve: Resolve, done: Arc<watch::Sender<usize>>) {
        let seed = self.shared.names[name].lock().seed.clone();
        let mut is_first = true;
        let mut asked = || {
            if std::mem::take(&mut is_first) {
                done.send_modify(|unasked| *unasked -= 1);
            }
        };
        loop {
            let mut answer = pin!(resolve(seed.clone()));
            let (answer, is_late) = match timeout(ANSWER_PATIENCE, &mut answer).await {
                Ok(answer) => (answer, false),
                Err(_) => {
                    self.fail(name, format!("no answer within {ANSWER_PATIENCE:?}"));
                    asked();
                    (answer.await, true)
                }
            };
            match answer {
                Ok(addresses) => self.take(name, addresses),
                // One question fails once.
                Err(_) if is_late => {}
                Err(error) => self.fail(name, error.to_string()),
            }
            asked();
            let is_resolved = self.shared.names[name].lock().is_resolved();
            let pause = if is_resolved {
                ASK_EVERY
            } else {
                ASK_FIRST_EVERY
            };
            sleep(jittered(pause)).await;
        }
    }

    fn take(&self, name: usize, addresses: Vec<IpAddr>) {
        let mut name = self.shared.names[name].lock();
        let outcome = match addresses.is_empty() {
            true => &self.shared.metrics.failed,
            false => &self.shared.metrics.answered,
        };
        outcome.increment(1);
        let is_empty = addresses.is_empty();
        let is_news = name.take(addresses, self.shared.from, Instant::now());
        if is_news && is_empty {
            tracing::warn!(name = %name.seed, "seed has no address");
        } else if is_news {
            let addresses: Vec<_> = name.addresses().collect();
            tracing::info!(name = %name.seed, ?addresses, "seed resolved");
        }
        drop(name);
        self.count();
    }

    fn fail(&self, name: usize, why: String) {
        self.shared.metrics.failed.increment(1);
        let mut name = self.shared.names[name].lock();
        if name.fail(why.clone()) {
            tracing::warn!(name = %name.seed, why, "seed not resolved");
        }
    }

    fn count(&self) {
        let places = u32::try_from(self.places().len()).unwrap_or(u32::MAX);
        self.shared.metrics.addresses.set(places);
    }
}

fn place(address: IpAddr, port: u16) -> Seed {
    Seed {
        host: address.to_string(),
        port,
    }
}

/// Asks the system's resolver, which is DNS or a hosts file.
async fn look_up(seed: Seed) -> io::Result<Vec<IpAddr>> {
    let addresses = tokio::net::lookup_host((seed.host.as_str(), seed.port)).await?;
    Ok(addresses.map(|address| address.ip()).collect())
}

/// What discovery counts.
#[derive(Debug)]
struct Metrics {
    addresses: Gauge,
    answered: Counter,
    failed: Counter,
}

impl Metrics {
    fn register(registry: &Registry) -> Self {
        let lookups = |outcome| {
            registry.counter(
                "gcache_discovery_requests_total",
                "Questions for the DNS names among the seeds.",
                &[("outcome", outcome)],
            )
        };
        Self {
            addresses: registry.gauge(
                "gcache_discovery_known_peers",
                "Addresses at which nodes may be found, this process's own included.",
                &[],
            ),
            answered: lookups("answered"),
            failed: lookups("failed"),
        }
    }
}

#[cfg(test)]
mod tests;
