//! Asks the leader, through any node that knows it, to commit a command of this node about itself.

use std::time::Duration;

use super::Shared;
use crate::ids::ClusterId;
use crate::membership::obstacle::{Kind, Obstacle};
use crate::rpc::control::{enter as ask, to_wire};
use crate::rpc::control_proto::enter_reply::Outcome as Reply;
use crate::rpc::control_proto::{EnterRequest, Entered};
use crate::rpc::leader::Search;
use crate::rpc::pipeline::Target;
use crate::topology::commands::Command;

/// How long another node may take to answer a question.
const ASK_PATIENCE: Duration = Duration::from_secs(4);

/// Asks the leader to commit `command`: asks the `targets` in turn until one leads or knows the leader. None
/// if no node committed it: the caller may ask again. Cancel-safe, but the command may be committed
/// nevertheless.
///
/// # Errors
/// The last refusal, if no node committed the command.
pub(super) async fn enter(
    shared: &Shared,
    cluster: ClusterId,
    command: &Command,
    mut targets: Vec<Target>,
) -> Result<Option<Entered>, Obstacle> {
    let mut refused = None;
    let request = EnterRequest {
        cluster: to_wire(cluster.0),
        command: command.encode(),
    };
    fastrand::shuffle(&mut targets);
    // Each may redirect to the leader once.
    let most = 2 * targets.len();
    let mut search = Search::new(targets, most, shared.from);
    while let Some(target) = search.next() {
        let reply = match ask(&target, request.clone(), ASK_PATIENCE).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%error, "node not asked");
                continue;
            }
        };
        match reply.outcome {
            Some(Reply::Entered(entered)) => return Ok(Some(entered)),
            Some(Reply::Refused(why)) => {
                let why = format!("refused by {target}: {why}");
                refused = Some(Obstacle::new(Kind::of_label(&reply.kind), why));
            }
            Some(Reply::Redirect(redirect)) => {
                search.follow(&redirect);
            }
            Some(Reply::Unknown(why)) => tracing::debug!(%target, why, "outcome unknown"),
            None => tracing::debug!(%target, "answer not understood"),
        }
    }
    refused.map_or(Ok(None), Err)
}
