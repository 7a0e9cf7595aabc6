//! The control service's client: what a node asks of another before Raft connects them.

use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use parking_lot::Mutex;
use prost::bytes::Bytes;
use tonic::transport::Channel;

use super::connect::{Life, Target, connect};
use super::control_proto::control_client::ControlClient;
use super::control_proto::{
    CheckGroupsReply, CheckGroupsRequest, CommitReply, CommitRequest, EnterReply, EnterRequest,
    ReachReply, ReachRequest, RemoveReply, RemoveRequest, RenewReply, RenewRequest, SettleReply,
    SettleRequest, StatusReply, StatusRequest, Topology, TransferReply, TransferRequest,
    WatchRequest,
};
use crate::ids::{Epoch, NodeId};
use crate::net::chain;
use crate::topology::state::State;

/// The largest message of the control service: a state whose groups and their history are as large as
/// they may be, 1.5 MiB, and what else it holds.
pub const MAX_CONTROL_BYTES: usize = 4 << 20;

/// A node did not answer, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target}: {reason}")]
pub struct Unanswered {
    target: String,
    reason: String,
    /// Whether the question may have reached it: then what was asked for may have been done.
    pub is_sent: bool,
}

impl Unanswered {
    /// The node at `target` did not answer, for this `reason`.
    #[must_use]
    pub fn new(target: &Target, reason: impl Into<String>) -> Self {
        Self {
            target: target.to_string(),
            reason: reason.into(),
            is_sent: true,
        }
    }

    /// The same, where nothing was sent.
    fn unsent(target: &Target, reason: impl Into<String>) -> Self {
        Self {
            is_sent: false,
            ..Self::new(target, reason)
        }
    }
}

/// Asks the node at `target` what it is and knows, within `patience`.
///
/// # Errors
/// It does not answer.
pub async fn status(target: &Target, patience: Duration) -> Result<StatusReply, Unanswered> {
    within(target, patience, async |mut client| {
        client.status(StatusRequest {}).await
    })
    .await
}

/// Asks the node at `target` to commit the joining or the new start of a node, within `patience`.
///
/// # Errors
/// It does not answer; then it may have been committed.
pub async fn enter(
    target: &Target,
    request: EnterRequest,
    patience: Duration,
) -> Result<EnterReply, Unanswered> {
    check_size(target, request.command.len())?;
    within(target, patience, async move |mut client| {
        client.enter(request).await
    })
    .await
}

/// Asks the node at `target` to commit an operator's command, within `patience`.
///
/// # Errors
/// It does not answer; then it may have been committed.
pub async fn commit(
    target: &Target,
    command: Bytes,
    patience: Duration,
) -> Result<CommitReply, Unanswered> {
    check_size(target, command.len())?;
    within(target, patience, async move |mut client| {
        client.commit(CommitRequest { command }).await
    })
    .await
}

/// Asks the node at `target` to hand the leadership to another, within `patience`.
///
/// # Errors
/// It does not answer; then it may have done so.
pub async fn transfer(
    target: &Target,
    to: NodeId,
    patience: Duration,
) -> Result<TransferReply, Unanswered> {
    let request = TransferRequest { node: to.0 };
    within(target, patience, async move |mut client| {
        client.transfer(request).await
    })
    .await
}

/// Waits until the node at `target`, which leads, knows that no member with a lease has applied less
/// than `epoch`; asks for as long as `patience`.
///
/// # Errors
/// It does not answer.
pub async fn settle(
    target: &Target,
    epoch: Epoch,
    patience: Duration,
) -> Result<SettleReply, Unanswered> {
    let request = SettleRequest { epoch: epoch.0 };
    within(target, patience, async move |mut client| {
        client.settle(request).await
    })
    .await
}

/// Asks the node at `target` to remove a member for ever, within `patience`.
///
/// # Errors
/// It does not answer; then some of it may have been done, and asking again goes on from there.
pub async fn remove(
    target: &Target,
    member: NodeId,
    patience: Duration,
) -> Result<RemoveReply, Unanswered> {
    let request = RemoveRequest { node: member.0 };
    within(target, patience, async move |mut client| {
        client.remove(request).await
    })
    .await
}

/// Topologies as the node at `target` has them; connected and answered within `patience`.
///
/// # Errors
/// It does not answer.
pub async fn watch(
    target: &Target,
    request: WatchRequest,
    patience: Duration,
) -> Result<tonic::Streaming<Topology>, Unanswered> {
    follow(target, request, patience, stream::empty()).await
}

/// The same, for a caller that reports which epochs it goes by from then on.
///
/// # Errors
/// It does not answer.
pub async fn follow(
    target: &Target,
    request: WatchRequest,
    patience: Duration,
    epochs: impl Stream<Item = Epoch> + Send + 'static,
) -> Result<tonic::Streaming<Topology>, Unanswered> {
    let reports = epochs.map(|epoch| WatchRequest {
        epoch: epoch.0,
        linearizable: false,
    });
    let requests = stream::once(async move { request }).chain(reports);
    within(target, patience, async move |mut client| {
        client.watch(requests).await
    })
    .await
}

/// Waits a moment until all followers of the node at `target` go by `epoch`; asks for as long as `patience`.
///
/// # Errors
/// It does not answer.
pub async fn reach(
    target: &Target,
    epoch: Epoch,
    patience: Duration,
) -> Result<ReachReply, Unanswered> {
    let request = ReachRequest { epoch: epoch.0 };
    within(target, patience, async move |mut client| {
        client.reach(request).await
    })
    .await
}

