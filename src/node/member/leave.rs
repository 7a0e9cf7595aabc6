//! Lets a node that is about to stop give away what it owns first, so that no standby has to take over.
//!
//! The node announces that it is leaving, and waits until other members own what it owned and all members
//! know. It sends all its entries too, for which it has the time that it was given. Shortly before the time
//! is up it reports that it stops soon; entries that are not sent by then are loaded anew. It stays a member:
//! when it starts again it gets its share back. Whether it is gone for good is for the autopilot to decide
//! (`leave_on_term`).
//!
//! While the ring is paused nothing moves, so the node cannot give anything away: it stops as it is, and the
//! standbys take over.
//!
//! If the node leads, it hands the leadership over after that, not before: its own leases show at once what
//! is settled, and a successor would not know that for 3 s.

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

/// The pause between two attempts to announce that this node is leaving.
const SAY_EVERY: Duration = Duration::from_millis(200);

/// How long a leaving node waits for a leader: other nodes may be stopping too.
const LEADERLESS_MAX: Duration = Duration::from_secs(3);

/// The part of its time that a leaving node reserves for the agreement after the sending: at most this, and
/// at most half of its time. The agreement takes a few commits, which all members must apply.
const AGREE_MAX: Duration = Duration::from_secs(5);

/// The stage of a node's leaving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) enum Stage {
    #[default]
    Stays,
    Leaves,
    /// Other members own what it owned.
    HasLeft,
    /// No member can take what it owns, or none may.
    GaveUp,
}

/// Makes a node leave. Clones belong to the same node.
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

    /// The leaver of a node that belongs to no cluster: it does nothing.
    pub(in crate::node) fn of_no_cluster() -> Self {
        Self::new(None)
    }

    /// Leaves. Returns once other members own what this node owned, or after `patience`. Of that time, all
    /// but a few seconds may go to the sending of entries. From the call on the node is not ready.
    /// Cancel-safe: leaving goes on.
    pub async fn leave(&self, patience: Duration) {
        let Some(shared) = &self.shared else {
            return;
        };
        // A node that is no member has nothing to leave; one whose control plane has ended cannot.
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
                tracing::warn!("time is up before all entries were sent: the others are loaded anew");
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
            Err(_) => tracing::warn!(
                ?patience,
                "stopping with partitions that no member took yet"
            ),
        }
    }
}

/// Leaves when the node is asked to. Never returns: the asker decides how the node stops.
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

/// Gives away what this node owns. True once other members own it, false if that cannot be.
async fn leave(shared: &Shared, running: &Running) -> bool {
    let own = running.ident.node;
    let command = Command::SetStatus(SetStatus {
        id: own,
        status: MemberStatus::Leaving,
        incarnation: running.ident.incarnation,
    });
    let mut leaderless = Instant::now();
    // The epoch since when others own all. Later epochs are not waited for: there may be a new one every
    // moment.
    let mut relieved: Option<Epoch> = None;
    loop {
        let state = running.raft.state().borrow().clone();
        let is_announced = state
            .member(own)
            .is_none_or(|member| member.status != MemberStatus::Up);
        let owned = state.table().owned_by(own);
        let is_relieved = is_announced && owned == 0;
        relieved = is_relieved.then(|| relieved.unwrap_or(state.epoch()));
        if relieved.is_some_and(|epoch| shared.renewer.settled() >= epoch) {
            return true;
        }
        if !is_another_up(&state, own) {
            tracing::info!("no other member is up to leave the ring to");
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
            tracing::warn!("no leader: stopping without leaving");
            return false;
        }
        if !is_announced {
            let targets = shared.seeds_and_members(&state);
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

/// Whether a partition moves away from this node: moves that have begun go on, even while the ring is paused.
fn is_giving(state: &State, own: NodeId) -> bool {
    let mut table = state.table().iter();
    table.any(|(_, at)| at.owner == Some(own) && at.move_to.is_some())
}

fn is_another_up(state: &State, own: NodeId) -> bool {
    let mut others = state.members().filter(|member| member.id != own);
    others.any(|member| member.status == MemberStatus::Up)
}

/// The stage of a node that stays.
pub(in crate::node) fn stage() -> watch::Sender<Stage> {
    watch::Sender::new(Stage::Stays)
}
