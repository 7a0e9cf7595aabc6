//! Outgoing gRPC connections, with every limit set.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::config::Seed;
use crate::net::open;
use crate::topology::model::member::Member;

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

impl Target {
    /// The target at a host, which is an IP address or a DNS name.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, from: IpAddr) -> Self {
        Self {
            host: host.into(),
            port,
            from,
        }
    }

    /// The target at which a member answers.
    #[must_use]
    pub fn of(member: &Member, from: IpAddr) -> Self {
        Self::new(&*member.host, member.grpc_port, from)
    }

    /// The target at which a seed may be found.
    #[must_use]
    pub fn at(seed: Seed, from: IpAddr) -> Self {
        Self::new(seed.host, seed.port, from)
    }

    /// The target at `text`, which is `HOST:PORT` with an IPv6 address in brackets.
    #[must_use]
    pub fn parse(text: &str, from: IpAddr) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']')?,
            None => host,
        };
        (!host.is_empty()).then_some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
            from,
        })
    }
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

/// Whether anything was received on a connection: the bytes, not the messages, since one large
/// message may take longer than the time-out after which a node counts as dead.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    received: Arc<AtomicBool>,
}

impl Life {
    /// Whether bytes came since the last look.
    pub(super) fn has_shown(&self) -> bool {
        self.received.swap(false, Ordering::Relaxed)
    }
}

/// Connects, within `timeout`; whatever is received shows in `life`.
pub(super) async fn connect(
    target: &Target,
    timeout: Duration,
    life: &Life,
) -> Result<Channel, tonic::transport::Error> {
    let (target, life) = (target.clone(), life.clone());
    let endpoint = Endpoint::from_shared(format!("http://{target}"))?
        .connect_timeout(timeout)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let connector = tower::service_fn(move |_: Uri| {
        let (target, life) = (target.clone(), life.clone());
        async move {
            let stream = open(&target.host, target.port, target.from).await?;
            Ok::<_, io::Error>(TokioIo::new(Watched { stream, life }))
        }
    });
    endpoint.connect_with_connector(connector).await
}

/// A connection that shows that it lives.
struct Watched {
    stream: TcpStream,
    life: Life,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.life.received.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_received_byte_shows_life_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, from) = (listener.local_addr().unwrap().port(), [127, 0, 0, 1].into());
        let (stream, peer) = tokio::join!(open("127.0.0.1", port, from), listener.accept());
        let (stream, mut peer) = (stream.unwrap(), peer.unwrap().0);
        let life = Life::default();
        let mut watched = Watched {
            stream,
            life: life.clone(),
        };
        watched.write_all(b"ping").await.unwrap();
        assert!(!life.has_shown(), "what is sent says nothing of the peer");
        for byte in *b"ab" {
            peer.write_all(&[byte]).await.unwrap();
            assert_eq!(watched.read_u8().await.unwrap(), byte);
            assert!(life.has_shown());
            assert!(!life.has_shown(), "nothing came since");
        }
    }
}
