//! The node's gRPC service: pipelines and unary look-ups, both served by the read path.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use metrics::Histogram;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::explain::Explainer;
use super::moves::Moves;
use super::read::{Begun, Later, ReadPath};
use crate::ids::{Epoch, GroupId};
use crate::overload::shares::{Bounds, Full, Gate, Place};
use crate::rpc::outbox::{BatchLimits, Outbox, Sending, outbox};
use crate::rpc::proto::cache_server::Cache;
use crate::rpc::proto::{
    Call, ExplainReply, ExplainRequest, GetReply, GetRequest, HandOverMessage, HandOverReply,
    PipelineReply, PipelineRequest,
};
use crate::rpc::status::to_grpc;
use crate::rpc::wire::{self, AnswerItem};
use crate::shutdown::Shutdown;

/// The bounds of a node's pipelines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The most that one message holds.
    pub(super) batch: BatchLimits,
    /// The most calls of one pipeline that wait for loads; further ones are answered as overloaded. Calls
    /// whose callers have left still count: they wait here until their deadline, though no longer at the
    /// frontend.
    pub(super) max_in_flight: Bounds,
    /// The bytes of answers that wait for a slow reader at which the node stops to read the reader's calls.
    pub(super) max_unsent_bytes: usize,
}

/// Serves calls. Cheap to clone.
#[derive(Clone)]
pub(super) struct Service {
    path: ReadPath,
    settings: Settings,
    sent: Histogram,
    shutdown: Shutdown,
    explainer: Explainer,
    moves: Option<Moves>,
}

impl Service {
    /// A service whose pipelines end with `shutdown`. `sent` records the size of reply messages.
    #[must_use]
    pub(super) fn new(
        path: ReadPath,
        settings: Settings,
        sent: Histogram,
        shutdown: Shutdown,
        explainer: Explainer,
        moves: Option<Moves>,
    ) -> Self {
        Self {
            path,
            settings,
            sent,
            shutdown,
            explainer,
            moves,
        }
    }
}

/// The replies of one pipeline, on their way out.
type Replies = Pin<Box<dyn Stream<Item = Result<PipelineReply, Status>> + Send>>;

/// The replies to one transfer.
type Done = Pin<Box<dyn Stream<Item = Result<HandOverReply, Status>> + Send>>;

#[tonic::async_trait]
impl Cache for Service {
    type PipelineStream = Replies;
    type HandOverStream = Done;

    async fn hand_over(
        &self,
        request: Request<Streaming<HandOverMessage>>,
    ) -> Result<Response<Done>, Status> {
        let Some(moves) = &self.moves else {
            return Err(Status::unimplemented("nothing moves to this node"));
        };
        let done = moves.receive(request.into_inner()).await?;
        Ok(Response::new(Box::pin(done)))
    }

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let (outbox, sending): (Outbox<PipelineReply>, Sending<PipelineReply>) =
            outbox(self.settings.batch, self.sent.clone());
        let conversation = Conversation {
            service: self.clone(),
            outbox,
            waiting: TaskTracker::new(),
            places: Gate::new(self.settings.max_in_flight),
        };
        self.shutdown.spawn(conversation.run(request.into_inner()));
        let replies = futures_util::StreamExt::map(sending, Ok);
        Ok(Response::new(Box::pin(replies)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetReply>, Status> {
        let GetRequest { group, key } = request.into_inner();
        let view = self.path.view();
        if view.epoch() == Epoch(0) {
            return Err(Status::unavailable("this node has no topology yet"));
        }
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
            // In a tracked task, so that a stop of the node waits for it.
            Begun::Later(later) => self
                .shutdown
                .spawn(later.answer())
                .await
                .map_err(|_| Status::internal("the call was abandoned"))?,
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
            detail: answer.detail,
        }))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainReply>, Status> {
        let explained = self.explainer.explain(request.get_ref());
        explained
            .map(Response::new)
            .map_err(Status::invalid_argument)
    }
}

