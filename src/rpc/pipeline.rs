//! The calling end of a pipeline: one long-lived stream to one node, shared by every caller.
//!
//! A keeper task holds the stream, pings it, and says whether the node is *reachable*: not after a
//! refused or reset connection, nor while a ping goes unanswered for `ping_timeout`. It keeps trying,
//! so that a node which comes back is used again.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use super::connect::Target;
pub use super::pending::CallError;
use super::pending::Pending;
use super::proto::Call;
pub use super::settings::Settings;
pub use super::stream::Metrics;
use super::stream::{self, Shared};
use super::wire::{CallItem, Reply};
use crate::ids::GroupId;
use crate::shutdown::Shutdown;

/// A pipeline to one node. Clones share it; it ends with the shutdown it was opened under.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

impl Pipeline {
    /// Starts the keeper, which connects in the background. Until it has, the node is unreachable.
    #[must_use]
    pub fn open(target: Target, settings: Settings, metrics: Metrics, shutdown: &Shutdown) -> Self {
        let shared = Arc::new(Shared {
            pending: Pending::new(settings.max_in_flight),
            target,
            settings,
            outbox: Mutex::new(None),
            metrics,
            hurry: Notify::new(),
        });
        let keeping = stream::keep(Arc::clone(&shared), shutdown.clone());
        shutdown.spawn_critical("keeper of a pipeline", keeping);
        Self { shared }
    }

    /// Whether the node answers, as far as the last pings show.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.shared.pending.is_open()
    }

    /// There is news of the node: if it is not reachable, the next attempt to connect begins now.
    pub fn hurry(&self) {
        if !self.is_reachable() {
            self.shared.hurry.notify_one();
        }
    }

    /// Whether the first attempt to reach the node has ended, one way or the other.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.shared.pending.is_judged()
    }

    /// Sends a call and waits for its answer; `call.id` is chosen here.
    ///
    /// No deadline of its own: wrap it in the caller's. Cancel-safe: a dropped call is forgotten, its
    /// answer ignored; the node may still carry it out.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, mut call: Call, key: Bytes) -> Result<Reply, CallError> {
        let mut ticket = self.shared.pending.enter(GroupId(call.group))?;
        call.id = ticket.id;
        let sent = match &*self.shared.outbox.lock() {
            Some(outbox) => outbox.push(CallItem { call, key }),
            None => false,
        };
        if !sent {
            return Err(CallError::Unreachable);
        }
        (&mut ticket.answer).await.map_err(|_| CallError::Lost)
    }
}
