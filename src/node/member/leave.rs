//! A node that is about to stop gives away what it owns first, so that nobody has to stand in for it.
//!
//! It says that it is leaving, and waits until others own what it owned and everybody knows. All that it
//! keeps goes with it, for which it has the time that it was given; shortly before that is up it says so, and
//! what is not sent by then is loaded anew. It stays a member: when it starts again it gets its share back. Whether it is gone for good is for the autopilot
//! (`leave_on_term`).
//!
//! While the ring is paused nothing moves, and it cannot give anything away: it stops as it is, and the
//! standbys take over.
//!
//! If it leads it hands the leadership over after that, not before: its own leases tell it at once what is
//! settled, and a successor could say nothing for 3 s.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::enter::enter;
use super::{Running, Shared};
use crate::ids::{Epoch, NodeId};
use crate::topology::commands::{Command, SetStatus};
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// Between two attempts to say that this node is leaving.
const SAY_EVERY: Duration = Duration::from_millis(200);

/// How long there may be no leader before a node that is leaving stops waiting for one: others may be
/// stopping too.
const LEADERLESS_MAX: Duration = Duration::from_secs(3);

/// How much of its time a node that is leaving keeps for what has to be agreed on after the sending, at most;
/// of less than twice as much it keeps half. It is a few commits, and all members must hear of them.
const AGREE_MAX: Duration = Duration::from_secs(5);

/// How far a node is with leaving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) enum Stage {
    #[default]
    Stays,
    Leaves,
    /// Others own what it owned.
    HasLeft,
    /// There is nobody who could take it, or nobody may.
    GaveUp,
}

/// Makes a node leave. Clones are of the same node.
#[derive(Clone)]
pub struct Leaver {
    shared: Option<Arc<Shared>>,
}

impl std::fmt::Debug for Leaver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Leaver")
    }
}

impl Leaver {
    pub(in crate::node) fn new(shared: Option<Arc<Shared>>) -> Self {
        Self { shared }
    }

    /// That of a node which agrees on nothing with anybody.
    pub(in crate::node) fn of_nobody() -> Self {
        Self::new(None)
    }

    /// Leaves, and returns once others own what this node owned, or after `patience`. Of that, all but a
    /// few seconds may go to the sending of what it keeps. From the call on the node is not ready. Cancel-safe: leaving goes on.
    pub async fn leave(&self, patience: Duration) {
        let Some(shared) = &self.shared else {
            return;
        };
        // Without a part in the cluster there is nothing to leave, or no way to.
        let is_member = shared.running().is_some() && shared.ended.lock().is_none();
        if !is_member || patience.is_zero() {
            return;
        }
        let began = Instant::now();
        shared.stage.send_replace(Stage::Leaves);
        let mut stage = shared.stage.subscribe();
        let left = stage.wait_for(|stage| matches!(stage, Stage::HasLeft | Stage::GaveUp));
        let left = timeout_at(began + patience, left);
        tokio::pin!(left);
        let sends = sleep_until(began + patience - AGREE_MAX.min(patience / 2));
        let left = tokio::select! {
            left = &mut left => left,
            () = shared.shutdown.begun() => return,
            () = sends => {
                tracing::warn!("not all is sent, and time is up: what is not is loaded anew");
                shared.renewer.stops_soon();
                tokio::select! {
                    left = left => left,
                    () = shared.shutdown.begun() => return,
                }
            }
        };
        match left {
            Ok(Ok(stage)) if *stage == Stage::HasLeft => {
                tracing::info!(took = ?began.elapsed(), "left the ring");
            }
            Ok(_) => tracing::info!("stopping without having left the ring"),
            Err(_) => tracing::warn!(?patience, "stopping with partitions that nobody took yet"),
        }
    }
}

/// Leaves when it is asked to. Never ends: how the node stops is for whoever asked.
pub(super) async fn leave_when_asked(shared: &Shared, running: &Running) {
    let stage = &shared.stage;
    let asked = stage
        .subscribe()
        .wait_for(|stage| *stage != Stage::Stays)
        .await
        .is_ok();
    if asked {
        let has_left = leave(shared, running).await;
        stage.send_replace(match has_left {
            true => Stage::HasLeft,
            false => Stage::GaveUp,
        });
    }
    std::future::pending().await
}

/// Whether others own what this node owned.
async fn leave(shared: &Shared, running: &Running) -> bool {
    let own = running.ident.node;
    let command = Command::SetStatus(SetStatus {
        id: own,
        status: MemberStatus::Leaving,
        incarnation: running.ident.incarnation,
    });
    let mut leaderless = Instant::now();
    // Since when others own all. Later epochs need not be waited for: there may be one every moment.
    let mut relieved: Option<Epoch> = None;
    loop {
        let state = running.raft.state().borrow().clone();
        let is_said = state
            .member(own)
            .is_none_or(|member| member.status != MemberStatus::Up);
        let owned = state.table().owned_by(own);
        let is_relieved = is_said && owned == 0;
        relieved = is_relieved.then(|| relieved.unwrap_or(state.epoch()));
        if relieved.is_some_and(|epoch| shared.renewer.settled() >= epoch) {
            return true;
        }
        if !is_anybody_else_up(&state, own) {
            tracing::info!("nobody to leave the ring to");
            return false;
        }
        if state.is_paused() && owned > 0 && !is_giving(&state, own) {
            tracing::warn!(
                partitions = owned,
                "the ring is paused: not handing over, the standbys take over (gcache ring resume lets moves go on)"
            );
            return false;
        }
        if running.raft.standing().borrow().role.leader.is_some() {
            leaderless = Instant::now();
        } else if leaderless.elapsed() > LEADERLESS_MAX {
            tracing::warn!("nobody leads: stopping without leaving");
            return false;
        }
        if !is_said {
            let targets = shared.everybody(&state);
            if running.raft.standing().borrow().role.is_leader {
                drop(running.admit(&command, own).await);
            } else {
                let cluster = Some(running.ident.cluster);
                if let Err(why) = enter(shared, cluster, &command, targets).await {
                    tracing::warn!(why, "leaving not announced");
                }
            }
        }
        let mut states = running.raft.state();
        states.borrow_and_update();
        let _either = tokio::time::timeout(SAY_EVERY, states.changed()).await;
    }
}

/// Whether something moves away from this node: moves that have begun end, also while the ring is paused.
fn is_giving(state: &State, own: NodeId) -> bool {
    let mut table = state.table().iter();
    table.any(|(_, at)| at.owner == Some(own) && at.move_to.is_some())
}

fn is_anybody_else_up(state: &State, own: NodeId) -> bool {
    let mut others = state.members().filter(|member| member.id != own);
    others.any(|member| member.status == MemberStatus::Up)
}

/// A node that stays.
pub(in crate::node) fn stage() -> watch::Sender<Stage> {
    watch::Sender::new(Stage::Stays)
}
