//! Outgoing connections of the Raft port, with every limit set.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tonic::transport::{Channel, Endpoint};

use super::book::Address;
use super::proto::raft_client::RaftClient;
use super::{MAX_NACK_BYTES, MAX_WIRE_BYTES};

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
        async move { open(&target, from).await.map(TokioIo::new) }
    });
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| chain(&error))?;
    Ok(RaftClient::new(channel)
        .max_encoding_message_size(MAX_WIRE_BYTES)
        .max_decoding_message_size(MAX_NACK_BYTES))
}

/// A TCP connection to the first of the host's addresses that can be had.
async fn open(target: &Address, from: IpAddr) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((target.host.as_str(), target.port)).await? {
        match open_one(address, from).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn open_one(address: SocketAddr, from: IpAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if !from.is_unspecified() && from.is_ipv4() == address.is_ipv4() {
        socket.bind((from, 0).into())?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
