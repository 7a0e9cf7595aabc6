//! What a node sees of others when it decides about itself: what a seed says, and which member leads. Pure.

use crate::ids::{ClusterId, Incarnation, NodeId};

/// What a seed says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedStatus {
    /// Its name.
    pub name: String,
    /// The number of its data directory, once it has opened that.
    pub root: Option<u128>,
    /// The cluster that it is a member of.
    pub cluster: Option<ClusterId>,
    /// Its id in that cluster.
    pub node: NodeId,
    /// Its start in that cluster.
    pub incarnation: Incarnation,
    /// The host where it was asked.
    pub host: String,
    /// The port of its Raft listener; 0 if it names none.
    pub raft_port: u16,
}

impl SeedStatus {
    /// Whether the seed is another member of `cluster` than `own`, and can be reached by Raft.
    #[must_use]
    pub fn is_peer_of(&self, cluster: ClusterId, own: NodeId) -> bool {
        self.cluster == Some(cluster) && self.node != own && self.raft_port != 0
    }
}

/// The leader as one member knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// The member knows none.
    Nobody,
    /// Another member leads.
    Another,
    /// The member itself leads.
    Itself,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::fixtures::seed;

    #[test]
    fn a_peer_is_another_member_of_the_same_cluster_with_a_port() {
        let (cluster, own) = (ClusterId(7), NodeId(1));
        let peer = SeedStatus {
            cluster: Some(cluster),
            node: NodeId(2),
            ..seed("b")
        };
        let (mut stranger, mut itself, mut mute) = (peer.clone(), peer.clone(), peer.clone());
        stranger.cluster = Some(ClusterId(8));
        itself.node = own;
        mute.raft_port = 0;
        for (status, is_peer) in [
            (peer, true),
            (stranger, false),
            (itself, false),
            (mute, false),
            (seed("b"), false),
        ] {
            assert_eq!(status.is_peer_of(cluster, own), is_peer, "{status:?}");
        }
    }
}
