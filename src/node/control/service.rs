//! What other nodes may ask of this one's control plane.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::{Running, Shared};
use crate::admin::Readiness;
use crate::ids::{ClusterId, NodeId};
use crate::raft::event::Outcome;
use crate::rpc::control::{from_wire, to_wire};
use crate::rpc::control_proto::control_server::Control;
use crate::rpc::control_proto::enter_reply::Outcome as Reply;
use crate::rpc::control_proto::{
    EnterReply, EnterRequest, Entered, Member, Redirect, StatusReply, StatusRequest,
};
use crate::rpc::pipeline::Target;
use crate::topology::command::{Change, Command};
use crate::topology::member::MemberRecord;
use crate::topology::quorum::Quorum;
use crate::topology::state::State;

/// How long a command may take to be committed before its outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers for the control plane of one node.
#[derive(Clone)]
pub(in crate::node) struct Service {
    shared: Arc<Shared>,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What the node's readiness says of it. It never makes a node unready: reads need no quorum.
    pub(in crate::node) fn tell(&self, readiness: &mut Readiness) {
        let told = if let Some(why) = &*self.shared.ended.lock() {
            format!("ended: {why}")
        } else if let Some(running) = self.shared.running.get() {
            let standing = running.raft.standing();
            let role = standing.borrow().role;
            let leader = role
                .leader
                .map_or("none".into(), |leader| leader.to_string());
            format!(
                "member {} of {}, term {}, leader {leader}",
                running.ident.node, running.ident.cluster, role.term
            )
        } else {
            "no cluster found yet".into()
        };
        readiness.check("raft", Ok(Some(told)));
    }

    fn status(&self) -> StatusReply {
        let shared = &self.shared;
        let mut reply = StatusReply {
            name: shared.own.name.to_string(),
            ended: shared.ended.lock().clone().unwrap_or_default(),
            ..StatusReply::default()
        };
        if let Some(root) = shared.root.get() {
            reply.root = to_wire(root.id());
        }
        if let Some(running) = shared.running.get() {
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

    async fn enter(&self, request: EnterRequest) -> Result<Reply, Status> {
        let Some(running) = self.shared.running.get() else {
            return Ok(redirect(None));
        };
        let meant = from_wire(&request.cluster).map(ClusterId);
        if meant.is_some_and(|cluster| cluster != running.ident.cluster) {
            let own = running.ident.cluster;
            return Ok(Reply::Refused(format!(
                "this node belongs to cluster {own}"
            )));
        }
        let command = Command::decode(&request.command)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let Some(own) = node_of(&command) else {
            return Err(Status::invalid_argument("neither a join nor a resume"));
        };
        Ok(running.commit(&command, own).await)
    }
}

/// The member that a command is about: 0 for one that joins; none if it is another command.
fn node_of(command: &Command) -> Option<NodeId> {
    match command {
        Command::Join(_) => Some(NodeId(0)),
        Command::Resume(resume) => Some(resume.id),
        _ => None,
    }
}

impl Running {
    /// Commits that a node joined or has started again, if this one leads.
    pub(super) async fn commit(&self, command: &Command, node: NodeId) -> Reply {
        match self.raft.propose(command, PATIENCE).await {
            Outcome::Applied { result, .. } => match result {
                Ok(Change::Joined(node)) => self.entered(node),
                Ok(_) => self.entered(node),
                Err(refusal) => Reply::Refused(refusal.to_string()),
            },
            Outcome::NotLeader(leader) => {
                let state = self.raft.state().borrow().clone();
                redirect(leader.and_then(|leader| state.member(leader)))
            }
            Outcome::Refused(why) => Reply::Unknown(why.into()),
            Outcome::Unknown | Outcome::Done | Outcome::Readable(_) => {
                Reply::Unknown(format!("not committed within {PATIENCE:?}"))
            }
        }
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

fn redirect(leader: Option<&MemberRecord>) -> Reply {
    let leader = leader.map(|leader| {
        let target = Target {
            host: leader.host.to_string(),
            port: leader.grpc_port,
            from: std::net::Ipv4Addr::UNSPECIFIED.into(),
        };
        target.to_string()
    });
    Reply::Redirect(Redirect {
        leader: leader.unwrap_or_default(),
    })
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

#[tonic::async_trait]
impl Control for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.status()))
    }

    async fn enter(&self, request: Request<EnterRequest>) -> Result<Response<EnterReply>, Status> {
        let outcome = self.enter(request.into_inner()).await?;
        Ok(Response::new(EnterReply {
            outcome: Some(outcome),
        }))
    }
}
