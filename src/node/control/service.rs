//! What other nodes may ask of this one's control plane.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status, Streaming};

use super::followers::{self, Topologies};
use super::leave::{Leaver, Stage};
use super::{Running, Shared};
use crate::admin::Readiness;
use crate::ids::{ClusterId, Epoch, NodeId};
use crate::node::Known;
use crate::node::inspect::Inspector;
use crate::raft::event::Outcome;
use crate::rpc::control::{from_wire, to_wire};
use crate::rpc::control_proto::commit_reply::Outcome as CommitOutcome;
use crate::rpc::control_proto::control_server::Control;
use crate::rpc::control_proto::enter_reply::Outcome as Reply;
use crate::rpc::control_proto::remove_reply::Outcome as Removal;
use crate::rpc::control_proto::{
    CheckGroupsReply, CheckGroupsRequest, CommitReply, CommitRequest, Committed, EnterReply,
    EnterRequest, Entered, Member, ReachReply, ReachRequest, Redirect, RemoveReply, RemoveRequest,
    RenewReply, RenewRequest, SettleReply, SettleRequest, StatusReply, StatusRequest,
    TransferReply, TransferRequest, WatchRequest,
};
use crate::rpc::pipeline::Target;
use crate::topology::commands::{Change, Command, Resume};
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::model::quorum::Quorum;
use crate::topology::state::State;

/// How long a command may take to be committed before its outcome is unknown.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// At most so many refusals are remembered, so that each is logged once however often it is asked for.
pub(super) const REFUSALS_MAX: usize = 64;

/// Answers for the control plane of one node.
#[derive(Clone)]
pub(in crate::node) struct Service {
    shared: Arc<Shared>,
    inspector: Inspector,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, inspector: Inspector) -> Self {
        Self { shared, inspector }
    }

    /// This node's id, the topology as it has applied it, and its lease.
    pub(in crate::node) fn known(&self) -> Known {
        Known {
            me: self.shared.me.clone(),
            view: self.shared.views.subscribe(),
            held: self.shared.renewer.held(),
            renewer: Some(Arc::clone(&self.shared.renewer)),
            from: self.shared.from,
        }
    }

    /// What makes the node leave.
    pub(in crate::node) fn leaver(&self) -> Leaver {
        Leaver::new(Some(Arc::clone(&self.shared)))
    }

    /// What the node's readiness says of it. It never makes a node unready: reads need no quorum.
    pub(in crate::node) fn tell(&self, readiness: &mut Readiness) {
        let told = if let Some(why) = &*self.shared.ended.lock() {
            format!("ended: {why}")
        } else if let Some(running) = self.shared.running() {
            let standing = running.raft.standing();
            let role = standing.borrow().role;
            let leader = role
                .leader
                .map_or("none".into(), |leader| leader.to_string());
            format!(
                "member {} of {}, term {}, leader {leader}",
                running.ident.node, running.ident.cluster, role.term
            )
        } else if let Some(why) = &*self.shared.waits.lock() {
            format!("no cluster joined yet: {why}")
        } else {
            "no cluster found yet".into()
        };
        readiness.check("raft", Ok(Some(told)));
        readiness.check(
            "ring",
            match *self.shared.stage.borrow() {
                Stage::Stays => Ok(None),
                Stage::Leaves | Stage::HasLeft | Stage::GaveUp => Err("leaving".into()),
            },
        );
        let lease = match self.shared.renewer.is_isolated() {
            true => "none: isolated",
            false => "runs",
        };
        readiness.check("lease", Ok(Some(lease.into())));
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
        }
        reply
    }

    fn running(&self) -> Result<Arc<Running>, Status> {
        let running = self.shared.running();
        running.ok_or_else(|| Status::unavailable("this node belongs to no cluster yet"))
    }

    async fn enter(&self, request: EnterRequest) -> Result<Reply, Status> {
        let Some(running) = self.shared.running() else {
            return Ok(Reply::Redirect(redirect(None)));
        };
        let meant = from_wire(&request.cluster).map(ClusterId);
        if meant.is_none() && !request.cluster.is_empty() {
            return Err(Status::invalid_argument("a cluster's id has 16 bytes"));
        }
        if meant.is_some_and(|cluster| cluster != running.ident.cluster) {
            let own = running.ident.cluster;
            return Ok(Reply::Refused(format!(
                "this node belongs to cluster {own}"
            )));
        }
        let command = Command::decode(&request.command)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let Some(own) = node_of(&command) else {
            let told = "neither a join nor a resume, nor a leave";
            return Err(Status::invalid_argument(told));
        };
        Ok(running.admit(&command, own).await)
    }
}

