//! One lane to one peer: a connection with one long-lived stream, made again whenever it ends.
//!
//! A connection is made when there is something to send, so idle pairs of followers have none.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;

use super::book::Address;
use super::bounds::{OPEN_TIMEOUT, RECONNECT_MAX, RECONNECT_MIN, REPORT_EVERY};
use super::connect::connect;
use super::local::Local;
use super::metrics::{Lost, label};
use super::proto;
use super::queue::{Queue, Reader};
use super::report::Report;
use super::wire::{Refusal, encode};
use crate::ids::NodeId;
use crate::net::jittered;
use crate::raft::envelope::Lane;
use crate::shutdown::Shutdown;

/// Keeps a lane's stream. Only for the lanes of messages: snapshots have no queue and no stream.
pub(super) struct Keeper {
    pub(super) lane: Lane,
    pub(super) peer: NodeId,
    pub(super) local: Arc<Local>,
    pub(super) queue: Arc<Queue>,
    pub(super) address: watch::Receiver<Address>,
    /// Notified of every loss.
    pub(super) loss: Arc<Notify>,
}

/// How a stream ended.
enum Ended {
    /// It never was: what waits would get old.
    Unopened(String),
    /// It was open that long. What was under way may be lost.
    Broken(String, Duration),
    /// The peer is elsewhere by now.
    Moved,
}

impl Keeper {
    /// Runs until shutdown: something to send, a stream, a pause.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let mut pause = RECONNECT_MIN;
        let mut is_reachable = true;
        loop {
            let ended = tokio::select! {
                // First: where both ends stop at once, no peer is missed.
                biased;
                () = shutdown.begun() => break,
                ended = self.converse(&mut is_reachable) => ended,
            };
            // The library holds on to a stream that was given up; this ends it.
            self.queue.end_reading();
            match ended {
                Ended::Moved => {
                    pause = RECONNECT_MIN;
                    // What was under way went to the old address.
                    self.loss.notify_one();
                    continue;
                }
                Ended::Unopened(reason) => {
                    self.lose_all();
                    self.show_unreachable(&mut is_reachable, &reason);
                }
                Ended::Broken(reason, lasted) => {
                    self.loss.notify_one();
                    self.show_unreachable(&mut is_reachable, &reason);
                    // A stream that lasted earns a fresh start.
                    if lasted > RECONNECT_MAX {
                        pause = RECONNECT_MIN;
                    }
                }
            }
            tokio::select! {
                () = sleep(jittered(pause)) => {}
                () = shutdown.begun() => break,
            }
            pause = (pause * 2).min(RECONNECT_MAX);
        }
        self.queue.end_reading();
    }

    /// One stream, from something to send to its end.
    async fn converse(&self, is_reachable: &mut bool) -> Ended {
        self.queue.filled().await;
        let mut address = self.address.clone();
        let to = address.borrow_and_update().clone();
        let opened = tokio::select! {
            opened = timeout(OPEN_TIMEOUT, self.open(&to)) => opened,
            _ = address.changed() => return Ended::Moved,
        };
        let inbound = match opened {
            Ok(Ok(inbound)) => inbound,
            Ok(Err(reason)) => return Ended::Unopened(reason),
            Err(_) => return Ended::Unopened(format!("no stream within {OPEN_TIMEOUT:?}")),
        };
        if !std::mem::replace(is_reachable, true) {
            tracing::info!(peer = %self.peer, lane = label(self.lane), "raft peer reachable");
        }
        // Not earlier: a peer that does not answer would find it all, and old, when it awakes.
        self.queue.open();
        let _open = self.local.metrics.lane(self.lane).opened();
        let began = Instant::now();
        let reason = tokio::select! {
            reason = listen(&self.local, self.peer, inbound) => reason,
            _ = address.changed() => return Ended::Moved,
        };
        Ended::Broken(reason, began.elapsed())
    }

    /// Connects and opens the stream. It is open once the peer's headers are here, which only a
    /// process that runs can send: a frozen one still accepts connections.
    async fn open(&self, address: &Address) -> Result<Streaming<proto::Nack>, String> {
        let mut client = connect(address, self.local.from).await?;
        let sending = Sending {
            reader: self.queue.read(),
            lane: self.lane,
            local: Arc::clone(&self.local),
            is_begun: false,
        };
        let opened = match self.lane {
            Lane::Heartbeat => client.heartbeats(sending).await,
            Lane::Append | Lane::Snapshot => client.appends(sending).await,
        };
        match opened {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(status.to_string()),
        }
    }

    /// Drops what waited for a connection that could not be made: Raft sends newer messages.
    fn lose_all(&self) {
        let lost = self.queue.drain();
        let counts = self.local.metrics.lane(self.lane);
        counts.lost(Lost::Unreachable, lost);
        self.loss.notify_one();
    }

    fn show_unreachable(&self, is_reachable: &mut bool, reason: &str) {
        let (peer, lane) = (self.peer, label(self.lane));
        if std::mem::replace(is_reachable, false) {
            tracing::warn!(%peer, lane, reason, "raft peer unreachable");
        } else {
            tracing::debug!(%peer, lane, reason, "raft peer still unreachable");
        }
    }
}

/// Hears refusals until the stream ends; says why it did.
async fn listen(local: &Local, peer: NodeId, mut inbound: Streaming<proto::Nack>) -> String {
    let mut last: Option<Instant> = None;
    loop {
        let refusal = match inbound.message().await {
            Ok(Some(nack)) => Refusal::from(nack),
            Ok(None) => return "the peer ended the stream".into(),
            Err(status) => return format!("{:?}: {}", status.code(), status.message()),
        };
        local.metrics.heard(refusal);
        // The peer repeats itself as long as it is sent anything.
        if last.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            last = Some(Instant::now());
            (local.report)(Report::Refused { by: peer, refusal });
        }
    }
}

/// The queue as the stream's body.
struct Sending {
    reader: Reader,
    lane: Lane,
    local: Arc<Local>,
    /// The first envelope went out, and with it where this node listens.
    is_begun: bool,
}

impl Stream for Sending {
    type Item = proto::Envelope;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<proto::Envelope>> {
        let next = self.reader.poll_next(cx);
        next.map(|envelope| {
            let envelope = envelope?;
            let counts = self.local.metrics.lane(self.lane);
            counts.sent.increment(1);
            counts.sent_bytes.increment(envelope.message.len() as u64);
            let is_first = !std::mem::replace(&mut self.is_begun, true);
            let address = self.local.address.as_ref().filter(|_| is_first);
            Some(encode(envelope, address))
        })
    }
}
