//! A gRPC connection to a node, as any client makes it.

use tonic::transport::Channel;

use super::cluster::Cluster;

/// Connects to this node.
pub(crate) async fn connect(cluster: &Cluster, node: usize) -> Channel {
    let url = format!("http://{}", cluster.grpc(node));
    let endpoint = Channel::from_shared(url).expect("an address is a URL");
    endpoint.connect().await.expect("the node listens")
}
