//! Asks the seeds what they are, and decides from the answers whether this node may found a cluster.
//!
//! Called before this node is a member (`admission`), and while its cluster has no leader (`life`).

use std::time::Duration;

use super::{Reason, Running, Shared};
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::raft::latch::Root;
use crate::raft::log::Ident;
use crate::raft::transport::Transport;
use crate::raft::transport::book::{Address, Listing};
use crate::rpc::control::{from_wire, status};

/// How long a seed may take to answer: most of them are down when a cluster is young.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// The answer of another seed: what it is.
pub(super) struct Answer {
    name: String,
    root: Option<u128>,
    pub(super) cluster: Option<ClusterId>,
    /// Its id in that cluster.
    node: NodeId,
    incarnation: Incarnation,
    raft: Address,
}

/// Asks every other seed what it is; seeds that do not answer are left out. Cancel-safe.
pub(super) async fn ask_seeds(shared: &Shared) -> Vec<Answer> {
    let others = shared.others().into_iter().map(|target| async move {
        let status = status(&target, STATUS_PATIENCE).await;
        let status = status.inspect_err(|error| tracing::debug!(%error, "seed not asked"));
        let status = status.ok()?;
        Some(Answer {
            name: status.name,
            root: from_wire(&status.root),
            cluster: from_wire(&status.cluster).map(ClusterId),
            node: NodeId(status.node),
            incarnation: Incarnation(status.incarnation),
            raft: Address {
                host: target.host,
                port: u16::try_from(status.raft_port).unwrap_or_default(),
            },
        })
    });
    let answers = futures_util::future::join_all(others).await;
    answers.into_iter().flatten().collect()
}

/// Decides whether this node may found a cluster. It may if it was started with `--bootstrap`, or if it is a
/// seed and most seeds share its data directory: then the directory's latch lets only one founder win.
///
/// Two nodes may get two different answers of DNS, each with itself alone. So where there is a name among the
/// seeds, another node that shares the directory must be seen: that proves that the directory is shared, and
/// its latch decides. Waiting instead would not do, because an address may be published minutes after its
/// node has started.
///
/// # Errors
/// The reason why it may not, and what would help.
pub(super) fn may_found(shared: &Shared, root: &Root, seeds: &[Answer]) -> Result<(), Reason> {
    if shared.is_founder {
        return Ok(());
    }
    let discovery = &shared.discovery;
    let (places, unresolved) = (discovery.places(), discovery.unresolved());
    if !places.iter().any(|place| shared.is_own(place)) {
        let mut why = "no seed belongs to a cluster yet, and this node is no seed".to_owned();
        if let Some(name) = unresolved.first() {
            why = format!("{why}: {name} has no address yet");
        }
        return Err(why);
    }
    // A name without an address stands for at least one node.
    let all = places.len() + unresolved.len();
    let is_sharing = |seed: &&Answer| seed.root == Some(root.id());
    let others = seeds.iter().filter(is_sharing);
    let sharing = others.clone().count() + 1;
    if sharing * 2 <= all {
        return Err(format!(
            "{sharing} of {all} seeds are known to share this data directory: more than half must be \
             to found a cluster, or one node must be started with --bootstrap"
        ));
    }
    // One node may have several addresses.
    let is_seen = others.clone().any(|seed| *seed.name != *shared.own.name);
    if is_seen || discovery.is_fixed() {
        return Ok(());
    }
    Err(
        "DNS names no other node so far that shares this data directory: one must be to found a \
         cluster, or one node must be started with --bootstrap"
            .into(),
    )
}

/// Asks the seeds for their current Raft addresses. When all nodes have moved at once, no address in the
/// state is valid, and the state cannot change before the nodes have found each other. Cancel-safe.
pub(super) async fn look_for_peers(shared: &Shared, running: &Running, transport: &Transport) {
    for seed in ask_seeds(shared).await {
        if let Some(listing) = listing(&seed, &running.ident) {
            transport.learn_address(listing);
        }
    }
}

/// The Raft address of `seed`, if it is another member of this cluster.
fn listing(seed: &Answer, own: &Ident) -> Option<Listing> {
    let is_peer = seed.cluster == Some(own.cluster) && seed.node != own.node && seed.raft.port != 0;
    is_peer.then(|| Listing {
        node: seed.node,
        incarnation: seed.incarnation,
        address: seed.raft.clone(),
    })
}
