//! The topology follower: where a frontend's view comes from.
//!
//! It pulls the topology from the leader once, so that it begins with all that was acknowledged, and
//! then follows any node's stream; where nobody leads it begins with the newest that any node shows. It
//! keeps the last view when nobody answers. It takes a newer epoch of the same cluster, or a cluster that
//! supersedes it, and leaves a node that is silent or cut off.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::nodes::Routing;
use crate::discovery::Discovery;
use crate::ids::{ClusterId, Epoch};
use crate::membership::obstacle::listed;
use crate::net::jittered;
use crate::rpc::control::{Unanswered, follow, from_wire, watch as open};
use crate::rpc::control_proto::{Topology, WatchRequest};
use crate::rpc::leader::Search;
use crate::rpc::pipeline::Target;
use crate::shutdown::Shutdown;
use crate::topology::state::State;
use crate::topology::view::View;

/// How long a node may take to open a stream.
const OPEN_PATIENCE: Duration = Duration::from_secs(1);

/// How long the leader may take to answer: a quorum round, and an election before it.
const LEADER_PATIENCE: Duration = Duration::from_secs(4);

/// How long all of them may take to lead to the leader, before the newest that any node shows is good enough
/// to begin with: an election is over by then, and nodes that say nothing must not hold everybody up.
const PULL_PATIENCE: Duration = Duration::from_secs(3);

/// How long a stream may be silent: a node sends something every second.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How many messages in a row may say that their sender is cut off.
const ISOLATED_MAX: u32 = 5;

/// Between two rounds, at most; half of it at least.
const PAUSE: Duration = Duration::from_millis(400);

/// Nodes that are asked in one round at most.
const ROUND_MAX: usize = 16;

/// After the first warning that no node answers, the next one comes after this time; then after twice as long.
const WARN_AFTER: Duration = Duration::from_secs(5);

/// The longest time between two such warnings.
const WARN_EVERY_MAX: Duration = Duration::from_secs(300);

/// When to warn that no node shows the topology.
#[derive(Debug, Default)]
struct Silence {
    next: Option<(Instant, Duration)>,
}

impl Silence {
    /// Whether a round without an answer, which ends now, is to be warned of.
    fn is_due(&mut self, now: Instant) -> bool {
        let (due, after) = self.next.unwrap_or((now, WARN_AFTER));
        if now < due {
            return false;
        }
        self.next = Some((now + after, (after * 2).min(WARN_EVERY_MAX)));
        true
    }
}

/// Follows the topology from the seeds on.
pub(super) struct Follower {
    discovery: Discovery,
    from: IpAddr,
    cluster: Option<ClusterId>,
    views: watch::Sender<Arc<View>>,
}

impl Follower {
    /// A follower that knows nothing yet, and where its views will be.
    pub(super) fn new(discovery: Discovery, from: IpAddr) -> (Self, watch::Receiver<Arc<View>>) {
        let none = State::unknown(ClusterId::default()).view();
        let none = none.expect("a topology of nobody is a view");
        let (views, view) = watch::channel(Arc::new(none));
        let follower = Self {
            discovery,
            from,
            cluster: None,
            views,
        };
        (follower, view)
    }

    /// Follows until shutdown. Reports to the node that it follows which epoch requests are routed by, as
    /// `routing` shows.
    pub(super) async fn run(mut self, routing: watch::Receiver<Arc<Routing>>, shutdown: Shutdown) {
        tokio::select! {
            () = self.follow(&routing) => {}
            () = shutdown.begun() => {}
        }
    }

    async fn follow(&mut self, routing: &watch::Receiver<Arc<Routing>>) {
        let mut is_current = false;
        let mut silence = Silence::default();
        self.discovery.settled().await;
        loop {
            is_current = is_current || timeout(PULL_PATIENCE, self.pull()).await == Ok(true);
            if !is_current && self.cluster.is_none() {
                self.begin_with_newest().await;
            }
            let targets = self.targets();
            let mut last_error = None;
            let mut was_followed = false;
            for target in targets.iter().take(ROUND_MAX) {
                match self.stream(target, routing).await {
                    Ok(()) => {
                        was_followed = true;
                        tracing::info!(%target, "topology stream ended");
                    }
                    Err(error) => {
                        tracing::debug!(%error, "topology not followed");
                        last_error = Some(error);
                    }
                }
                // The next one may be behind what this one sent, and is then waited for.
            }
            if was_followed {
                silence = Silence::default();
            } else if silence.is_due(Instant::now()) {
                let asked: Vec<_> = targets.iter().map(ToString::to_string).collect();
                let reason = last_error.map_or_else(String::new, |error| error.to_string());
                tracing::warn!(
                    asked = listed(&asked),
                    reason,
                    has_topology = self.cluster.is_some(),
                    "no node shows the topology"
                );
            }
            tokio::time::sleep(jittered(PAUSE)).await;
        }
    }

