//! The server of the Raft port: streams of messages, snapshots, and every limit.
//!
//! tonic passes "no limit" to hyper for concurrent streams and local resets, which switches hyper's
//! own protections off; so both are set here, with all the others.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::book::{Address, Listing};
use super::bounds::{
    MAX_NACK_BYTES, MAX_SNAPSHOT_BYTES, MAX_WIRE_BYTES, SNAPSHOT_DEADLINE, max_bytes,
};
use super::connect::{
    CONNECTION_WINDOW_BYTES, KEEPALIVE_EVERY, KEEPALIVE_TIMEOUT, MAX_HEADER_LIST_BYTES,
    STREAM_WINDOW_BYTES,
};
use super::metrics::{Lost, label};
use super::proto;
use super::proto::raft_server::{Raft, RaftServer};
use super::report::{Full, Inbox};
use super::senders::{Entered, Nacks};
use super::shared::Shared;
use super::wire::{Malformed, decode};
use crate::net::incoming;
use crate::raft::envelope::{Envelope, Lane, Sender};
use crate::shutdown::Shutdown;

/// Open connections; further ones wait in the kernel's backlog. A peer needs two, and a third while
/// it sends a snapshot.
const MAX_CONNECTIONS: usize = 512;
/// Streams open at once on one connection. A peer needs one.
const MAX_STREAMS: u32 = 4;
const MAX_LOCAL_RESETS: usize = 1024;
const MAX_PENDING_RESETS: usize = 20;
/// Refusals that wait for one sender. The next is as good as one that finds no room.
const NACKS: usize = 4;
/// Snapshots received at once: each is held in memory as a whole.
const MAX_INCOMING_SNAPSHOTS: usize = 2;
/// How long connections may take to end once their streams have.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// Serves `listener` until shutdown, then until its connections have ended or patience has.
pub(super) async fn serve(
    listener: TcpListener,
    inbox: Inbox,
    shared: Arc<Shared>,
    shutdown: Shutdown,
) {
    let service = Service {
        inbox,
        shared,
        snapshots: Arc::new(Semaphore::new(MAX_INCOMING_SNAPSHOTS)),
        shutdown: shutdown.clone(),
    };
    let stopping = shutdown.clone();
    let serving = tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .concurrency_limit_per_connection(MAX_STREAMS as usize)
        .load_shed(true)
        .http2_max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(
            RaftServer::new(service)
                .max_decoding_message_size(MAX_WIRE_BYTES)
                .max_encoding_message_size(MAX_NACK_BYTES),
        )
        .serve_with_incoming_shutdown(incoming(listener, MAX_CONNECTIONS), async move {
            stopping.begun().await
        });
    let patience = async {
        shutdown.begun().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::error!(%error, "raft server failed");
        },
        () = patience => tracing::debug!("raft connections left open"),
    }
}

/// Takes what peers send.
#[derive(Clone)]
struct Service {
    inbox: Inbox,
    shared: Arc<Shared>,
    snapshots: Arc<Semaphore>,
    shutdown: Shutdown,
}

type NackStream = Pin<Box<dyn Stream<Item = Result<proto::Nack, Status>> + Send>>;

#[tonic::async_trait]
impl Raft for Service {
    type HeartbeatsStream = NackStream;
    type AppendsStream = NackStream;

    async fn heartbeats(
        &self,
        request: Request<Streaming<proto::Envelope>>,
    ) -> Result<Response<NackStream>, Status> {
        Ok(self.receive(Lane::Heartbeat, request.into_inner()))
    }

    async fn appends(
        &self,
        request: Request<Streaming<proto::Envelope>>,
    ) -> Result<Response<NackStream>, Status> {
        Ok(self.receive(Lane::Append, request.into_inner()))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotChunk>>,
    ) -> Result<Response<proto::SnapshotReply>, Status> {
        let received = tokio::select! {
            received = timeout(SNAPSHOT_DEADLINE, self.take_snapshot(request.into_inner())) => received,
            () = self.shutdown.begun() => Ok(Err(Status::unavailable("shutdown"))),
        };
        let outcome = received.unwrap_or_else(|_| Err(Status::deadline_exceeded("too slow")));
        if let Err(status) = &outcome {
            tracing::debug!(reason = %status, "raft snapshot not taken");
        }
        outcome.map(|()| Response::new(proto::SnapshotReply {}))
    }
}

impl Service {
    /// Reads a stream in a task of its own, so that its answers are never in its way.
    fn receive(&self, lane: Lane, inbound: Streaming<proto::Envelope>) -> Response<NackStream> {
        let (nacks, answers) = mpsc::channel(NACKS);
        let (service, shutdown) = (self.clone(), self.shutdown.clone());
        self.shutdown.spawn(async move {
            let ended = tokio::select! {
                ended = service.read(lane, inbound, &nacks) => ended,
                () = shutdown.begun() => Ok(()),
            };
            if let Err(status) = ended {
                tracing::debug!(lane = label(lane), reason = %status, "raft stream ended");
                // The sender may be gone; then nobody needs to know.
                let _ = nacks.try_send(Err(status));
            }
        });
        Response::new(Box::pin(ReceiverStream::new(answers)))
    }

