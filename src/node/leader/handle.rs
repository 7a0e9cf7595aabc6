//! The handle by which the rest of the node reaches its leader: renewals go in; answers, and what is settled,
//! come out.

use tokio::sync::{mpsc, oneshot, watch};

use crate::ids::{Epoch, NodeId};
use crate::topology::lease::{Grant, LeaseRefusal, Renewal};
use crate::topology::model::member::MAX_MEMBERS;

/// The most renewals that wait in the inbox.
const INBOX_MAX: usize = 4 * MAX_MEMBERS;

/// The outcome of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) enum Answer {
    Granted(Grant),
    Refused(LeaseRefusal),
    /// The member was removed, and its id is never used again.
    Removed,
    /// This node does not lead: no more, or not yet.
    NotLeader,
}

/// A renewal, and the channel for its answer.
pub(super) struct Asked {
    pub(super) renewal: Renewal,
    answer: oneshot::Sender<Answer>,
}

/// What is settled, while this node leads; none while it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Settled {
    /// Every member that holds a lease has applied this epoch.
    pub(in crate::node) epoch: Option<Epoch>,
    /// The members that hold a lease and have not applied the latest epoch.
    pub(in crate::node) behind: Vec<NodeId>,
    /// Whether every member that holds a lease knows that it may act for what it owns.
    pub(in crate::node) all_act: bool,
}

/// Reaches the leader of this node. Cheap to clone.
#[derive(Clone)]
pub(in crate::node) struct LeaderHandle {
    asks: mpsc::Sender<Asked>,
    settled: watch::Receiver<Settled>,
}

impl LeaderHandle {
    /// A handle, and the leader's ends of it: the inbox of renewals, and the sender of what is settled.
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
    pub(in crate::node) async fn ask(&self, renewal: Renewal) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.asks.try_send(Asked { renewal, answer }).is_err() {
            return Answer::NotLeader;
        }
        answered.await.unwrap_or(Answer::NotLeader)
    }

    /// What is settled, as it changes.
    pub(in crate::node) fn settled(&self) -> watch::Receiver<Settled> {
        self.settled.clone()
    }
}

impl Asked {
    pub(super) fn answer(self, answer: Answer) {
        // The caller may have left.
        let _left = self.answer.send(answer);
    }
}
