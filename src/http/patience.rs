//! How long a client may take: until its next request, over a request's head once it has begun one, and to
//! read what it asked for.
//!
//! hyper has one timer for the head and the idle time before it, and none for writing. This wraps the
//! connection with all three. Bytes that are no head, such as the rest of a body that nobody wanted, count
//! as the beginning of one: then the connection has the shorter time.
//!
//! A busy connection sets no timer: one is registered when a read has to wait, for the time that applied
//! then, and when it fires it looks at the time that applies now. Registering and removing one for each
//! request cost a twentieth of the frontend's processor time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Counts the beginnings and ends of a connection's requests: odd while one is being handled.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<AtomicU64>);

impl Turns {
    /// A request begins or ends.
    pub(super) fn next(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The bounds of one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the end of a request, or the beginning of the connection, until a byte of the next.
    pub(super) idle: Duration,
    /// From a head's first byte until the request reaches its handler.
    pub(super) head: Duration,
    /// From the moment nothing more could be sent until the client has taken enough for more.
    pub(super) write: Duration,
}

/// A connection that fails once its client takes too long.
pub(super) struct Patient<T> {
    inner: T,
    turns: Turns,
    patience: Patience,
    /// The turn that reads were last seen in, when that was first seen, and whether a byte of it came.
    seen: (u64, Instant, bool),
    /// Registered when a read first had to wait. It may fire early, never late.
    read: Option<Timer>,
    /// Runs while the client takes nothing.
    write: Option<Timer>,
}

type Timer = Pin<Box<Sleep>>;

fn timer(after: Duration) -> Timer {
    Box::pin(sleep_until(Instant::now() + after))
}

fn too_slow(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<T> Patient<T> {
    pub(super) fn new(inner: T, patience: Patience) -> (Self, Turns) {
        let turns = Turns::default();
        let patient = Self {
            inner,
            turns: turns.clone(),
            patience,
            seen: (0, Instant::now(), false),
            read: None,
            write: None,
        };
        (patient, turns)
    }

    /// Whether a read that waits has waited too long; if not, the task is woken by then.
    fn is_out_of_time(&mut self, cx: &mut Context<'_>) -> bool {
        let (_, since, has_begun) = self.seen;
        let due = since
            + if has_begun {
                self.patience.head
            } else {
                self.patience.idle
            };
        let timer = self.read.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return true;
            }
            timer.as_mut().reset(due);
        }
        false
    }

    /// Fails a write that has been waiting for too long.
    fn bounded<R>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if done.is_ready() {
            self.write = None;
            return done;
        }
        let after = self.patience.write;
        let waiting = self.write.get_or_insert_with(|| timer(after));
        if waiting.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(too_slow("the client reads too slowly")));
        }
        Poll::Pending
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
        let turn = self.turns.now();
        if turn % 2 == 1 {
            return read;
        }
        let has_come = buf.filled().len() > before;
        let (seen, _, has_begun) = self.seen;
        if seen != turn || (has_come && !has_begun) {
            self.seen = (turn, Instant::now(), has_come);
        }
        // More of a head that had begun: a client which never lets a read wait has no more time either.
        let is_late = has_come
            && has_begun
            && seen == turn
            && Instant::now() >= self.seen.1 + self.patience.head;
        if is_late || (read.is_pending() && self.is_out_of_time(cx)) {
            let what = if self.seen.2 {
                "the request's head took too long"
            } else {
                "the connection was idle for too long"
            };
            return Poll::Ready(Err(too_slow(what)));
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
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.bounded(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.bounded(cx, ended)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{advance, timeout};

    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_secs(75),
        head: Duration::from_secs(10),
        write: Duration::from_secs(30),
    };

    fn pair() -> (DuplexStream, Patient<DuplexStream>, Turns) {
        let (client, server) = duplex(64);
        let (patient, turns) = Patient::new(server, PATIENCE);
        (client, patient, turns)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_is_cut_off_and_a_silent_client_is_not() {
        let (mut client, mut patient, _turns) = pair();
        let mut byte = [0];
        let idle = timeout(Duration::from_secs(60), patient.read_exact(&mut byte)).await;
        assert!(idle.is_err(), "an idle connection has its own, longer time");
        let mut sent = 0;
        let error = loop {
            client.write_all(b"G").await.unwrap();
            sent += 1;
            match patient.read_exact(&mut byte).await {
                Ok(_) => advance(Duration::from_secs(1)).await,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((10..=12).contains(&sent), "{sent} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_its_time_and_each_request_renews_it() {
        let (mut client, mut patient, turns) = pair();
        let mut byte = [0];
        for _ in 0..5 {
            client.write_all(b"G").await.unwrap();
            patient.read_exact(&mut byte).await.unwrap();
            turns.next();
            turns.next();
            let silent = timeout(Duration::from_secs(70), patient.read_exact(&mut byte)).await;
            assert!(silent.is_err(), "within its time");
        }
        let began = Instant::now();
        let error = patient.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(
            (4..=6).contains(&began.elapsed().as_secs()),
            "{:?}",
            began.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_handler_is_not_a_slow_head() {
        let (mut client, mut patient, turns) = pair();
        let mut byte = [0];
        client.write_all(b"G").await.unwrap();
        patient.read_exact(&mut byte).await.unwrap();
        turns.next();
        let waited = timeout(Duration::from_secs(60), patient.read_exact(&mut byte)).await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn every_head_has_its_own_time_however_many_follow_one_another() {
        let (mut client, mut patient, turns) = pair();
        let mut byte = [0];
        for _ in 0..20 {
            client.write_all(b"G").await.unwrap();
            patient.read_exact(&mut byte).await.unwrap();
            // Handled without a read meanwhile, as hyper does with requests it has already read.
            turns.next();
            turns.next();
            advance(Duration::from_secs(5)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_is_cut_off_and_a_slow_one_is_not() {
        let (mut client, mut patient, _turns) = pair();
        let mut chunk = [0; 64];
        for _ in 0..5 {
            patient.write_all(&[7; 64]).await.unwrap();
            advance(Duration::from_secs(20)).await;
            client.read_exact(&mut chunk).await.unwrap();
        }
        let began = Instant::now();
        let error = patient.write_all(&[7; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((30..32).contains(&began.elapsed().as_secs()));
    }
}
