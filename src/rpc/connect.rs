//! Outgoing gRPC connections, with every limit set.

use std::net::IpAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// A stream's share of unread bytes. A pipeline is one stream, so it gets nearly all of them.
pub(super) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// A connection's unread bytes.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Enough for the headers of any call here.
pub(super) const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;

const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a node listens, and from which address to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// An IP address or a DNS name.
    pub host: String,
    /// The gRPC port.
    pub port: u16,
    /// The local address that connections leave from.
    pub from: IpAddr,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Connects, within `timeout`.
pub(super) async fn connect(
    target: &Target,
    timeout: Duration,
) -> Result<Channel, tonic::transport::Error> {
    let from = Some(target.from).filter(|ip| !ip.is_unspecified());
    Endpoint::from_shared(format!("http://{target}"))?
        .connect_timeout(timeout)
        .tcp_nodelay(true)
        .local_address(from)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .connect()
        .await
}
