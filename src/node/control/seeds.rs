//! What a node makes of the seeds: whom it asks, and whether it may found a cluster.
//!
//! Called by `life`, before this node is a member and while nobody leads.

use std::time::Duration;

use super::Running;
use super::life::{Life, Told};
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::raft::latch::Root;
use crate::raft::log::Ident;
use crate::raft::transport::Transport;
use crate::raft::transport::book::{Address, Listing};
use crate::rpc::control::{from_wire, status};

/// How long a seed may take to say what it is: most of them are down when a cluster is young.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// What another seed says it is.
pub(super) struct Seed {
    root: Option<u128>,
    pub(super) cluster: Option<ClusterId>,
    /// Its id in that cluster.
    node: NodeId,
    incarnation: Incarnation,
    raft: Address,
}

impl Life {
    /// What every other seed says it is.
    pub(super) async fn ask_seeds(&self) -> Vec<Seed> {
        let others = self.shared.others().map(|target| async move {
            let status = status(target, STATUS_PATIENCE).await;
            let status = status.inspect_err(|error| tracing::debug!(%error, "seed not asked"));
            let status = status.ok()?;
            Some(Seed {
                root: from_wire(&status.root),
                cluster: from_wire(&status.cluster).map(ClusterId),
                node: NodeId(status.node),
                incarnation: Incarnation(status.incarnation),
                raft: Address {
                    host: target.host.clone(),
                    port: u16::try_from(status.raft_port).unwrap_or_default(),
                },
            })
        });
        let answers = futures_util::future::join_all(others).await;
        answers.into_iter().flatten().collect()
    }

    /// Whether this node may found a cluster: it is told to, or it is a seed and most seeds share its
    /// data directory, so that of all who might found one the latch lets one.
    ///
    /// # Errors
    /// Why it may not, and what would help.
    pub(super) fn may_found(&self, root: &Root, seeds: &[Seed]) -> Result<(), Told> {
        if self.shared.is_founder {
            return Ok(());
        }
        if self.shared.own_seed.is_none() {
            return Err("no seed belongs to a cluster yet, and this node is no seed".into());
        }
        let all = self.shared.seeds.len();
        let sharing = seeds.iter().filter(|seed| seed.root == Some(root.id()));
        let sharing = sharing.count() + 1;
        if sharing * 2 > all {
            return Ok(());
        }
        Err(format!(
            "{sharing} of {all} seeds are known to share this data directory: more than half must be to \
             found a cluster, or one node must be started with --bootstrap"
        ))
    }

    /// Asks the seeds where their Raft is now. When all nodes have moved at once, none of the addresses
    /// in the state is good, and the state cannot change before they have found each other.
    pub(super) async fn look_for_peers(&self, running: &Running, transport: &Transport) {
        for seed in self.ask_seeds().await {
            if let Some(listing) = listing(&seed, &running.ident) {
                transport.learn_address(listing);
            }
        }
    }
}

/// Where the Raft of `seed` listens, if it is another member of the cluster.
fn listing(seed: &Seed, own: &Ident) -> Option<Listing> {
    let is_peer = seed.cluster == Some(own.cluster) && seed.node != own.node && seed.raft.port != 0;
    is_peer.then(|| Listing {
        node: seed.node,
        incarnation: seed.incarnation,
        address: seed.raft.clone(),
    })
}
