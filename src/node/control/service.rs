//! Answers the requests of other nodes and operators to this node's control plane.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::followers::{self, Followers, Topologies};
use super::{grant, operate, remove};
use crate::admin::Readiness;
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::membership::admitting::{is_meant, member_of};
use crate::membership::obstacle::{Kind, Obstacle};
use crate::membership::readiness::{Membership, Verdict, checks};
use crate::node::Known;
use crate::node::inspect::Inspector;
use crate::node::member::proposals::{PATIENCE, members, redirect};
use crate::node::member::superseded::promised;
use crate::node::member::{Leaver, Running, Shared};
use crate::rpc::control::{from_wire, to_wire};
use crate::rpc::control_proto::commit_reply::Outcome as CommitOutcome;
use crate::rpc::control_proto::control_server::Control;
use crate::rpc::control_proto::enter_reply::Outcome as Reply;
use crate::rpc::control_proto::remove_reply::Outcome as Removal;
use crate::rpc::control_proto::{
    CheckGroupsReply, CheckGroupsRequest, CommitReply, CommitRequest, EnterReply, EnterRequest,
    ReachReply, ReachRequest, RemoveReply, RemoveRequest, RenewReply, RenewRequest, SettleReply,
    SettleRequest, StatusReply, StatusRequest, TransferReply, TransferRequest, WatchRequest,
};
use crate::topology::commands::Command;

/// The gRPC service of one node's control plane. Cheap to clone.
#[derive(Clone)]
pub(in crate::node) struct Service {
    shared: Arc<Shared>,
    inspector: Inspector,
    /// The watchers that follow the topology through this node.
    followers: Arc<Followers>,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, inspector: Inspector) -> Self {
        Self {
            shared,
            inspector,
            followers: Arc::default(),
        }
    }

    /// What the data plane goes by: this node's id, the topology as it has applied it, and its lease.
    pub(in crate::node) fn known(&self) -> Known {
        Known {
            me: self.shared.me.clone(),
            view: self.shared.views.subscribe(),
            held: self.shared.renewer.held(),
            renewer: Some(Arc::clone(&self.shared.renewer)),
            from: self.shared.from,
        }
    }

    /// The handle that makes the node leave.
    pub(in crate::node) fn leaver(&self) -> Leaver {
        Leaver::new(Some(Arc::clone(&self.shared)))
    }

    /// Adds the checks of the node's membership to its readiness.
    pub(in crate::node) fn report(&self, readiness: &mut Readiness) {
        let stage = *self.shared.stage.borrow();
        let is_isolated = self.shared.renewer.is_isolated();
        for (name, verdict) in checks(self.membership(), stage, is_isolated) {
            match verdict {
                Verdict::Well(note) => readiness.check(name, Ok(note)),
                Verdict::Wrong(why) => readiness.warn(name, why),
                Verdict::Unready(why) => readiness.check(name, Err(why)),
            }
        }
    }

    /// Whether the node has been up, as it changes.
    pub(in crate::node) fn has_been_up(&self) -> watch::Receiver<bool> {
        self.shared.has_been_up.subscribe()
    }

    fn membership(&self) -> Membership {
        let has_been_up = *self.shared.has_been_up.borrow();
        let ended = self.shared.ended.lock().clone();
        if let Some(why) = ended {
            return Membership::Ended { why, has_been_up };
        }
        let obstacle = self.shared.obstacles.latest();
        let Some(running) = self.shared.running() else {
            return Membership::None(obstacle);
        };
        let role = running.raft.standing().borrow().role;
        Membership::Member {
            node: running.ident.node,
            cluster: running.ident.cluster,
            term: role.term,
            leader: role.leader,
            has_been_up,
            obstacle,
        }
    }

    fn status(&self) -> StatusReply {
        let shared = &self.shared;
        let mut reply = StatusReply {
            name: shared.own.name.to_string(),
            raft_port: shared.own.raft_port.into(),
            ended: shared.ended.lock().clone().unwrap_or_default(),
            ..StatusReply::default()
        };
        if let Some(root) = shared.root.get() {
            reply.root = to_wire(root.id());
        }
        if let Some(running) = shared.running() {
            let standing = running.raft.standing().borrow().clone();
            let state = running.raft.state().borrow().clone();
            reply.cluster = to_wire(running.ident.cluster.0);
            reply.node = running.ident.node.0;
            reply.incarnation = running.ident.incarnation.0;
            reply.term = standing.role.term;
            reply.leader = standing.role.leader.unwrap_or_default().0;
            reply.commit = standing.commit;
            reply.applied = standing.applied;
            reply.epoch = state.epoch().0;
            reply.members = members(&state);
            reply.promised = promised(&standing);
        }
        reply
    }

    fn running(&self) -> Result<Arc<Running>, Status> {
        let running = self.shared.running();
        running.ok_or_else(|| Status::unavailable("this node belongs to no cluster yet"))
    }

    async fn enter(&self, request: EnterRequest) -> Result<Result<Reply, Obstacle>, Status> {
        let Some(running) = self.shared.running() else {
            return Ok(Ok(Reply::Redirect(redirect(None))));
        };
        let meant = from_wire(&request.cluster).map(ClusterId);
        if meant.is_none() && !request.cluster.is_empty() {
            return Err(Status::invalid_argument("a cluster's id has 16 bytes"));
        }
        if let Err(why) = is_meant(running.ident.cluster, meant) {
            return Ok(Err(Obstacle::new(Kind::OtherCluster, why)));
        }
        let command = Command::decode(&request.command)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let Some(own) = member_of(&command) else {
            return Err(Status::invalid_argument(
                "neither a join nor a resume, nor a leave",
            ));
        };
        Ok(running.admit(&command, own).await)
    }
}

