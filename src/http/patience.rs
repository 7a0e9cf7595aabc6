//! How long a client may take over a request's head once it has begun one.
//!
//! hyper has one timer for the head and for the idle time before it; it gets the longer, idle one. This
//! wraps the connection with the shorter: it starts with a head's first byte and ends when the request
//! reaches its handler.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Set while a request is being handled: then no head is expected.
pub(super) type Busy = Arc<AtomicBool>;

/// A connection that fails to read once a head takes too long.
pub(super) struct Patient<T> {
    inner: T,
    busy: Busy,
    timeout: Duration,
    /// Runs while a head has begun and is not complete.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Patient<T> {
    pub(super) fn new(inner: T, timeout: Duration) -> (Self, Busy) {
        let busy = Busy::default();
        let patient = Self {
            inner,
            busy: Arc::clone(&busy),
            timeout,
            timer: None,
        };
        (patient, busy)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.busy.load(Ordering::Relaxed) {
            self.timer = None;
            return read;
        }
        if self.timer.is_none() && buf.filled().len() > before {
            self.timer = Some(Box::pin(sleep_until(Instant::now() + self.timeout)));
        }
        if let Some(timer) = &mut self.timer
            && (read.is_pending() || buf.filled().len() > before)
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the request's head took too long",
            )));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_is_cut_off_and_a_silent_client_is_not() {
        let (mut client, server) = duplex(64);
        let (mut patient, _busy) = Patient::new(server, Duration::from_secs(10));
        let mut byte = [0];
        let idle =
            tokio::time::timeout(Duration::from_secs(60), patient.read_exact(&mut byte)).await;
        assert!(idle.is_err(), "an idle connection is hyper's to close");
        let mut sent = 0;
        let error = loop {
            client.write_all(b"G").await.unwrap();
            sent += 1;
            match patient.read_exact(&mut byte).await {
                Ok(_) => tokio::time::advance(Duration::from_secs(1)).await,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((10..=12).contains(&sent), "{sent} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_handler_is_not_a_slow_head() {
        let (mut client, server) = duplex(64);
        let (mut patient, busy) = Patient::new(server, Duration::from_secs(10));
        let mut byte = [0];
        client.write_all(b"G").await.unwrap();
        patient.read_exact(&mut byte).await.unwrap();
        busy.store(true, Ordering::Relaxed);
        let waited =
            tokio::time::timeout(Duration::from_secs(60), patient.read_exact(&mut byte)).await;
        assert!(waited.is_err());
    }
}
