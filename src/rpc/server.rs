//! The gRPC server of a node: the cache service, standard health and reflection, and every limit.
//!
//! tonic passes "no limit" to hyper for concurrent streams and local resets, which switches hyper's own
//! protections off; so both are set here, with all the others.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{Stream, unfold};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::connect::{CONNECTION_WINDOW_BYTES, MAX_HEADER_LIST_BYTES, STREAM_WINDOW_BYTES};
use super::control::MAX_CONTROL_BYTES;
use super::control_proto::control_server::{Control, ControlServer};
use super::proto::DESCRIPTORS;
use super::proto::cache_server::{Cache, CacheServer};

/// Streams and calls open at once on one connection. A frontend needs one.
const MAX_STREAMS: u32 = 256;
const MAX_LOCAL_RESETS: usize = 1024;
const MAX_PENDING_RESETS: usize = 20;
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2's preface and the header of the first frame, with which every client begins.
const FIRST_BYTES: usize = 24 + 9;
/// How long a client may take for them.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);
/// How long accepting pauses after it failed, as it does when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a node's gRPC port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Bytes in one message, either way.
    pub max_message_bytes: usize,
    /// A unary call's time; a pipeline has none.
    pub call_timeout: Duration,
}

/// Serves `cache`, and `control` if the node has one, on `listener` until `stop` resolves, then until its calls have ended.
///
/// # Errors
/// If the transport fails as a whole; a broken connection is not that.
pub async fn serve<C: Cache, K: Control>(
    listener: TcpListener,
    cache: C,
    control: Option<K>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<CacheServer<C>>().await;
    let descriptors = [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let builder = |()| {
        descriptors.iter().fold(
            tonic_reflection::server::Builder::configure(),
            |builder, set| builder.register_encoded_file_descriptor_set(set),
        )
    };
    let stop = async move {
        stop.await;
        // Whoever watches the health service learns it before the connections end.
        health.set_not_serving::<CacheServer<C>>().await;
    };
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .concurrency_limit_per_connection(MAX_STREAMS as usize)
        .load_shed(true)
        .timeout(limits.call_timeout)
        .http2_max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(health_service)
        // Both versions: older clients know only the second.
        .add_service(builder(()).build_v1()?)
        .add_service(builder(()).build_v1alpha()?)
        .add_service(
            CacheServer::new(cache)
                .max_decoding_message_size(limits.max_message_bytes)
                .max_encoding_message_size(limits.max_message_bytes),
        )
        .add_optional_service(control.map(|control| {
            ControlServer::new(control)
                .max_decoding_message_size(MAX_CONTROL_BYTES)
                .max_encoding_message_size(MAX_CONTROL_BYTES)
        }))
        .serve_with_incoming_shutdown(incoming(listener, limits.max_connections), stop)
        .await?;
    Ok(())
}

fn incoming(listener: TcpListener, max: usize) -> impl Stream<Item = std::io::Result<Slotted>> {
    let slots = Arc::new(Semaphore::new(max));
    unfold((listener, slots), |(listener, slots)| async move {
        let slot = Arc::clone(&slots)
            .acquire_owned()
            .await
            .expect("nobody closes the semaphore");
        let accepted = match listener.accept().await {
            Ok((stream, _)) => stream
                .set_nodelay(true)
                .map(|()| Slotted::new(stream, slot)),
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                Err(error)
            }
        };
        Some((accepted, (listener, slots)))
    })
}

/// A connection that holds its place among `max_connections`, and loses it if it stays silent.
struct Slotted {
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
    /// Runs until HTTP/2 has begun: before it, hyper has no connection to keep alive or to give up.
    silence: Option<Pin<Box<Sleep>>>,
    received: usize,
}

impl Slotted {
    fn new(stream: TcpStream, slot: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            _slot: slot,
            silence: Some(Box::pin(sleep(FIRST_BYTES_TIMEOUT))),
            received: 0,
        }
    }
}

impl Connected for Slotted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Slotted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.received += buf.filled().len() - before;
        if self.received >= FIRST_BYTES {
            self.silence = None;
        }
        if let Some(silence) = &mut self.silence
            && silence.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Slotted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
