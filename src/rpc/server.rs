//! The gRPC server of a node: the cache service, standard health and reflection, and every limit.
//!
//! tonic passes "no limit" to hyper for concurrent streams and local resets, which switches hyper's own
//! protections off; so both are set here, with all the others.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::connect::{CONNECTION_WINDOW_BYTES, MAX_HEADER_LIST_BYTES, STREAM_WINDOW_BYTES};
use super::control::MAX_CONTROL_BYTES;
use super::control_proto::control_server::{Control, ControlServer};
use super::proto::DESCRIPTORS;
use super::proto::cache_server::{Cache, CacheServer};
use crate::net::incoming;

/// Streams and calls open at once on one connection. A frontend needs one.
const MAX_STREAMS: u32 = 256;
const MAX_LOCAL_RESETS: usize = 1024;
const MAX_PENDING_RESETS: usize = 20;
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Serves `cache`, and `control` if the node has one, on `listener` until `stop` resolves, then until its calls
/// have ended. Health says that the cache serves as long as `serving` does.
///
/// # Errors
/// If the transport fails as a whole; a broken connection is not that.
pub async fn serve<C: Cache, K: Control>(
    listener: TcpListener,
    cache: C,
    control: Option<K>,
    limits: Limits,
    mut serving: watch::Receiver<bool>,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_not_serving::<CacheServer<C>>().await;
    let descriptors = [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let builder = |()| {
        descriptors.iter().fold(
            tonic_reflection::server::Builder::configure(),
            |builder, set| builder.register_encoded_file_descriptor_set(set),
        )
    };
    let shown = health.clone();
    let show = async move {
        loop {
            let is_serving = *serving.borrow_and_update();
            match is_serving {
                true => shown.set_serving::<CacheServer<C>>().await,
                false => shown.set_not_serving::<CacheServer<C>>().await,
            }
            if serving.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    let stop = async move {
        tokio::select! {
            () = stop => {}
            () = show => {}
        }
        // A watcher of the health service learns it before the connections end.
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
