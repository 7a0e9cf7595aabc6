//! The node's gRPC service: pipelines and unary look-ups, both onto the read path.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::Stream;
use metrics::Histogram;
use tonic::{Request, Response, Status, Streaming};

use super::answers::refusal;
use super::read::{Begun, ReadPath};
use crate::rpc::outbox::{BatchLimits, Outbox, Sending, outbox};
use crate::rpc::proto::cache_server::Cache;
use crate::rpc::proto::{self, Call, GetReply, GetRequest, PipelineReply, PipelineRequest};
use crate::rpc::status::to_grpc;
use crate::rpc::wire::{self, AnswerItem};
use crate::shutdown::Shutdown;

/// The bounds of a node's pipelines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// What goes into one message.
    pub batch: BatchLimits,
    /// Calls of one pipeline that may wait for loads; more are answered as overloaded.
    pub max_in_flight: usize,
    /// Answers that may wait for a slow reader, in bytes, before its calls are no longer read.
    pub max_unsent_bytes: usize,
}

/// Serves calls. Cheap to clone.
#[derive(Clone)]
pub(super) struct Service {
    path: ReadPath,
    settings: Settings,
    sent: Histogram,
    shutdown: Shutdown,
}

impl Service {
    /// A service whose pipelines end with `shutdown`. `sent` records the size of reply messages.
    #[must_use]
    pub(super) fn new(
        path: ReadPath,
        settings: Settings,
        sent: Histogram,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            path,
            settings,
            sent,
            shutdown,
        }
    }
}

/// The replies of one pipeline, on their way out.
type Replies = Pin<Box<dyn Stream<Item = Result<PipelineReply, Status>> + Send>>;

#[tonic::async_trait]
impl Cache for Service {
    type PipelineStream = Replies;

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let (outbox, sending): (Outbox<PipelineReply>, Sending<PipelineReply>) =
            outbox(self.settings.batch, self.sent.clone());
        let conversation = Conversation {
            service: self.clone(),
            outbox,
            in_flight: Arc::new(AtomicUsize::new(0)),
        };
        self.shutdown.spawn(conversation.run(request.into_inner()));
        let replies = futures_util::StreamExt::map(sending, Ok);
        Ok(Response::new(Box::pin(replies)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetReply>, Status> {
        let GetRequest { group, key } = request.into_inner();
        let view = self.path.view();
        let group = view
            .group_by_name(&group)
            .ok_or_else(|| Status::not_found(format!("no group {group:?}")))?;
        let call = Call {
            group: group.id.0,
            epoch: view.epoch().0,
            ..Call::default()
        };
        let AnswerItem { answer, value } = match self.path.begin(call, key, &view) {
            Begun::Now(item) => item,
            Begun::Later(later) => later.answer().await,
        };
        if let Some(status) = to_grpc(&answer) {
            return Err(status);
        }
        Ok(Response::new(GetReply {
            value: value.map_or_else(Bytes::new, |entry| Bytes::copy_from_slice(entry.value())),
            via: answer.via,
            age_ms: answer.age_ms,
            ttl_ms: answer.ttl_ms,
            stored: answer.stored,
            collapsed: answer.collapsed,
        }))
    }
}

/// One pipeline, from its first message to its last.
struct Conversation {
    service: Service,
    outbox: Outbox<PipelineReply>,
    in_flight: Arc<AtomicUsize>,
}

impl Conversation {
    async fn run(self, mut inbound: Streaming<PipelineRequest>) {
        loop {
            let message = tokio::select! {
                message = inbound.message() => message,
                () = self.service.shutdown.begun() => break,
            };
            let Ok(Some(message)) = message else { break };
            // The pong goes first: it never waits behind what the message asks for.
            if message.ping != 0 {
                self.outbox.ping(message.ping);
            }
            match wire::calls(message) {
                Ok(calls) => self.answer(calls),
                Err(malformed) => {
                    tracing::warn!(%malformed, "pipeline ended");
                    break;
                }
            }
            self.outbox
                .below(self.service.settings.max_unsent_bytes)
                .await;
        }
        self.outbox.close();
    }

    fn answer(&self, calls: impl Iterator<Item = (Call, Bytes)>) {
        let view = self.service.path.view();
        let mut ready = Vec::new();
        for (call, key) in calls {
            match self.service.path.begin(call, key, &view) {
                Begun::Now(item) => ready.push(item),
                Begun::Later(later) => {
                    if self.in_flight.load(Ordering::Relaxed) >= self.service.settings.max_in_flight
                    {
                        ready.push(refusal(
                            call.id,
                            proto::Status::Overloaded,
                            "too many calls of this pipeline wait for loads",
                        ));
                        continue;
                    }
                    self.in_flight.fetch_add(1, Ordering::Relaxed);
                    let (outbox, in_flight) = (self.outbox.clone(), Arc::clone(&self.in_flight));
                    self.service.shutdown.spawn(async move {
                        let item = later.answer().await;
                        in_flight.fetch_sub(1, Ordering::Relaxed);
                        outbox.push(item);
                    });
                }
            }
        }
        self.outbox.push_all(ready);
    }
}
