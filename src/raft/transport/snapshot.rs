//! Snapshots on their way out: one connection each, in chunks, and an outcome that is always reported.
//!
//! Raft sends a peer nothing more until it hears what became of the snapshot, so none may vanish:
//! dropping an [`Owed`] reports a failure.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::book::Address;
use super::bounds::{OPEN_TIMEOUT, SNAPSHOT_DEADLINE};
use super::connect::connect;
use super::local::Local;
use super::metrics::Lost;
use super::report::Report;
use super::wire::chunks;
use crate::ids::NodeId;
use crate::raft::envelope::{Envelope, Lane};
use crate::shutdown::Shutdown;

/// A report that somebody waits for.
pub(super) struct Owed {
    local: Arc<Local>,
    to: NodeId,
    outcome: Result<usize, Lost>,
}

impl Owed {
    /// Until it is settled, it failed.
    pub(super) fn new(local: Arc<Local>, to: NodeId) -> Self {
        Self {
            local,
            to,
            outcome: Err(Lost::Interrupted),
        }
    }

    /// Reports that the peer's Raft has it.
    fn delivered(mut self, bytes: usize) {
        self.outcome = Ok(bytes);
    }

    /// Reports that it was lost.
    pub(super) fn lost(mut self, reason: Lost) {
        self.outcome = Err(reason);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        let counts = self.local.metrics.lane(Lane::Snapshot);
        match self.outcome {
            Ok(bytes) => {
                counts.sent.increment(1);
                counts.sent_bytes.increment(bytes as u64);
                tracing::info!(peer = %self.to, bytes, "raft snapshot delivered");
            }
            Err(reason) => {
                counts.lost(reason, 1);
                tracing::warn!(peer = %self.to, reason = reason.label(), "raft snapshot lost");
            }
        }
        (self.local.report)(Report::SnapshotSent {
            to: self.to,
            is_delivered: self.outcome.is_ok(),
        });
    }
}

/// Sends one peer's snapshots, one after the other, until shutdown.
pub(super) async fn run(
    local: Arc<Local>,
    mut waiting: mpsc::Receiver<(Owed, Envelope)>,
    address: watch::Receiver<Address>,
    shutdown: Shutdown,
) {
    loop {
        let (owed, envelope) = tokio::select! {
            next = waiting.recv() => match next {
                Some(next) => next,
                None => return,
            },
            () = shutdown.begun() => return,
        };
        let (peer, bytes) = (envelope.to, envelope.message.len());
        let to = address.borrow().clone();
        let sent = tokio::select! {
            sent = timeout(SNAPSHOT_DEADLINE, send(&local, &to, envelope)) => sent,
            () = shutdown.begun() => return,
        };
        match sent {
            Ok(Ok(())) => owed.delivered(bytes),
            Ok(Err((reason, text))) => {
                tracing::debug!(%peer, reason = text, "raft snapshot not taken");
                owed.lost(reason);
            }
            Err(_) => owed.lost(Lost::Interrupted),
        }
    }
}

/// One snapshot over a connection of its own, up to the peer's acknowledgement.
async fn send(local: &Local, to: &Address, envelope: Envelope) -> Result<(), (Lost, String)> {
    let late = |_| (Lost::Unreachable, patience(OPEN_TIMEOUT));
    let mut client = timeout(OPEN_TIMEOUT, connect(to, local.from))
        .await
        .map_err(late)?
        .map_err(|reason| (Lost::Unreachable, reason))?;
    let _open = local.metrics.lane(Lane::Snapshot).opened();
    // The library would go on sending what nobody waits for any more.
    let given_up = CancellationToken::new();
    let _guard = given_up.clone().drop_guard();
    let body = stream::iter(chunks(envelope)).take_until(given_up.cancelled_owned());
    match client.snapshot(body).await {
        Ok(_) => Ok(()),
        Err(status) => Err((reason(status.code()), status.to_string())),
    }
}

fn patience(bound: Duration) -> String {
    format!("no connection within {bound:?}")
}

fn reason(code: tonic::Code) -> Lost {
    match code {
        tonic::Code::ResourceExhausted => Lost::InboxFull,
        tonic::Code::OutOfRange => Lost::TooLarge,
        tonic::Code::InvalidArgument => Lost::Malformed,
        _ => Lost::Interrupted,
    }
}
