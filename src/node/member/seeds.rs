//! Asks the seeds what they are.
//!
//! Called before this node is a member (`admission`), and while its cluster has no leader (`life`).

use std::time::Duration;

use super::{Running, Shared};
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::membership::founding::Candidate;
use crate::membership::seen::SeedStatus;
use crate::raft::latch::Root;
use crate::raft::transport::Transport;
use crate::raft::transport::book::{Address, Listing};
use crate::rpc::control::{from_wire, status};

/// How long a seed may take to answer: most of them are down when a cluster is young.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// Asks every other seed what it is; seeds that do not answer are left out. Cancel-safe.
pub(super) async fn ask_seeds(shared: &Shared) -> Vec<SeedStatus> {
    let others = shared.others().into_iter().map(|target| async move {
        let status = status(&target, STATUS_PATIENCE).await;
        let status = status.inspect_err(|error| tracing::debug!(%error, "seed not asked"));
        let status = status.ok()?;
        Some(SeedStatus {
            name: status.name,
            root: from_wire(&status.root),
            cluster: from_wire(&status.cluster).map(ClusterId),
            node: NodeId(status.node),
            incarnation: Incarnation(status.incarnation),
            host: target.host,
            raft_port: u16::try_from(status.raft_port).unwrap_or_default(),
        })
    });
    let answers = futures_util::future::join_all(others).await;
    answers.into_iter().flatten().collect()
}

/// This node as one that may found a cluster, by what discovery knows now.
pub(super) fn candidate<'a>(shared: &'a Shared, root: &Root) -> Candidate<'a> {
    let discovery = &shared.discovery;
    let (places, unresolved) = (discovery.places(), discovery.unresolved());
    Candidate {
        name: &shared.own.name,
        root: root.id(),
        is_founder: shared.is_founder,
        is_seed: places.iter().any(|place| shared.is_own(place)),
        places: places.len(),
        unresolved: unresolved.iter().map(ToString::to_string).collect(),
        is_fixed: discovery.is_fixed(),
    }
}

/// Asks the seeds for their current Raft addresses, and makes the transport use those of peers. Cancel-safe.
pub(super) async fn look_for_peers(shared: &Shared, running: &Running, transport: &Transport) {
    let own = &running.ident;
    for seed in ask_seeds(shared).await {
        if seed.is_peer_of(own.cluster, own.node) {
            transport.learn_address(Listing {
                node: seed.node,
                incarnation: seed.incarnation,
                address: Address {
                    host: seed.host,
                    port: seed.raft_port,
                },
            });
        }
    }
}
