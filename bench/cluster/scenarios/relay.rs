//! A relay that makes a server look as if it were farther away.
//!
//! Each direction of a connection is delayed by itself and keeps its pace: what follows closely arrives as
//! closely, so that only the way is longer and nothing waits in line, as a `pg_sleep` in the statement
//! would make it. Threads and not tokio, whose timers have whole milliseconds.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use crate::testkit::wait::pause;

/// Reads that may be on their way in one direction of one connection; a sender that is faster waits.
const ON_THE_WAY: usize = 1024;

/// The most that is read at once.
const READ_BYTES: usize = 64 << 10;

/// Takes connections until it is dropped. Those that are open go on until one of their ends closes them.
pub(crate) struct Relay {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

/// What was read, and when it arrives.
type Chunk = (Instant, Vec<u8>);

impl Relay {
    /// A relay to `server` on a free port of `host` that takes `one_way` in each direction.
    pub(crate) fn start(
        host: Ipv4Addr,
        server: SocketAddr,
        one_way: Duration,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((host, 0)).context("the relay's address is taken")?;
        let address = listener.local_addr()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::Relaxed) {
                    return;
                }
                // A connection that fails here is for its two ends to notice.
                let _told = stream.and_then(|near| connect(near, server, one_way));
            }
        });
        Ok(Self { address, is_over })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener so that it looks.
        let _woken = TcpStream::connect(self.address);
    }
}

fn connect(near: TcpStream, server: SocketAddr, one_way: Duration) -> std::io::Result<()> {
    let far = TcpStream::connect(server)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    carry(near.try_clone()?, far.try_clone()?, one_way);
    carry(far, near, one_way);
    Ok(())
}

/// Starts to carry one direction.
fn carry(from: TcpStream, to: TcpStream, one_way: Duration) {
    let (sender, receiver) = sync_channel(ON_THE_WAY);
    thread::spawn(move || take(from, &sender, one_way));
    thread::spawn(move || give(to, &receiver));
}

fn take(mut from: TcpStream, chunks: &SyncSender<Chunk>, one_way: Duration) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(read) = from.read(&mut buffer) {
        let chunk = (Instant::now() + one_way, buffer[..read].to_vec());
        if read == 0 || chunks.send(chunk).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, chunks: &Receiver<Chunk>) {
    for (due, bytes) in chunks {
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            pause(left);
        }
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // It may be closed already.
    let _closed = to.shutdown(Shutdown::Both);
}
