//! A node whose log has failed serves on, isolated, until others own what it owned; then it stops.
//!
//! So one sick disk that many nodes share does not empty every cache at once: while nobody takes over,
//! everybody goes on.

use std::time::Duration;

use super::life::Life;
use super::{Running, Shared};
use crate::ids::NodeId;
use crate::rpc::control::shown;
use crate::topology::state::State;

/// Between two looks at what others know.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long another node may take to show its state.
const SHOWN_PATIENCE: Duration = Duration::from_secs(1);

impl Life {
    /// Waits until others own what this node owned, and stops the process then. Ends early at a shutdown.
    pub(super) async fn outlive(&self, running: &Running) {
        let relieved = async {
            let known = running.raft.state().borrow().clone();
            while !is_relieved(&self.shared, &known, running.ident.node).await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = relieved => {
                tracing::error!("others own what this node owned: stopping, since its log has failed");
                self.shutdown.begin();
            }
            () = self.shutdown.begun() => {}
        }
    }
}

/// Whether somebody shows a later topology, in which this node owns nothing.
async fn is_relieved(shared: &Shared, known: &State, own: NodeId) -> bool {
    let others = shared.everybody(known);
    let asked = others.iter().map(|other| shown(other, SHOWN_PATIENCE));
    let states = futures_util::future::join_all(asked).await;
    let states = states.iter().flatten();
    let ours = states.filter(|state| state.cluster() == known.cluster());
    let newest = ours.max_by_key(|state| state.epoch());
    newest.is_some_and(|state| state.epoch() > known.epoch() && state.table().owned_by(own) == 0)
}
