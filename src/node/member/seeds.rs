//! What a node makes of the seeds: whom it asks, and whether it may found a cluster.
//!
//! Called by `life`, before this node is a member and while nobody leads.

use std::time::Duration;

use super::{Reason, Running, Shared};
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::raft::latch::Root;
use crate::raft::log::Ident;
use crate::raft::transport::Transport;
use crate::raft::transport::book::{Address, Listing};
use crate::rpc::control::{from_wire, status};

/// How long a seed may take to say what it is: most of them are down when a cluster is young.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// What another seed says it is.
pub(super) struct Answer {
    name: String,
    root: Option<u128>,
    pub(super) cluster: Option<ClusterId>,
    /// Its id in that cluster.
    node: NodeId,
    incarnation: Incarnation,
    raft: Address,
}

/// What every other seed says it is.
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

/// Whether this node may found a cluster: it was started with `--bootstrap`, or it is a seed and most seeds share its
/// data directory, so that of all who might found one the latch lets one.
///
/// Two nodes may have two different answers of DNS, each with itself alone. So where there is a name
/// among the seeds, another node must be seen that shares the directory: then the directory is
/// shared, and its latch decides. No waiting would do instead, since an address may be published
/// minutes after its node has started.
///
/// # Errors
/// Why it may not, and what would help.
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

/// Asks the seeds where their Raft is now. When all nodes have moved at once, none of the addresses
/// in the state is good, and the state cannot change before they have found each other.
pub(super) async fn look_for_peers(shared: &Shared, running: &Running, transport: &Transport) {
    for seed in ask_seeds(shared).await {
        if let Some(listing) = listing(&seed, &running.ident) {
            transport.learn_address(listing);
        }
    }
}

/// Where the Raft of `seed` listens, if it is another member of the cluster.
fn listing(seed: &Answer, own: &Ident) -> Option<Listing> {
    let is_peer = seed.cluster == Some(own.cluster) && seed.node != own.node && seed.raft.port != 0;
    is_peer.then(|| Listing {
        node: seed.node,
        incarnation: seed.incarnation,
        address: seed.raft.clone(),
    })
}
