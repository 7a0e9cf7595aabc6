//! The transport over real sockets: nodes of one cluster, peers that misbehave, and ways to wait.

mod messages;
mod peers;
mod snapshots;
mod strangers;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::bounds::*;
use super::*;
use crate::ids::Incarnation;
use crate::net::{BACKLOG, listen};

/// Longer than anything here takes on a starved machine; reached only if it never happens.
const PATIENCE: Duration = Duration::from_secs(30);

const CLUSTER: ClusterId = ClusterId(0xc1);
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A node that only has a transport.
struct Node {
    id: NodeId,
    address: SocketAddr,
    transport: Transport,
    received: mpsc::UnboundedReceiver<Envelope>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Its Raft takes nothing.
    is_full: Arc<AtomicBool>,
    registry: Registry,
    shutdown: Shutdown,
}

impl Node {
    /// On a free port.
    fn start(id: u64) -> Self {
        Self::start_at(id, (LOOPBACK, 0).into())
    }

    fn start_at(id: u64, address: SocketAddr) -> Self {
        let listener = listen(address, "Raft", BACKLOG).unwrap();
        let address = listener.local_addr().unwrap();
        let (into, received) = mpsc::unbounded_channel();
        let (reporter, reports) = mpsc::unbounded_channel();
        let is_full = Arc::new(AtomicBool::new(false));
        let (full, registry, shutdown) = (is_full.clone(), Registry::new(), Shutdown::new());
        let parts = Parts {
            listener,
            cluster: CLUSTER,
            node: NodeId(id),
            from: LOOPBACK.into(),
            address: Some(address.into()),
            inbox: Arc::new(move |envelope| {
                if full.load(Ordering::SeqCst) {
                    return Err(Full);
                }
                into.send(envelope).map_err(|_| Full)
            }),
            report: Arc::new(move |report| {
                // A test that is over hears nothing.
                let _ = reporter.send(report);
            }),
            shutdown: shutdown.clone(),
        };
        Self {
            id: NodeId(id),
            address,
            transport: Transport::start(parts, &registry),
            received,
            reports,
            is_full,
            registry,
            shutdown,
        }
    }

    /// Shows the transport where others are.
    fn knows(&self, others: &[(u64, SocketAddr)]) {
        let listing = |&(id, address): &(u64, SocketAddr)| listing(id, 1, address);
        self.transport.set_addresses(others.iter().map(listing));
    }

    fn send(&self, lane: Lane, to: u64, message: impl Into<Bytes>) {
        self.transport.send(lane, envelope(self.id.0, to, message));
    }

    async fn next(&mut self) -> Envelope {
        in_time("a message", self.received.recv()).await.unwrap()
    }

    async fn next_text(&mut self) -> String {
        let message = self.next().await.message;
        String::from_utf8_lossy(&message[..message.len().min(99)]).into_owned()
    }

    async fn next_report(&mut self) -> Report {
        in_time("a report", self.reports.recv()).await.unwrap()
    }

    /// The value of the metric whose line begins with `name`; 0 if there is none.
    fn count(&self, name: &str) -> u64 {
        let text = self.registry.render();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    fn dropped(&self, lane: &str, reason: &str) -> u64 {
        let labels = format!(r#"{{lane="{lane}",reason="{reason}"}}"#);
        self.count(&format!("gcache_raft_dropped_messages_total{labels}"))
    }

    async fn stop(&self) {
        assert!(self.shutdown.finish(PATIENCE).await, "tasks are left");
    }
}

/// Two nodes that know each other: 1 and 2.
fn pair() -> (Node, Node) {
    let (one, two) = (Node::start(1), Node::start(2));
    one.knows(&[(2, two.address)]);
    two.knows(&[(1, one.address)]);
    (one, two)
}

fn listing(id: u64, incarnation: u64, address: SocketAddr) -> Listing {
    Listing {
        node: NodeId(id),
        incarnation: Incarnation(incarnation),
        address: address.into(),
    }
}

fn envelope(from: u64, to: u64, message: impl Into<Bytes>) -> Envelope {
    Envelope {
        cluster: CLUSTER,
        from: NodeId(from),
        incarnation: Incarnation(1),
        to: NodeId(to),
        checkpoint: Some((64, 7)),
        message: message.into(),
    }
}

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i % 251) as u8).collect()
}

async fn in_time<T>(claim: &str, what: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, what).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {claim}"),
    }
}

/// Looks every few milliseconds until `look` holds.
async fn until(claim: &str, mut look: impl FnMut() -> bool) {
    let looking = async {
        while !look() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(claim, looking).await;
}

/// Forwards every connection to where it leads, and can be made not to.
#[derive(Clone)]
struct Wire {
    address: SocketAddr,
    /// Nothing gets through, either way.
    is_stalled: Arc<AtomicBool>,
    /// Nothing ever gets through by the connections made meanwhile.
    swallows_new: Arc<AtomicBool>,
    connections: mpsc::Sender<()>,
}

impl Wire {
    /// Connections end after `limit` bytes from the caller.
    async fn to(target: SocketAddr, limit: usize) -> (Self, mpsc::Receiver<()>) {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let (connections, made) = mpsc::channel(64);
        let wire = Self {
            address: listener.local_addr().unwrap(),
            is_stalled: Arc::default(),
            swallows_new: Arc::default(),
            connections,
        };
        let this = wire.clone();
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let _ = this.connections.try_send(());
                let mut wire = this.clone();
                if wire.swallows_new.load(Ordering::SeqCst) {
                    wire.is_stalled = Arc::new(AtomicBool::new(true));
                }
                tokio::spawn(wire.forward(caller, target, limit));
            }
        });
        (wire, made)
    }

    async fn forward(self, caller: TcpStream, target: SocketAddr, limit: usize) {
        let Ok(callee) = TcpStream::connect(target).await else {
            return;
        };
        let (mut caller, mut caller_out) = caller.into_split();
        let (mut callee, mut callee_out) = callee.into_split();
        let stalled = self.is_stalled.clone();
        let back = async move {
            let mut bytes = vec![0; 16 << 10];
            while let Ok(count @ 1..) = callee.read(&mut bytes).await {
                let is_stalled = stalled.load(Ordering::SeqCst);
                if !is_stalled && caller_out.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        };
        let there = async {
            let (mut bytes, mut total) = (vec![0; 16 << 10], 0);
            while let Ok(count @ 1..) = caller.read(&mut bytes).await {
                total += count;
                let is_stalled = self.is_stalled.load(Ordering::SeqCst);
                let is_over = total > limit;
                if is_over || !is_stalled && callee_out.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = back => {}
            () = there => {}
        }
    }
}