/// The member that a command is about: 0 for one that joins; none if it is another command.
fn node_of(command: &Command) -> Option<NodeId> {
    match command {
        Command::Join(_) => Some(NodeId(0)),
        Command::Resume(resume) => Some(resume.id),
        Command::SetStatus(set) if set.status == MemberStatus::Leaving => Some(set.id),
        _ => None,
    }
}

impl Running {
    /// Commits that a node joined or has started again, if this one leads.
    pub(super) async fn admit(&self, command: &Command, node: NodeId) -> Reply {
        if self.is_known(command) {
            return self.entered(node);
        }
        // Whoever is refused asks again and again: it must not cost an entry of the log each time.
        let leads = self.raft.standing().borrow().role.is_leader;
        let state = self.raft.state().borrow().clone();
        if leads && let Err(refusal) = State::clone(&state).apply(command) {
            return self.refuse(command, refusal.to_string());
        }
        match self.raft.propose(command, PATIENCE).await {
            Outcome::Applied { result, .. } => match result {
                Ok(Change::Joined(node)) => self.entered(node),
                Ok(_) => self.entered(node),
                Err(refusal) => self.refuse(command, refusal.to_string()),
            },
            Outcome::NotLeader(leader) => Reply::Redirect(self.redirect(leader)),
            Outcome::Refused(why) => Reply::Unknown(why.into()),
            Outcome::Unknown | Outcome::Done | Outcome::Readable(_) => {
                Reply::Unknown(format!("not committed within {PATIENCE:?}"))
            }
        }
    }

    /// Refuses a node, and tells the log: once, however often it asks.
    fn refuse(&self, command: &Command, why: String) -> Reply {
        let (name, host) = match command {
            Command::Join(node) | Command::Resume(Resume { node, .. }) => (&node.name, &node.host),
            _ => return Reply::Refused(why),
        };
        let told = (name.to_string(), why.clone());
        let mut refused = self.refused.lock();
        if !refused.contains(&told) {
            tracing::warn!(%name, %host, why, "node refused");
            if refused.len() == REFUSALS_MAX {
                refused.pop_front();
            }
            refused.push_back(told);
        }
        Reply::Refused(why)
    }

    /// Whether the state says already that a member has started again: it asks until it sees that.
    fn is_known(&self, command: &Command) -> bool {
        let Command::Resume(resume) = command else {
            return false;
        };
        let state = self.raft.state().borrow().clone();
        let known = state.member(resume.id);
        known.is_some_and(|member| member.incarnation >= resume.node.incarnation)
    }

    /// Commits an operator's command, if this node leads.
    async fn commit(&self, command: &Command) -> CommitOutcome {
        let state = self.raft.state().borrow().clone();
        let (needed, known) = (command.version(), state.known_version());
        let leads = self.raft.standing().borrow().role.is_leader;
        if leads && needed > known {
            let older = state.members().find(|member| member.version < needed);
            let name = older.map_or("a member", |member| &member.name);
            return CommitOutcome::Refused(format!(
                "this needs version {needed} of the commands, and {name} knows up to {known}: upgrade all nodes first"
            ));
        }
        match self.raft.propose(command, PATIENCE).await {
            Outcome::Applied { index, result } => match result {
                Ok(_) => CommitOutcome::Committed(Committed {
                    index,
                    epoch: self.raft.state().borrow().epoch().0,
                }),
                Err(refusal) => CommitOutcome::Refused(refusal.to_string()),
            },
            Outcome::NotLeader(leader) => CommitOutcome::Redirect(self.redirect(leader)),
            // Nothing was proposed here: another node may do it, or this one in a moment.
            Outcome::Refused(_) => CommitOutcome::Redirect(redirect(None)),
            Outcome::Unknown | Outcome::Done | Outcome::Readable(_) => {
                CommitOutcome::Unknown(format!("not committed within {PATIENCE:?}"))
            }
        }
    }

