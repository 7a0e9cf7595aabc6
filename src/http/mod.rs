//! The HTTP/1.1 server under the frontend and the admin port: an accept loop with every limit set.
//!
//! `axum::serve` and hyper's defaults leave slow clients, header size and the number of connections
//! unbounded; here each bound has a name. What a request means is the caller's business.

mod patience;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::Gauge;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::patience::{Patience, Patient};
use crate::shutdown::Shutdown;

/// What every handler answers with.
pub type Reply = Response<Full<Bytes>>;

/// How long accepting pauses after it failed, as it does when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the kernel may hold for a client; it doubles it. A client's progress shows in steps of a third.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// Headers of one request; more are answered with 431.
const MAX_HEADERS: usize = 64;

/// hyper refuses a smaller buffer.
const MIN_HEADER_BYTES: usize = 8192;

/// The bounds of one listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// From a head's first byte until it is complete; slower clients are closed.
    pub header_timeout: Duration,
    /// From the opening of a connection, or the end of the last answer, until the next request's
    /// head is complete; idle clients are closed.
    pub idle_timeout: Duration,
    /// From the moment nothing more could be sent until the client has taken enough for more: about
    /// 170 KiB.
    pub write_timeout: Duration,
    /// A request's head; a larger one is answered with 431. At least 8 KiB.
    pub max_header_bytes: usize,
}

/// Serves `listener` until shutdown begins, then lets each connection finish its request.
///
/// Resolves when accepting has stopped; the connections' tasks belong to `shutdown`.
pub async fn serve<S, F>(
    listener: TcpListener,
    limits: Limits,
    connections: Gauge,
    shutdown: Shutdown,
    service: S,
) where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = shutdown.begun() => return,
        };
        match accepted {
            Ok((stream, slot)) => {
                let held = Held::new(&connections, slot);
                let connection =
                    converse(stream, limits.clone(), shutdown.clone(), service.clone());
                shutdown.spawn(async move {
                    connection.await;
                    drop(held);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .expect("nobody closes the semaphore");
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

/// A connection's place among `max_connections`, counted while it is held.
struct Held {
    gauge: Gauge,
    _slot: OwnedSemaphorePermit,
}

impl Held {
    fn new(gauge: &Gauge, slot: OwnedSemaphorePermit) -> Self {
        gauge.increment(1.0);
        Self {
            gauge: gauge.clone(),
            _slot: slot,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

async fn converse<S, F>(stream: TcpStream, limits: Limits, shutdown: Shutdown, service: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    // Without it a small answer may wait 40 ms for the client's delayed ACK.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // Else the kernel would take megabytes at once and report progress only when a third is gone.
    if SockRef::from(&stream)
        .set_send_buffer_size(SEND_BUFFER_BYTES)
        .is_err()
    {
        return;
    }
    let patience = Patience {
        head: limits.header_timeout,
        idle: limits.idle_timeout,
        write: limits.write_timeout,
    };
    let (stream, turns) = Patient::new(stream, patience);
    let handler = service_fn(move |request| {
        let turns = turns.clone();
        turns.next();
        let answer = service(request);
        async move {
            let reply = answer.await;
            turns.next();
            Ok::<_, Infallible>(reply)
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(limits.max_header_bytes.max(MIN_HEADER_BYTES))
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
    // Polled when it is woken itself and not with every request: it takes a lock that all connections
    // share.
    let mut stop = FuturesUnordered::from_iter([shutdown.begun()]);
    tokio::select! {
        biased;
        // A client's broken connection is its own affair: nothing to log above debug.
        ended = connection.as_mut() => if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        },
        _ = stop.next() => {
            connection.as_mut().graceful_shutdown();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        }
    }
}

/// An answer without a body.
#[must_use]
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

/// A short text answer.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// An answer with a body of `content_type`, which must be a valid header value.
#[must_use]
pub fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