/// Asks the node at `target` whether its origin can load the groups that `command`, an encoded
/// `SetGroups`, would set, within `patience`. It changes nothing.
///
/// # Errors
/// It does not answer.
pub async fn check_groups(
    target: &Target,
    command: Bytes,
    patience: Duration,
) -> Result<CheckGroupsReply, Unanswered> {
    check_size(target, command.len())?;
    within(target, patience, async move |mut client| {
        client.check_groups(CheckGroupsRequest { command }).await
    })
    .await
}

/// A connection to one node at a time, kept from one question to the next: for what is asked often.
#[derive(Debug, Default)]
pub struct KeptClient {
    open: Mutex<Option<(Target, Client)>>,
}

impl KeptClient {
    /// Asks the node at `target` for a lease to go on, within `patience`.
    ///
    /// # Errors
    /// It does not answer; then the connection is made anew for the next question.
    pub async fn renew(
        &self,
        target: &Target,
        request: RenewRequest,
        patience: Duration,
    ) -> Result<RenewReply, Unanswered> {
        let known = self.open.lock().clone();
        let known = known.filter(|(known, _)| known == target);
        let asked = async {
            let mut client = match known {
                Some((_, client)) => client,
                None => {
                    let client = client(channel(target, patience).await?);
                    *self.open.lock() = Some((target.clone(), client.clone()));
                    client
                }
            };
            let answer = client.renew(request).await;
            answer.map_err(|status| Unanswered::new(target, status.message()))
        };
        let answer = tokio::time::timeout(patience, asked).await;
        let answer = answer
            .map_err(|_| Unanswered::new(target, format!("no answer within {patience:?}")))
            .flatten();
        if answer.is_err() {
            self.open.lock().take_if(|(known, _)| known == target);
        }
        Ok(answer?.into_inner())
    }
}

/// The state that the node at `target` shows by itself, however old, within `patience`.
///
/// # Errors
/// It does not answer, or belongs to no cluster yet.
pub async fn shown(target: &Target, patience: Duration) -> Result<State, Unanswered> {
    let request = WatchRequest {
        epoch: 0,
        linearizable: false,
    };
    let mut topologies = watch(target, request, patience).await?;
    let first = tokio::time::timeout(patience, topologies.message()).await;
    let first = first.map_err(|_| Unanswered::new(target, "it sends nothing"))?;
    let first = first.map_err(|status| Unanswered::new(target, status.message()))?;
    let first = first.ok_or_else(|| Unanswered::new(target, "it ends the stream"))?;
    State::decode(&first.state).map_err(|error| Unanswered::new(target, error.to_string()))
}

/// Refuses what is too large to send: sent all the same, it would break the connection, and the
/// caller would learn no more than that.
fn check_size(target: &Target, bytes: usize) -> Result<(), Unanswered> {
    /// What a message needs beside its command.
    const OVERHEAD_BYTES: usize = 1 << 10;
    let most = MAX_CONTROL_BYTES - OVERHEAD_BYTES;
    if bytes > most {
        let reason = format!("a command of {bytes} bytes is too large, {most} are the most");
        return Err(Unanswered::unsent(target, reason));
    }
    Ok(())
}

/// Speaks to one node.
type Client = ControlClient<Channel>;

/// The control service over `channel`.
fn client(channel: Channel) -> Client {
    ControlClient::new(channel)
        .max_decoding_message_size(MAX_CONTROL_BYTES)
        .max_encoding_message_size(MAX_CONTROL_BYTES)
}

/// A connection to the node at `target`, made within `patience`.
pub(crate) async fn channel(target: &Target, patience: Duration) -> Result<Channel, Unanswered> {
    let life = Life::default();
    let connected = connect(target, patience, &life);
    tokio::time::timeout(patience, connected)
        .await
        .map_err(|_| Unanswered::unsent(target, format!("no connection within {patience:?}")))?
        .map_err(|error| Unanswered::unsent(target, chain(&error)))
}

async fn within<T>(
    target: &Target,
    patience: Duration,
    ask: impl AsyncFnOnce(Client) -> Result<tonic::Response<T>, tonic::Status>,
) -> Result<T, Unanswered> {
    over(target, patience, async |channel| ask(client(channel)).await).await
}

/// Connects to the node at `target` and asks it something, each within `patience`.
pub(super) async fn over<T>(
    target: &Target,
    patience: Duration,
    ask: impl AsyncFnOnce(Channel) -> Result<tonic::Response<T>, tonic::Status>,
) -> Result<T, Unanswered> {
    let unanswered = |reason: String| Unanswered::new(target, reason);
    let channel = channel(target, patience).await?;
    let asked = async {
        let answer = ask(channel).await;
        answer.map_err(|status| unanswered(status.message().to_owned()))
    };
    let answer = tokio::time::timeout(patience, asked).await;
    Ok(answer
        .map_err(|_| unanswered(format!("no answer within {patience:?}")))??
        .into_inner())
}

/// The 16 bytes of an id on the wire.
#[must_use]
pub fn to_wire(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

/// The id in 16 bytes of the wire; none if there are not 16.
#[must_use]
pub fn from_wire(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}