    /// The nodes to ask, in random order: the members that are known, and the seeds.
    fn targets(&self) -> Vec<Target> {
        let view = Arc::clone(&self.views.borrow());
        let members = view.members().iter();
        let mut targets: Vec<_> = members
            .map(|member| Target::of(member, self.from))
            .collect();
        for seed in self.discovery.places() {
            let target = Target::at(seed, self.from);
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        fastrand::shuffle(&mut targets);
        targets
    }

    /// Takes the leader's topology; false if no leader answers.
    async fn pull(&mut self) -> bool {
        let mut search = Search::new(self.targets(), ROUND_MAX, self.from);
        while let Some(target) = search.next() {
            let request = WatchRequest {
                epoch: 0,
                linearizable: true,
            };
            let first = match first(&target, request, LEADER_PATIENCE).await {
                Ok(first) => first,
                Err(error) => {
                    tracing::debug!(%error, "topology not pulled");
                    continue;
                }
            };
            if let Some(redirect) = &first.redirect {
                search.follow(redirect);
            } else if self.accept(&target, &first) {
                return true;
            }
        }
        false
    }

    /// Takes the newest topology that any node shows.
    async fn begin_with_newest(&mut self) {
        let asked = self
            .targets()
            .into_iter()
            .take(ROUND_MAX)
            .map(async |target| {
                let request = WatchRequest {
                    epoch: 0,
                    linearizable: false,
                };
                let first = first(&target, request, OPEN_PATIENCE).await.ok()?;
                Some((first.epoch, target, first))
            });
        let answers = futures_util::future::join_all(asked).await;
        let newest = answers
            .into_iter()
            .flatten()
            .max_by_key(|(epoch, ..)| *epoch);
        if let Some((_, target, topology)) = newest {
            self.accept(&target, &topology);
        }
    }

    /// Follows one node until it is silent, cut off or gone.
    async fn stream(
        &mut self,
        target: &Target,
        routing: &watch::Receiver<Arc<Routing>>,
    ) -> Result<(), Unanswered> {
        let request = WatchRequest {
            epoch: self.views.borrow().epoch().0,
            linearizable: false,
        };
        let epochs = epochs(routing.clone());
        let mut topologies = follow(target, request, OPEN_PATIENCE, epochs).await?;
        let mut isolated = 0;
        while let Ok(Ok(Some(topology))) = timeout(SILENCE_MAX, topologies.message()).await {
            if from_wire(&topology.cluster).map(ClusterId) != self.cluster {
                return self.judge(target).await;
            }
            isolated = if topology.is_isolated {
                isolated + 1
            } else {
                0
            };
            let is_ours = topology.state.is_empty() || self.accept(target, &topology);
            if !is_ours || isolated > ISOLATED_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Looks at the topology of a node of another cluster, whose epochs mean nothing here: it may
    /// supersede this one.
    async fn judge(&mut self, target: &Target) -> Result<(), Unanswered> {
        let request = WatchRequest {
            epoch: 0,
            linearizable: false,
        };
        let topology = first(target, request, OPEN_PATIENCE).await?;
        self.accept(target, &topology);
        Ok(())
    }

    /// Takes a topology over if it is newer; false if it is of a cluster that this frontend must not
    /// follow, or cannot be read.
    fn accept(&mut self, target: &Target, topology: &Topology) -> bool {
        let state = match State::decode(&topology.state) {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(%target, %error, "topology not understood");
                return false;
            }
        };
        let known = self.views.borrow().epoch();
        if let Some(cluster) = self.cluster {
            let other = state.cluster();
            if other == cluster && state.epoch() <= known {
                return true;
            }
            if other != cluster && !state.supersedes().contains(&cluster) {
                tracing::error!(%target, %cluster, %other, "node of another cluster ignored");
                return false;
            }
        }
        match state.view() {
            Ok(view) => {
                tracing::info!(cluster = %state.cluster(), epoch = %state.epoch(), "topology taken over");
                self.cluster = Some(state.cluster());
                self.views.send_replace(Arc::new(view));
                true
            }
            Err(error) => {
                tracing::error!(%target, %error, "topology makes no view");
                false
            }
        }
    }
}

/// The epochs that requests are routed by, from now on.
fn epochs(routing: watch::Receiver<Arc<Routing>>) -> impl Stream<Item = Epoch> {
    stream::unfold((routing, true), async |(mut routing, is_first)| {
        if !is_first {
            routing.changed().await.ok()?;
        }
        let epoch = routing.borrow_and_update().view.epoch();
        Some((epoch, (routing, false)))
    })
}

/// The first topology that a node sends.
async fn first(
    target: &Target,
    request: WatchRequest,
    patience: Duration,
) -> Result<Topology, Unanswered> {
    let mut topologies = open(target, request, patience).await?;
    let first = timeout(patience, topologies.message()).await;
    let first = first.map_err(|_| Unanswered::new(target, "it sends nothing"))?;
    let first = first.map_err(|status| Unanswered::new(target, status.message()))?;
    first.ok_or_else(|| Unanswered::new(target, "it ends the stream"))
}
