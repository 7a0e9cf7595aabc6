//! How the rest of the node reaches its leader: renewals go in, answers and what is settled come out.

use tokio::sync::{mpsc, oneshot, watch};

use crate::ids::{Epoch, NodeId};
use crate::topology::lease::{Grant, LeaseRefusal, Renewal};
use crate::topology::model::member::MAX_MEMBERS;

/// Renewals that may wait to be taken from the inbox.
const INBOX_MAX: usize = 4 * MAX_MEMBERS;

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) enum Answer {
    Granted(Grant),
    Refused(LeaseRefusal),
    /// The member was removed, and its id is never used again.
    Removed,
    /// This node leads no more, or not yet.
    NotLeader,
}

/// A renewal, and where its answer goes.
pub(super) struct Asked {
    pub(super) renewal: Renewal,
    answer: oneshot::Sender<Answer>,
}

/// What is settled, while this node leads; none while it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Settled {
    /// No member that holds a lease has applied less.
    pub(in crate::node) epoch: Option<Epoch>,
    /// Members that hold a lease and have not applied the latest epoch.
    pub(in crate::node) behind: Vec<NodeId>,
    /// Whether all who hold a lease know that they may act for what they own.
    pub(in crate::node) all_act: bool,
}

/// How others reach the leader of this node.
#[derive(Clone)]
pub(in crate::node) struct LeaderHandle {
    asks: mpsc::Sender<Asked>,
    settled: watch::Receiver<Settled>,
}

impl LeaderHandle {
    /// A handle, and what its leader takes renewals from and shows in it.
    pub(super) fn new() -> (Self, mpsc::Receiver<Asked>, watch::Sender<Settled>) {
        let (sender, asks) = mpsc::channel(INBOX_MAX);
        let (settled, seen) = watch::channel(Settled::default());
        let handle = Self {
            asks: sender,
            settled: seen,
        };
        (handle, asks, settled)
    }

    /// Asks for a lease to go on. Cancel-safe: nothing waits then.
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
