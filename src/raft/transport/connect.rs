//! Outgoing connections of the Raft port, with every limit set.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

use super::book::Address;
use super::bounds::{MAX_NACK_BYTES, MAX_WIRE_BYTES};
use super::proto::raft_client::RaftClient;
use crate::net::{chain, open};

/// Unread bytes of a stream, on either side.
pub(super) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Unread bytes of a connection. A connection has one stream.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Enough for the headers of any call here.
pub(super) const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
/// A peer that froze or lost its network sends no reset: pings notice it. Raft itself notices sooner;
/// this is about giving up the connection, so that the next one finds the peer again.
pub(super) const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// How long a ping may take.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of the peer at `address`, over a connection of its own that leaves from `from`.
///
/// Bounded in time by the caller. The error is for people.
pub(super) async fn connect(
    address: &Address,
    from: IpAddr,
) -> Result<RaftClient<Channel>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| chain(&error))?
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let target = address.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let target = target.clone();
        async move {
            let stream = open(&target.host, target.port, from).await;
            stream.map(TokioIo::new)
        }
    });
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| chain(&error))?;
    Ok(RaftClient::new(channel)
        .max_encoding_message_size(MAX_WIRE_BYTES)
        .max_decoding_message_size(MAX_NACK_BYTES))
}