    /// Reads until the stream ends, by its sender or by a mistake of it.
    async fn read(
        &self,
        lane: Lane,
        mut inbound: Streaming<proto::Envelope>,
        nacks: &Nacks,
    ) -> Result<(), Status> {
        let mut place: Option<(Envelope, Entered)> = None;
        loop {
            let message = inbound.message().await.map_err(|s| self.unread(lane, s))?;
            let Some(mut message) = message else {
                return Ok(());
            };
            let address = std::mem::take(&mut message.address);
            let envelope = decode(message).map_err(|error| self.malformed(lane, &error))?;
            let (first, _) = place.get_or_insert_with(|| {
                let sender = Sender::from(&envelope);
                self.learn(&envelope, &address);
                let head = Envelope {
                    message: bytes::Bytes::new(),
                    ..envelope.clone()
                };
                (head, self.shared.senders.enter(sender, nacks.clone()))
            });
            if Sender::from(&*first) != Sender::from(&envelope) || first.to != envelope.to {
                return Err(self.malformed(lane, &Malformed::Mixed));
            }
            // A loss is no reason to end the stream: Raft sends again.
            let _ = self.hand_over(lane, envelope);
        }
    }

    /// Gives an envelope to Raft, if its lane allows its size, and counts what became of it.
    fn hand_over(&self, lane: Lane, envelope: Envelope) -> Result<(), Lost> {
        let counts = self.shared.local.metrics.lane(lane);
        let bytes = envelope.message.len();
        let outcome = if bytes > max_bytes(lane) {
            Err(Lost::TooLarge)
        } else {
            (self.inbox)(envelope).map_err(|Full| Lost::InboxFull)
        };
        match outcome {
            Ok(()) => {
                counts.received.increment(1);
                counts.received_bytes.increment(bytes as u64);
            }
            Err(reason) => counts.lost(reason, 1),
        }
        outcome
    }

    /// Remembers where a sender says it listens, if it is one of ours and speaks to us.
    fn learn(&self, envelope: &Envelope, address: &str) {
        let is_ours = envelope.cluster == self.shared.cluster && envelope.to == self.shared.node;
        if !is_ours || address.is_empty() {
            return;
        }
        match address.parse::<Address>() {
            Ok(address) => self.shared.learn(Listing {
                node: envelope.from,
                incarnation: envelope.incarnation,
                address,
            }),
            Err(error) => tracing::debug!(peer = %envelope.from, %error, "raft address ignored"),
        }
    }

    /// A whole snapshot, given to Raft.
    async fn take_snapshot(
        &self,
        mut inbound: Streaming<proto::SnapshotChunk>,
    ) -> Result<(), Status> {
        let lane = Lane::Snapshot;
        let counts = self.shared.local.metrics.lane(lane);
        let Ok(_slot) = self.snapshots.try_acquire() else {
            return Err(Status::resource_exhausted("too many snapshots at once"));
        };
        let mut head = None;
        let mut total = 0;
        // Grows with what comes, not with what is announced.
        let mut data = BytesMut::new();
        while let Some(chunk) = inbound.message().await.map_err(|s| self.unread(lane, s))? {
            if head.is_none() {
                let first = chunk.head.ok_or(Malformed::Headless);
                let first = first.and_then(decode);
                head = Some(first.map_err(|error| self.malformed(lane, &error))?);
                total = chunk.total_bytes;
            }
            data.extend_from_slice(&chunk.data);
            if total.max(data.len() as u64) > MAX_SNAPSHOT_BYTES as u64 {
                counts.lost(Lost::TooLarge, 1);
                return Err(Status::out_of_range("larger than a snapshot may be"));
            }
        }
        let head = head.ok_or_else(|| self.malformed(lane, &Malformed::Headless))?;
        if data.len() as u64 != total {
            counts.lost(Lost::Interrupted, 1);
            return Err(Status::data_loss("the snapshot is not complete"));
        }
        let whole = Envelope {
            message: data.freeze(),
            ..head
        };
        match self.hand_over(lane, whole) {
            Ok(()) => Ok(()),
            Err(_) => Err(Status::resource_exhausted("raft takes nothing more now")),
        }
    }

    fn malformed(&self, lane: Lane, error: &Malformed) -> Status {
        let counts = self.shared.local.metrics.lane(lane);
        counts.lost(Lost::Malformed, 1);
        Status::invalid_argument(error.to_string())
    }

    /// Counts what could not be read as a message; a broken connection is none.
    fn unread(&self, lane: Lane, status: Status) -> Status {
        let counts = self.shared.local.metrics.lane(lane);
        match status.code() {
            Code::OutOfRange => counts.lost(Lost::TooLarge, 1),
            Code::Internal | Code::InvalidArgument => counts.lost(Lost::Malformed, 1),
            _ if lane == Lane::Snapshot => counts.lost(Lost::Interrupted, 1),
            _ => {}
        }
        status
    }
}
