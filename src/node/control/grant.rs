//! Renewals of members, and operators' waits for a settled epoch: from the wire to the leader and back.

use crate::ids::{Epoch, Incarnation, Millis, NodeId, Tenure};
use crate::node::member::Running;
use crate::node::member::proposals::PATIENCE;
use crate::rpc::control_proto::renew_reply::Outcome;
use crate::rpc::control_proto::{Granted, RenewReply, RenewRequest, SettleReply};
use crate::topology::leader::event::{Answer, Settled};
use crate::topology::lease::Renewal;
use crate::topology::moves::MoveReport;
use crate::topology::moves::copies::Unheard;

/// Renews a member's lease, if this node leads and a quorum confirms that it does. Cancel-safe.
pub(super) async fn renew(running: &Running, request: RenewRequest) -> RenewReply {
    let renewal = Renewal {
        member: NodeId(request.node),
        incarnation: Incarnation(request.incarnation),
        sent_at: Millis(request.sent_at_ms),
        epoch: Epoch(request.epoch),
        moves: MoveReport {
            warmed: Tenure(request.warmed),
            broken: Tenure(request.broken),
            stops_soon: request.stops_soon,
            unheard: request.unheard.map(|unheard| Unheard {
                standby: NodeId(unheard.standby),
                since: Epoch(unheard.since),
            }),
        },
    };
    let role = running.raft.standing().borrow().role;
    let outcome = match role.is_leader {
        false => Outcome::Redirect(running.redirect(role.leader)),
        true => match running.leader.renew(renewal).await {
            Answer::Granted(grant) => Outcome::Granted(Granted {
                epoch: grant.epoch.0,
                settled: grant.settled.0,
            }),
            Answer::Refused(refusal) => Outcome::Refused(refusal.to_string()),
            Answer::Removed => {
                let id = renewal.member;
                Outcome::Removed(format!(
                    "member {id} was removed, and ids are not used again"
                ))
            }
            Answer::NotLeader => Outcome::Redirect(running.redirect(None)),
        },
    };
    RenewReply {
        outcome: Some(outcome),
    }
}

/// Waits until `epoch` is settled and every member acts for what it owns, if this node leads. If that takes
/// longer than [`PATIENCE`], the reply names the members that are behind. Cancel-safe.
pub(super) async fn settle(running: &Running, epoch: Epoch) -> SettleReply {
    let role = running.raft.standing().borrow().role;
    let mut reply = SettleReply::default();
    if !role.is_leader {
        reply.redirect = Some(running.redirect(role.leader));
        return reply;
    }
    let mut settled = running.leader.settled();
    let is_over = |settled: &Settled| settled.epoch.is_none() || settled.covers(epoch);
    let last = match tokio::time::timeout(PATIENCE, settled.wait_for(is_over)).await {
        Ok(Ok(settled)) => settled.clone(),
        Ok(Err(_)) => Settled::default(),
        Err(_) => running.leader.settled().borrow().clone(),
    };
    match last.epoch {
        // This node leads no more, or its leader has not begun its term yet.
        None => reply.redirect = Some(running.redirect(None)),
        Some(_) => reply.is_settled = last.covers(epoch),
    }
    let state = running.raft.state().borrow().clone();
    let behind = last.behind.iter().filter_map(|id| state.member(*id));
    reply.behind = behind.map(|member| member.name.to_string()).collect();
    reply
}
