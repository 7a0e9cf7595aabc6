//! Commits commands of members through this node's Raft, redirects callers if another node leads, and writes
//! members in their wire format.

use std::time::Duration;

use tonic::Status;

use super::Running;
use crate::ids::NodeId;
use crate::membership::admitting::{Admission, admit};
use crate::membership::obstacle::Obstacle;
use crate::membership::seen::Leads;
use crate::raft::event::Outcome;
use crate::rpc::control::to_wire;
use crate::rpc::control_proto::enter_reply::Outcome as Reply;
use crate::rpc::control_proto::{Entered, Member, Redirect};
use crate::rpc::pipeline::Target;
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{Change, Command, Resume};
use crate::topology::model::member::MemberRecord;
use crate::topology::state::State;

/// How long a command may take to be committed before its outcome is unknown.
pub(in crate::node) const PATIENCE: Duration = Duration::from_secs(3);

/// The most refusals that are remembered, so that each is logged once, even if the node asks again.
const REFUSALS_MAX: usize = 64;

impl Running {
    /// Commits that a node joins, has started again or leaves, if this node leads. Dropping the future leaves
    /// it unknown whether the command is committed.
    ///
    /// # Errors
    /// The command is refused: it is not committed.
    pub(in crate::node) async fn admit(
        &self,
        command: &Command,
        node: NodeId,
    ) -> Result<Reply, Obstacle> {
        let leads = self.leads() == Leads::Itself;
        let state = self.raft.state().borrow().clone();
        match admit(&state, command, leads) {
            Admission::Known => return Ok(self.entered(node)),
            Admission::Refused(refusal) => return Err(self.refuse(command, &refusal)),
            Admission::Propose => {}
        }
        Ok(match self.raft.propose(command, PATIENCE).await {
            Outcome::Applied { result, .. } => match result {
                Ok(Change::Joined(node)) => self.entered(node),
                Ok(_) => self.entered(node),
                Err(refusal) => return Err(self.refuse(command, &refusal)),
            },
            Outcome::NotLeader(leader) => Reply::Redirect(self.redirect(leader)),
            Outcome::Refused(why) => Reply::Unknown(why.into()),
            Outcome::Unknown | Outcome::Done | Outcome::Readable(_) => {
                Reply::Unknown(format!("not committed within {PATIENCE:?}"))
            }
        })
    }

    /// Refuses a node, and logs that once for each reason.
    fn refuse(&self, command: &Command, refusal: &Refusal) -> Obstacle {
        let why = refusal.to_string();
        let obstacle = Obstacle::new(refusal.into(), why.clone());
        let (name, host) = match command {
            Command::Join(node) | Command::Resume(Resume { node, .. }) => (&node.name, &node.host),
            _ => return obstacle,
        };
        let refusal = (name.to_string(), why.clone());
        let mut refused = self.refused.lock();
        if !refused.contains(&refusal) {
            tracing::warn!(%name, %host, why, "node refused");
            if refused.len() == REFUSALS_MAX {
                refused.pop_front();
            }
            refused.push_back(refusal);
        }
        obstacle
    }

    /// Makes sure that this node's state contains everything that was acknowledged. Returns where to ask
    /// instead if this node does not lead. Cancel-safe.
    ///
    /// # Errors
    /// The read is refused, or no quorum confirms it within [`PATIENCE`].
    pub(in crate::node) async fn confirm(&self) -> Result<Option<Redirect>, Status> {
        match self.raft.read(PATIENCE).await {
            Outcome::Readable(_) => Ok(None),
            Outcome::NotLeader(leader) => Ok(Some(self.redirect(leader))),
            Outcome::Refused(why) => Err(Status::unavailable(why)),
            Outcome::Unknown | Outcome::Done | Outcome::Applied { .. } => Err(Status::unavailable(
                format!("no quorum within {PATIENCE:?}"),
            )),
        }
    }

    pub(in crate::node) fn redirect(&self, leader: Option<NodeId>) -> Redirect {
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

/// The redirect to `leader`; empty if no leader is known.
pub(in crate::node) fn redirect(leader: Option<&MemberRecord>) -> Redirect {
    let leader = leader.map(|leader| {
        let anywhere = std::net::Ipv4Addr::UNSPECIFIED.into();
        Target::of(&leader.member(), anywhere).to_string()
    });
    Redirect {
        leader: leader.unwrap_or_default(),
    }
}

/// The members in their wire format.
pub(in crate::node) fn members(state: &State) -> Vec<Member> {
    let member = |record: &MemberRecord| Member {
        id: record.id.0,
        name: record.name.to_string(),
        status: record.status.to_string(),
        role: state.quorum().role_of(record.id).into(),
        host: record.host.to_string(),
        raft_port: record.raft_port.into(),
        grpc_port: record.grpc_port.into(),
        incarnation: record.incarnation.0,
        zone: record.zone.to_string(),
    };
    state.members().map(member).collect()
}
