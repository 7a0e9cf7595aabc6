//! The handle by which the rest of the node reaches its leader: renewals and removals go in; answers, and what
//! is settled, come out.

use tokio::sync::{mpsc, oneshot, watch};

use crate::ids::NodeId;
use crate::topology::leader::event::{Answer, Removal, Settled};
use crate::topology::lease::Renewal;
use crate::topology::model::member::MAX_MEMBERS;

/// The most requests that wait in the inbox.
const INBOX_MAX: usize = 4 * MAX_MEMBERS;

/// A request, and the channel for its answer.
pub(super) enum Asked {
    Renew(Renewal, oneshot::Sender<Answer>),
    Remove(NodeId, oneshot::Sender<Removal>),
}

/// Reaches the leader of this node. Cheap to clone.
#[derive(Clone)]
pub(in crate::node) struct LeaderHandle {
    asks: mpsc::Sender<Asked>,
    settled: watch::Receiver<Settled>,
}

impl LeaderHandle {
    /// A handle, and the leader's ends of it: the inbox, and the sender of what is settled.
    pub(super) fn new() -> (Self, mpsc::Receiver<Asked>, watch::Sender<Settled>) {
        let (sender, asks) = mpsc::channel(INBOX_MAX);
        let (settled, seen) = watch::channel(Settled::default());
        let handle = Self {
            asks: sender,
            settled: seen,
        };
        (handle, asks, settled)
    }

    /// Asks the leader to renew a lease. Cancel-safe: if it is dropped, the answer is dropped too.
    pub(in crate::node) async fn renew(&self, renewal: Renewal) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.asks.try_send(Asked::Renew(renewal, answer)).is_err() {
            return Answer::NotLeader;
        }
        answered.await.unwrap_or(Answer::NotLeader)
    }

    /// Asks the leader to remove a member for ever. Dropping the future ends the removal, but for a step under
    /// way, and undoes nothing: a second request goes on from there.
    pub(in crate::node) async fn remove(&self, member: NodeId) -> Removal {
        let (answer, answered) = oneshot::channel();
        if self.asks.try_send(Asked::Remove(member, answer)).is_err() {
            return Removal::Unfinished("this node stops, or too many requests wait".into());
        }
        let stops =
            || Removal::Unfinished("this node stops; asking again goes on from there".into());
        answered.await.unwrap_or_else(|_| stops())
    }

    /// What is settled, as it changes.
    pub(in crate::node) fn settled(&self) -> watch::Receiver<Settled> {
        self.settled.clone()
    }
}