#[tonic::async_trait]
impl Control for Service {
    type WatchStream = Topologies;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Topologies>, Status> {
        let mut requests = request.into_inner();
        let first = tokio::time::timeout(PATIENCE, requests.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("nothing was asked for"))??;
        let first = first.ok_or_else(|| Status::invalid_argument("nothing was asked for"))?;
        let running = self.running()?;
        if first.linearizable
            && let Some(redirect) = running.confirm().await?
        {
            return Ok(Response::new(followers::redirected(redirect)));
        }
        Ok(Response::new(followers::topologies(
            &self.followers,
            &self.shared,
            &running,
            Epoch(first.epoch),
            requests,
        )))
    }

    async fn reach(&self, request: Request<ReachRequest>) -> Result<Response<ReachReply>, Status> {
        let epoch = Epoch(request.into_inner().epoch);
        Ok(Response::new(self.followers.reach(epoch).await))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let request = request.into_inner();
        let running = self.running()?;
        if from_wire(&request.cluster) != Some(running.ident.cluster.0) {
            let own = running.ident.cluster;
            return Err(Status::failed_precondition(format!(
                "this node belongs to cluster {own}"
            )));
        }
        Ok(Response::new(grant::renew(&running, request).await))
    }

    async fn settle(
        &self,
        request: Request<SettleRequest>,
    ) -> Result<Response<SettleReply>, Status> {
        let epoch = Epoch(request.into_inner().epoch);
        Ok(Response::new(grant::settle(&*self.running()?, epoch).await))
    }

    async fn transfer(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<TransferReply>, Status> {
        let to = NodeId(request.into_inner().node);
        let reply = match self.shared.running() {
            Some(running) => operate::transfer(&running, to).await,
            None => TransferReply {
                redirect: Some(redirect(None)),
                ..TransferReply::default()
            },
        };
        Ok(Response::new(reply))
    }

    async fn commit(
        &self,
        request: Request<CommitRequest>,
    ) -> Result<Response<CommitReply>, Status> {
        let command = Command::decode(&request.into_inner().command)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if !operate::is_for_operators(&command) {
            return Err(Status::invalid_argument("not a command of operators"));
        }
        // An error instead would leave it unknown whether this node has done anything.
        let outcome = match self.shared.running() {
            Some(running) => operate::commit(&running, &command).await,
            None => CommitOutcome::Redirect(redirect(None)),
        };
        Ok(Response::new(CommitReply {
            outcome: Some(outcome),
        }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.status()))
    }

    async fn enter(&self, request: Request<EnterRequest>) -> Result<Response<EnterReply>, Status> {
        Ok(Response::new(
            match self.enter(request.into_inner()).await? {
                Ok(outcome) => EnterReply {
                    outcome: Some(outcome),
                    kind: String::new(),
                },
                Err(obstacle) => EnterReply {
                    outcome: Some(Reply::Refused(obstacle.why)),
                    kind: obstacle.kind.label().to_owned(),
                },
            },
        ))
    }

    async fn check_groups(
        &self,
        request: Request<CheckGroupsRequest>,
    ) -> Result<Response<CheckGroupsReply>, Status> {
        let checked = self.inspector.check(&request.get_ref().command).await?;
        Ok(Response::new(checked))
    }

    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<RemoveReply>, Status> {
        let id = NodeId(request.into_inner().node);
        let outcome = match self.shared.running() {
            Some(running) => remove::remove(&running, id).await,
            None => Removal::Redirect(redirect(None)),
        };
        Ok(Response::new(RemoveReply {
            outcome: Some(outcome),
        }))
    }
}
