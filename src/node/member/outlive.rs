//! Lets a node whose log has failed serve on, isolated, until other members own what it owned; then it stops.
//!
//! So one sick disk that many nodes share does not empty every cache at once: as long as no member takes
//! over, all nodes go on.

use std::time::Duration;

use super::{Running, Shared};
use crate::ids::NodeId;
use crate::rpc::control::shown;
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// The pause between two looks at other nodes' states.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long another node may take to show its state.
const SHOWN_PATIENCE: Duration = Duration::from_secs(1);

/// Waits until other members own what this node owned, and then stops the process. Ends early at a shutdown.
/// Cancel-safe.
pub(super) async fn outlive(shared: &Shared, running: &Running) {
    let relieved = async {
        let known = running.raft.state().borrow().clone();
        while !is_relieved(shared, &known, running.ident.node).await {
            tokio::time::sleep(LOOK_EVERY).await;
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
    states
        .iter()
        .flatten()
        .any(|shown| goes_on_without(shown, known, own))
}

/// Whether member `own` has nothing to do any more in the state `shown`. So it is if its cluster was
/// recovered, or if it owns nothing there and it is down, was removed, or `shown` is newer than what it has
/// known.
fn goes_on_without(shown: &State, known: &State, own: NodeId) -> bool {
    let old = known.cluster();
    if shown.cluster() != old {
        return shown.supersedes().contains(&old);
    }
    let record = shown.member(own);
    let is_down = record.is_none_or(|record| record.status == MemberStatus::Down);
    let is_known = is_down && shown.epoch() >= known.epoch() || shown.epoch() > known.epoch();
    is_known && shown.table().owned_by(own) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::fixtures::{cluster, status};

    #[test]
    fn a_node_is_relieved_by_a_topology_that_goes_on_without_it() {
        let known = cluster(3);
        let own = NodeId(3);
        assert!(!goes_on_without(&known, &known, own), "it is up, and owns");
        let mut other = known.clone();
        other.apply(&status(2, MemberStatus::Leaving)).unwrap();
        assert!(other.table().owned_by(own) == 0 || !goes_on_without(&other, &known, own));
        let fail_over = known.plan_fail_over(own).unwrap();
        let mut down = known.clone();
        down.apply(&fail_over).unwrap();
        assert!(goes_on_without(&down, &known, own));
        assert!(
            goes_on_without(&down, &down, own),
            "it knew before its log failed"
        );
        assert!(
            !goes_on_without(&known, &down, own),
            "an older topology proves nothing"
        );
    }
}
