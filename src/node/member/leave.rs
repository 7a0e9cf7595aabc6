//! Lets a node that is about to stop give away what it owns first, so that no standby has to take over.
//!
//! The rules are in [`crate::membership::leaving`]; this module connects them to the clock, the network and
//! Raft.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::enter::enter;
use super::{Running, Shared};
use crate::clock::Clock;
use crate::ids::as_millis;
use crate::membership::leaving::{
    Leaving, Next, Obstacle, SAY_EVERY_MS, Seen, Stage, StopNext, Stopping,
};
use crate::node::leader::step_down::step_down;

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
        let clock = Clock::start();
        let is_member = shared.running().is_some();
        let has_ended = shared.ended.lock().is_some();
        let patience_ms = as_millis(patience);
        let stopping = Stopping::begin(clock.now(), patience_ms, is_member, has_ended);
        let Some(mut stopping) = stopping else {
            return;
        };
        shared.stage.send_replace(Stage::Leaves);
        let mut stage = shared.stage.subscribe();
        loop {
            let (now, seen) = (clock.now(), *stage.borrow_and_update());
            match stopping.next(now, seen) {
                StopNext::Wait(until) => tokio::select! {
                    _ = stage.changed() => {}
                    () = sleep(Duration::from_millis(until.since(now))) => {}
                    () = shared.shutdown.begun() => return,
                },
                StopNext::StopsSoon => {
                    tracing::warn!(
                        "time is up before all entries were sent: the others are loaded anew"
                    );
                    shared.renewer.stops_soon();
                }
                StopNext::HasLeft => {
                    let took = Duration::from_millis(now.0);
                    return tracing::info!(?took, "left the ring");
                }
                StopNext::GaveUp => {
                    return tracing::info!("stopping without having left the ring");
                }
                StopNext::TimeIsUp => {
                    return tracing::warn!(
                        ?patience,
                        "stopping with partitions that no member took yet"
                    );
                }
            }
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
        stage.send_replace(leave(shared, running).await);
    }
    std::future::pending().await
}

/// Gives away what this node owns. Returns the stage that the node is in then.
async fn leave(shared: &Shared, running: &Running) -> Stage {
    let ident = &running.ident;
    let clock = Clock::start();
    let mut leaving = Leaving::new(ident.node, ident.incarnation, clock.now());
    loop {
        let state = running.raft.state().borrow().clone();
        let seen = Seen {
            state: &state,
            settled: shared.renewer.settled(),
            leads: running.leads(),
        };
        match leaving.next(clock.now(), &seen) {
            Next::CommitHere => drop(running.admit(&leaving.command(), ident.node).await),
            Next::AskOthers => {
                let targets = shared.seeds_and_members(&state);
                let command = leaving.command();
                if let Err(why) = enter(shared, ident.cluster, &command, targets).await {
                    tracing::warn!(%why, "leaving not announced");
                }
            }
            Next::Wait => {}
            Next::HandOver => step_down(ident.node, &running.raft).await,
            Next::HasLeft => return Stage::HasLeft,
            Next::GiveUp(obstacle) => {
                report(obstacle);
                return Stage::GaveUp;
            }
        }
        let mut states = running.raft.state();
        states.borrow_and_update();
        let _either = timeout(Duration::from_millis(SAY_EVERY_MS), states.changed()).await;
    }
}

fn report(obstacle: Obstacle) {
    match obstacle {
        Obstacle::NobodyElse => tracing::info!("no other member is up to leave the ring to"),
        Obstacle::Paused(partitions) => tracing::warn!(
            partitions,
            "the ring is paused: not handing over, the standbys take over (gcache ring resume lets moves go on)"
        ),
        Obstacle::Leaderless => tracing::warn!("no leader: stopping without leaving"),
    }
}
