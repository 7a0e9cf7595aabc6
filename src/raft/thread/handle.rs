//! What the rest of the node has of the Raft thread: requests with an outcome, and what is known.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::end::End;
use crate::ids::NodeId;
use crate::raft::envelope::Envelope;
use crate::raft::event::{Event, Outcome, RequestId, Standing};
use crate::topology::commands::Command;
use crate::topology::model::quorum::QuorumChange;
use crate::topology::state::State;

/// Between two attempts to stop a thread whose inbox is full.
const STOP_EVERY: Duration = Duration::from_millis(10);

/// The sending side of an inbox.
type Inlet = SyncSender<Input>;

/// What goes into the inbox.
pub(super) enum Input {
    Event(Event),
    Ask(Ask, oneshot::Sender<Outcome>),
    Stop,
}

/// A request, before it has a number.
pub(super) enum Ask {
    Propose(bytes::Bytes),
    ChangeQuorum(QuorumChange),
    Read,
    Transfer(NodeId),
    Compact,
}

impl Ask {
    pub(super) fn event(self, request: RequestId) -> Event {
        match self {
            Self::Propose(command) => Event::Propose(request, command),
            Self::ChangeQuorum(change) => Event::ChangeQuorum(request, change),
            Self::Read => Event::Read(request),
            Self::Transfer(to) => Event::Transfer(request, to),
            Self::Compact => Event::Compact(request),
        }
    }
}

/// Where the transport puts what arrives.
#[derive(Clone)]
pub struct Inbox(Inlet);

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    /// Hands over a message; false if there is no room or nobody to take it.
    #[must_use]
    pub fn offer(&self, envelope: Envelope) -> bool {
        self.put(Event::Receive(envelope))
    }

    /// Reports that a message to `peer` was lost. Dropped if there is no room: the next loss says so.
    pub fn unreachable(&self, peer: NodeId) {
        let _full = self.put(Event::Unreachable(peer));
    }

    /// Reports what became of the snapshot for `peer`; false if there is no room, and then it must be
    /// reported again, since Raft sends that peer nothing until it hears of it. True if the thread has
    /// ended, and nobody cares.
    #[must_use]
    pub fn snapshot_sent(&self, peer: NodeId, is_sent: bool) -> bool {
        let sent = Input::Event(Event::SnapshotSent(peer, is_sent));
        !matches!(self.0.try_send(sent), Err(TrySendError::Full(_)))
    }

    fn put(&self, event: Event) -> bool {
        self.0.try_send(Input::Event(event)).is_ok()
    }
}

/// A running Raft thread. Clones speak to the same one; it stops when the last one is dropped.
#[derive(Clone)]
pub struct Handle {
    inbox: Inlet,
    state: watch::Receiver<Arc<State>>,
    standing: watch::Receiver<Standing>,
    end: watch::Receiver<Option<End>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("standing", &*self.standing.borrow())
            .finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(
        inbox: Inlet,
        state: watch::Receiver<Arc<State>>,
        standing: watch::Receiver<Standing>,
        end: watch::Receiver<Option<End>>,
    ) -> Self {
        Self {
            inbox,
            state,
            standing,
            end,
        }
    }

    /// Returns where messages go.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        Inbox(self.inbox.clone())
    }

    /// The applied state, as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }

    /// Which node leads and how far all are, as it changes.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Says why the thread ended; none while it runs.
    #[must_use]
    pub fn end(&self) -> watch::Receiver<Option<End>> {
        self.end.clone()
    }

    /// Commits `command` within `patience`.
    ///
    /// Dropping the future leaves the command where it is: it may be committed yet.
    pub async fn propose(&self, command: &Command, patience: Duration) -> Outcome {
        self.ask(Ask::Propose(command.encode()), patience).await
    }

    /// Changes who votes, within `patience`; as [`propose`](Self::propose) otherwise.
    pub async fn change_quorum(&self, change: QuorumChange, patience: Duration) -> Outcome {
        self.ask(Ask::ChangeQuorum(change), patience).await
    }

    /// Waits until [`state`](Self::state) is at least as new as all that was acknowledged before.
    /// Only the leader answers.
    pub async fn read(&self, patience: Duration) -> Outcome {
        self.ask(Ask::Read, patience).await
    }

    /// Begins to hand the leadership to `to`. That it arrived is seen in the [`Standing`].
    pub async fn transfer(&self, to: NodeId, patience: Duration) -> Outcome {
        self.ask(Ask::Transfer(to), patience).await
    }

    /// Takes a snapshot and drops the entries before it.
    pub async fn compact(&self, patience: Duration) -> Outcome {
        self.ask(Ask::Compact, patience).await
    }

    async fn ask(&self, ask: Ask, patience: Duration) -> Outcome {
        let (answer, answered) = oneshot::channel();
        match self.inbox.try_send(Input::Ask(ask, answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Outcome::Refused("too many requests wait already");
            }
            Err(TrySendError::Disconnected(_)) => {
                return Outcome::Refused("this node's raft has ended");
            }
        }
        let answered = tokio::time::timeout(patience, answered).await;
        // Too late, or the thread ended with the request in it.
        answered.map_or(Outcome::Unknown, |answer| {
            answer.unwrap_or(Outcome::Unknown)
        })
    }

    /// Stops the thread after what it has in hand, and waits until it is done: the log is closed then,
    /// and its lock free. Ends early if the thread hangs in a write for longer than `patience`.
    pub async fn stop(&self, patience: Duration) {
        let mut end = self.end.clone();
        let stopped = async {
            while self.inbox.try_send(Input::Stop).is_err() && end.borrow().is_none() {
                tokio::time::sleep(STOP_EVERY).await;
            }
            let _gone = end.wait_for(Option::is_some).await;
        };
        let _hangs = tokio::time::timeout(patience, stopped).await;
    }
}
