//! The watchers of the topology at this node: what each is sent, and which epoch each has applied.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use crate::ids::{ClusterId, Epoch, NodeId};
use crate::node::member::{Running, Shared};
use crate::raft::thread::Handle;
use crate::rpc::control::to_wire;
use crate::rpc::control_proto::{ReachReply, Redirect, Topology, WatchRequest};

/// The stream of topologies that a watcher gets.
pub(super) type Topologies = Pin<Box<dyn Stream<Item = Result<Topology, Status>> + Send>>;

/// How often a watcher is sent a message, at least: so it notices a node that is gone or cut off.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How long followers may take to apply a topology that they were sent.
const REACH_PATIENCE: Duration = Duration::from_secs(1);

/// The watchers that follow the topology through this node, with the epoch that each has applied.
#[derive(Debug, Default)]
pub(super) struct Followers {
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    epochs: BTreeMap<u64, Epoch>,
}

impl Followers {
    /// Waits until all followers have applied `epoch`, for a second at most; counts those that have and those
    /// that have not. Cancel-safe.
    pub(super) async fn reach(&self, epoch: Epoch) -> ReachReply {
        let until = Instant::now() + REACH_PATIENCE;
        loop {
            let changed = self.changed.notified();
            let reply = self.count(epoch);
            if reply.behind == 0 || tokio::time::timeout_at(until, changed).await.is_err() {
                return self.count(epoch);
            }
        }
    }

    fn count(&self, epoch: Epoch) -> ReachReply {
        let known = self.known.lock();
        let reached = known.epochs.values().filter(|is| **is >= epoch).count();
        ReachReply {
            reached: reached as u64,
            behind: (known.epochs.len() - reached) as u64,
        }
    }

    /// Adds a follower, which is counted from its first report until the returned value is dropped.
    fn add(self: &Arc<Self>) -> Follower {
        let mut known = self.known.lock();
        let id = known.next;
        known.next += 1;
        Follower {
            id,
            all: Arc::clone(self),
        }
    }
}

/// One follower.
struct Follower {
    id: u64,
    all: Arc<Followers>,
}

impl Follower {
    /// Notes that this follower has applied `epoch`.
    fn goes_by(&self, epoch: Epoch) {
        self.all.known.lock().epochs.insert(self.id, epoch);
        self.all.changed.notify_waiters();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.all.known.lock().epochs.remove(&self.id);
        self.all.changed.notify_waiters();
    }
}

/// A stream of one answer, which sends a watcher to another node.
pub(super) fn redirected(redirect: Redirect) -> Topologies {
    let only = Topology {
        redirect: Some(redirect),
        ..Topology::default()
    };
    Box::pin(futures_util::stream::once(async { Ok(only) }))
}

/// Streams every topology after `known`, as this node applies it, until the watcher leaves or the node stops.
pub(super) fn topologies(
    followers: &Arc<Followers>,
    shared: &Arc<Shared>,
    running: &Running,
    known: Epoch,
    requests: Streaming<WatchRequest>,
) -> Topologies {
    let watcher = Watcher {
        shared: Arc::clone(shared),
        raft: running.raft.clone(),
        cluster: running.ident.cluster,
        node: running.ident.node,
        known,
        is_first: true,
    };
    let topologies = futures_util::stream::unfold(watcher, async |mut watcher| {
        let next = watcher.next().await?;
        Some((Ok(next), watcher))
    });
    // The reports are polled with the answers and dropped with them: a watcher that is gone is no follower.
    let follower = followers.add();
    let heard =
        futures_util::stream::unfold((requests, follower), async |(mut requests, follower)| {
            // A watcher that only receives topologies ends its direction of the stream.
            let request = requests.message().await.ok()??;
            follower.goes_by(Epoch(request.epoch));
            Some((Item::Heard, (requests, follower)))
        });
    // The stream ends with the topologies, even if the watcher would report more.
    let end = futures_util::stream::once(async { Item::End });
    let both = futures_util::stream::select(topologies.map(Item::Next).chain(end), heard);
    let both = both.take_while(|item| std::future::ready(!matches!(item, Item::End)));
    let both = both.filter_map(async |item| match item {
        Item::Next(topology) => Some(topology),
        Item::Heard | Item::End => None,
    });
    let stop = shared.shutdown.clone();
    Box::pin(both.take_until(async move { stop.begun().await }))
}

/// An event on a watcher's stream.
enum Item {
    Next(Result<Topology, Status>),
    Heard,
    End,
}

/// What a watcher knows, from which follows what it is sent next.
struct Watcher {
    shared: Arc<Shared>,
    raft: Handle,
    cluster: ClusterId,
    node: NodeId,
    known: Epoch,
    is_first: bool,
}

impl Watcher {
    /// Whether the node is still the member that the watch began with. If not, the watcher has to begin anew.
    fn is_current(&self) -> bool {
        let running = self.shared.running();
        running.is_some_and(|running| {
            running.ident.node == self.node && running.ident.cluster == self.cluster
        })
    }

    /// The next message: a newer topology, or after [`WATCH_EVERY`] the news that there is none. None, which
    /// ends the stream, if this node is another member by now.
    async fn next(&mut self) -> Option<Topology> {
        let mut states = self.raft.state();
        let known = self.known;
        let newer = states.wait_for(|state| state.epoch() > known);
        let patience = if std::mem::take(&mut self.is_first) {
            Duration::ZERO
        } else {
            WATCH_EVERY
        };
        let newer = tokio::time::timeout(patience, newer).await;
        let newer = newer.map(|newer| newer.map(|state| Arc::clone(&state)));
        let newer = match newer {
            Ok(Ok(state)) => Some(state),
            Ok(Err(_)) => {
                // The Raft thread has ended, and nothing will be newer.
                tokio::time::sleep(patience).await;
                if !self.is_current() {
                    return None;
                }
                None
            }
            Err(_) => None,
        };
        let is_isolated = self.shared.renewer.is_isolated();
        if let Some(state) = &newer {
            self.known = state.epoch();
        }
        Some(Topology {
            cluster: to_wire(self.cluster.0),
            epoch: self.known.0,
            state: newer.map_or_else(Default::default, |state| state.encode()),
            is_isolated,
            redirect: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reach_waits_for_all_followers_but_not_for_ever() {
        let followers = Arc::new(Followers::default());
        let count = async |epoch| {
            let reply = followers.reach(Epoch(epoch)).await;
            (reply.reached, reply.behind)
        };
        assert_eq!(count(9).await, (0, 0));
        let (one, other) = (followers.add(), followers.add());
        one.goes_by(Epoch(9));
        other.goes_by(Epoch(8));
        assert_eq!(count(8).await, (2, 0));
        let began = Instant::now();
        assert_eq!(count(9).await, (1, 1));
        assert_eq!(began.elapsed(), REACH_PATIENCE);
        let follows = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            other.goes_by(Epoch(9));
        };
        let (counted, ()) = tokio::join!(count(9), follows);
        assert_eq!(counted, (2, 0));
        assert!(began.elapsed() < 2 * REACH_PATIENCE);
        drop(other);
        assert_eq!(count(10).await, (0, 1));
        drop(one);
        assert_eq!(count(10).await, (0, 0));
    }
}
