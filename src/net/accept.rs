//! Incoming connections of a gRPC port: a bounded number, each of which must begin to speak.

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

/// HTTP/2's preface and the header of the first frame, with which every client begins.
const FIRST_BYTES: usize = 24 + 9;
/// How long a client may take for them.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);
/// How long accepting pauses after it failed, as it does when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connections that come to `listener`, at most `max` at once: further ones wait in the kernel's
/// backlog. One that stays silent is closed.
pub fn incoming(
    listener: TcpListener,
    max: usize,
) -> impl Stream<Item = std::io::Result<Accepted>> + Send {
    let slots = Arc::new(Semaphore::new(max));
    unfold((listener, slots), |(listener, slots)| async move {
        let slot = Arc::clone(&slots)
            .acquire_owned()
            .await
            .expect("nobody closes the semaphore");
        let accepted = match listener.accept().await {
            Ok((stream, _)) => stream
                .set_nodelay(true)
                .map(|()| Accepted::new(stream, slot)),
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                sleep(ACCEPT_PAUSE).await;
                Err(error)
            }
        };
        Some((accepted, (listener, slots)))
    })
}

/// A connection that holds its place among the others, and loses it if it stays silent.
pub struct Accepted {
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
    /// Runs until HTTP/2 has begun: before it, nothing keeps the connection alive or gives it up.
    silence: Option<Pin<Box<Sleep>>>,
    received: usize,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Accepted").field(&self.stream).finish()
    }
}

impl Accepted {
    fn new(stream: TcpStream, slot: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            _slot: slot,
            silence: Some(Box::pin(sleep(FIRST_BYTES_TIMEOUT))),
            received: 0,
        }
    }
}

impl Connected for Accepted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Accepted {
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

impl AsyncWrite for Accepted {
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