    /// Hands the leadership to `to`, and waits until it has it.
    async fn transfer(&self, to: NodeId) -> TransferReply {
        let mut reply = TransferReply::default();
        match self.raft.transfer(to, PATIENCE).await {
            Outcome::Done => {
                let mut standing = self.raft.standing();
                let arrived = standing.wait_for(|standing| standing.role.leader == Some(to));
                if tokio::time::timeout(PATIENCE, arrived).await.is_err() {
                    reply.refused = format!("member {to} did not take over within {PATIENCE:?}");
                }
            }
            Outcome::NotLeader(leader) => reply.redirect = Some(self.redirect(leader)),
            Outcome::Refused(why) => reply.refused = why.into(),
            Outcome::Unknown | Outcome::Applied { .. } | Outcome::Readable(_) => {
                reply.refused = format!("no answer within {PATIENCE:?}");
            }
        }
        reply
    }

    /// Makes sure that the state is as new as all that was acknowledged; where to ask if this node
    /// cannot.
    pub(super) async fn confirm(&self) -> Result<Option<Redirect>, Status> {
        match self.raft.read(PATIENCE).await {
            Outcome::Readable(_) => Ok(None),
            Outcome::NotLeader(leader) => Ok(Some(self.redirect(leader))),
            Outcome::Refused(why) => Err(Status::unavailable(why)),
            Outcome::Unknown | Outcome::Done | Outcome::Applied { .. } => Err(Status::unavailable(
                format!("no quorum within {PATIENCE:?}"),
            )),
        }
    }

    pub(super) fn redirect(&self, leader: Option<NodeId>) -> Redirect {
        let state = self.raft.state().borrow().clone();
        redirect(leader.and_then(|leader| state.member(leader)))
    }

    fn entered(&self, node: NodeId) -> Reply {
        let state = self.raft.state().borrow().clone();
        Reply::Entered(Entered {
            cluster: to_wire(self.ident.cluster.0),
            node: node.0,
            members: members(&state),
        })
    }
}

fn redirect(leader: Option<&MemberRecord>) -> Redirect {
    let leader = leader.map(|leader| {
        let target = Target {
            host: leader.host.to_string(),
            port: leader.grpc_port,
            from: std::net::Ipv4Addr::UNSPECIFIED.into(),
        };
        target.to_string()
    });
    Redirect {
        leader: leader.unwrap_or_default(),
    }
}

fn members(state: &State) -> Vec<Member> {
    let member = |record: &MemberRecord| Member {
        id: record.id.0,
        name: record.name.to_string(),
        status: record.status.to_string(),
        role: role(state.quorum(), record.id).into(),
        host: record.host.to_string(),
        raft_port: record.raft_port.into(),
        grpc_port: record.grpc_port.into(),
        incarnation: record.incarnation.0,
        zone: record.zone.to_string(),
    };
    state.members().map(member).collect()
}

fn role(quorum: &Quorum, member: NodeId) -> &'static str {
    if quorum.is_voter(member) {
        "voter"
    } else if quorum.contains(member) {
        "learner"
    } else {
        "none"
    }
}

/// Whether operators may have this committed. What members do and own is the leader's to decide.
fn is_for_operators(command: &Command) -> bool {
    matches!(
        command,
        Command::SetGroups(_) | Command::ResetGroup(_) | Command::SetPaused(_)
    )
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
            &self.shared,
            &running,
            Epoch(first.epoch),
            requests,
        )))
    }

    async fn reach(&self, request: Request<ReachRequest>) -> Result<Response<ReachReply>, Status> {
        let epoch = Epoch(request.into_inner().epoch);
        Ok(Response::new(self.shared.followers.reach(epoch).await))
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
        Ok(Response::new(running.renew(request).await))
    }

    async fn settle(
        &self,
        request: Request<SettleRequest>,
    ) -> Result<Response<SettleReply>, Status> {
        let epoch = Epoch(request.into_inner().epoch);
        Ok(Response::new(self.running()?.settle(epoch).await))
    }

    async fn transfer(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<TransferReply>, Status> {
        let to = NodeId(request.into_inner().node);
        let reply = match self.shared.running() {
            Some(running) => running.transfer(to).await,
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
        if !is_for_operators(&command) {
            return Err(Status::invalid_argument("not a command of operators"));
        }
        // An error would leave it unknown whether this node has done anything.
        let outcome = match self.shared.running() {
            Some(running) => running.commit(&command).await,
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
        let outcome = self.enter(request.into_inner()).await?;
        Ok(Response::new(EnterReply {
            outcome: Some(outcome),
        }))
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
            Some(running) => running.remove(id).await,
            None => Removal::Redirect(redirect(None)),
        };
        Ok(Response::new(RemoveReply {
            outcome: Some(outcome),
        }))
    }
}