/// How long a frontend may take to end its direction of the stream, once all its calls are answered and the
/// stop of the node was announced to it.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// One pipeline, from its first message to its last.
struct Conversation {
    service: Service,
    outbox: Outbox<PipelineReply>,
    /// The tasks of calls that wait for loads.
    waiting: TaskTracker,
    /// Bounds their number.
    places: Gate,
}

impl Conversation {
    /// Answers until the frontend ends its direction of the stream, and then until all waiting calls are
    /// answered. When the node stops, it announces that, and ends the pipeline of a frontend that does not
    /// end it.
    async fn run(self, mut inbound: Streaming<PipelineRequest>) {
        let stop = &self.service.shutdown;
        let reported = async {
            stop.begun().await;
            self.outbox.drain();
            self.waiting.close();
            // Pings are answered as long as a call waits: a node that stops is not dead.
            self.waiting.wait().await;
            tokio::time::sleep(DRAIN_PATIENCE).await;
            true
        };
        let has_reader = tokio::select! {
            ended_well = self.listen(&mut inbound) => ended_well,
            left = reported => left,
        };
        if has_reader {
            self.waiting.close();
            self.waiting.wait().await;
        }
        self.outbox.close();
    }

    /// Serves messages. True if the frontend ended its direction and may still read ours.
    async fn listen(&self, inbound: &mut Streaming<PipelineRequest>) -> bool {
        loop {
            let message = match inbound.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return true,
                Err(_) => return false,
            };
            // The pong goes first: it never waits behind the calls of its message.
            if message.ping != 0 {
                self.outbox.ping(message.ping);
            }
            match wire::calls(message) {
                Ok(calls) => self.answer(calls),
                Err(malformed) => {
                    tracing::warn!(%malformed, "pipeline ended");
                    return false;
                }
            }
            self.outbox
                .below(self.service.settings.max_unsent_bytes)
                .await;
        }
    }

    fn answer(&self, calls: impl Iterator<Item = (Call, Bytes)>) {
        let view = self.service.path.view();
        let mut ready = Vec::new();
        for (call, key) in calls {
            match self.service.path.begin(call, key, &view) {
                Begun::Now(item) => ready.push(item),
                Begun::Later(later) => match self.places.enter(GroupId(call.group)) {
                    Ok(place) => self.wait_for(&call, later, place),
                    Err(full) => {
                        let (limit, why) = limit_of(full);
                        let call = (call.id, GroupId(call.group));
                        ready.push(self.service.path.limited(call, &view, limit, why));
                    }
                },
            }
        }
        if ready.is_empty() {
            // Thousands of misses may come at once, with a ping behind them: a sign of life for each message
            // that was read shows that the node is busy and not dead.
            self.outbox.show_life();
        }
        self.outbox.push_all(ready);
    }

    fn wait_for(&self, call: &Call, later: Later, place: Place) {
        let outbox = self.outbox.clone();
        let path = self.service.path.clone();
        let call = (call.id, GroupId(call.group));
        let max = self.service.settings.max_unsent_bytes;
        self.waiting.spawn(async move {
            let mut item = later.answer().await;
            // Loads end even if the frontend does not read: their values are bounded here.
            if outbox.waiting_bytes() >= max {
                let why = "the frontend reads its answers too slowly";
                item = path.limited(call, &path.view(), "max_unsent", why);
            }
            outbox.push(item);
            drop(place);
        });
    }
}

/// The setting whose bound is reached, as the metric's label has it, and the reason for the caller.
fn limit_of(full: Full) -> (&'static str, &'static str) {
    match full {
        Full::InAll => (
            "max_in_flight",
            "too many calls of this pipeline wait for loads",
        ),
        Full::PerGroup => (
            "max_in_flight_per_group",
            "too many calls of this pipeline wait for loads of this group",
        ),
    }
}
