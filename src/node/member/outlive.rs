//! Lets a node whose log has failed serve on, isolated, until other members own what it owned; then it stops.
//!
//! The rule is in [`crate::membership::ending`].

use std::time::Duration;

use super::{Running, Shared};
use crate::ids::NodeId;
use crate::membership::ending::{self, LOOK_EVERY_MS};
use crate::rpc::control::shown;
use crate::topology::state::State;

/// How long another node may take to show its state.
const SHOWN_PATIENCE: Duration = Duration::from_secs(1);

/// Waits until other members own what this node owned, and then stops the process. Ends early at a shutdown.
/// Cancel-safe.
pub(super) async fn outlive(shared: &Shared, running: &Running) {
    let relieved = async {
        let known = running.raft.state().borrow().clone();
        while !is_relieved(shared, &known, running.ident.node).await {
            tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
        }
    };
    tokio::select! {
        () = relieved => {
            tracing::error!("stopping after a failed log: other members own what this node owned");
            shared.shutdown.begin();
        }
        () = shared.shutdown.begun() => {}
    }
}

/// Whether another node shows a topology that goes on without this node.
async fn is_relieved(shared: &Shared, known: &State, own: NodeId) -> bool {
    let others = shared.seeds_and_members(known);
    let asked = others.iter().map(|other| shown(other, SHOWN_PATIENCE));
    let states = futures_util::future::join_all(asked).await;
    ending::is_relieved(known, own, states.iter().flatten())
}
