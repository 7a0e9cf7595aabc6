//! Messages between two nodes: order, lanes that do not wait for each other, sizes, refusals.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::super::proto::raft_server::{Raft, RaftServer};
use super::*;

#[tokio::test]
async fn messages_arrive_in_order_on_each_lane() {
    let (one, mut two) = pair();
    for number in 0..50 {
        one.send(Lane::Heartbeat, 2, format!("h{number}"));
        one.send(Lane::Append, 2, format!("a{number}"));
    }
    let mut all = Vec::new();
    for _ in 0..100 {
        all.push(two.next_text().await);
    }
    for lane in ["h", "a"] {
        let of_lane: Vec<_> = all.iter().filter(|text| text.starts_with(lane)).collect();
        let sent: Vec<_> = (0..50).map(|number| format!("{lane}{number}")).collect();
        assert!(of_lane.into_iter().eq(&sent), "{all:?}");
    }
    assert_eq!(
        two.count(r#"gcache_raft_received_messages_total{lane="append"}"#),
        50
    );
    assert_eq!(
        one.count(r#"gcache_raft_sent_messages_total{lane="heartbeat"}"#),
        50
    );
    assert_eq!(one.count(r#"gcache_raft_connects_total{lane="append"}"#), 1);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn an_envelope_arrives_as_it_was_sent() {
    let (one, mut two) = (Node::start(1), Node::start(2));
    let sent = envelope(1, 2, pattern(MAX_APPEND_BYTES));
    let (transport, there, envelope) = (one.transport.clone(), two.address, sent.clone());
    // As the driver does, which has a thread without a runtime.
    let driver = std::thread::spawn(move || {
        transport.set_addresses([listing(2, 1, there)]);
        transport.send(Lane::Append, envelope);
    });
    driver.join().unwrap();
    assert_eq!(two.next().await, sent);
}

/// Leaves appends unread, and passes heartbeats on.
struct Stalling {
    heartbeats: mpsc::UnboundedSender<Bytes>,
    unread: mpsc::UnboundedSender<Streaming<proto::Envelope>>,
}

type Nacks = Pin<Box<dyn Stream<Item = Result<proto::Nack, Status>> + Send>>;

#[tonic::async_trait]
impl Raft for Stalling {
    type HeartbeatsStream = Nacks;
    type AppendsStream = Nacks;

    async fn heartbeats(
        &self,
        request: Request<Streaming<proto::Envelope>>,
    ) -> Result<Response<Nacks>, Status> {
        let (mut inbound, heartbeats) = (request.into_inner(), self.heartbeats.clone());
        tokio::spawn(async move {
            while let Ok(Some(envelope)) = inbound.message().await {
                let _ = heartbeats.send(envelope.message);
            }
        });
        Ok(Response::new(Box::pin(futures_util::stream::pending())))
    }

    async fn appends(
        &self,
        request: Request<Streaming<proto::Envelope>>,
    ) -> Result<Response<Nacks>, Status> {
        self.unread.send(request.into_inner()).unwrap();
        Ok(Response::new(Box::pin(futures_util::stream::pending())))
    }

    async fn snapshot(
        &self,
        _: Request<Streaming<proto::SnapshotChunk>>,
    ) -> Result<Response<proto::SnapshotReply>, Status> {
        Err(Status::unavailable("no snapshots here"))
    }
}

#[tokio::test]
async fn a_full_append_queue_does_not_delay_heartbeats() {
    let listener = listen((LOOPBACK, 0).into(), "Raft", BACKLOG).unwrap();
    let address = listener.local_addr().unwrap();
    let (heartbeats, mut beats) = mpsc::unbounded_channel();
    let (unread, mut stalled) = mpsc::unbounded_channel();
    let service = RaftServer::new(Stalling { heartbeats, unread });
    let serving = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(crate::net::incoming(listener, 4));
    let server = tokio::spawn(serving);

    let mut one = Node::start(1);
    one.knows(&[(2, address)]);
    one.send(Lane::Append, 2, pattern(MAX_APPEND_BYTES));
    let _unread = in_time("a stream", stalled.recv()).await.unwrap();
    // More than the queue, the windows and the sockets take together.
    until("a full queue", || {
        one.send(Lane::Append, 2, pattern(MAX_APPEND_BYTES / 4));
        one.dropped("append", "queue-full") > 0
    })
    .await;
    assert_eq!(one.next_report().await, Report::Unreachable(NodeId(2)));
    for number in 0..20 {
        one.send(Lane::Heartbeat, 2, format!("{number}"));
        let beat = in_time("a heartbeat", beats.recv()).await.unwrap();
        assert_eq!(beat, number.to_string());
        one.send(Lane::Append, 2, pattern(MAX_APPEND_BYTES));
    }
    assert_eq!(one.dropped("heartbeat", "queue-full"), 0);
    server.abort();
}

#[tokio::test]
async fn a_message_too_large_is_lost_counted_and_reported() {
    let (mut one, mut two) = pair();
    one.send(Lane::Heartbeat, 2, pattern(MAX_HEARTBEAT_BYTES + 1));
    one.send(Lane::Append, 2, pattern(MAX_APPEND_BYTES + 1));
    one.send(Lane::Append, 2, "small");
    assert_eq!(two.next_text().await, "small");
    assert_eq!(one.next_report().await, Report::Unreachable(NodeId(2)));
    assert_eq!(one.dropped("heartbeat", "too-large"), 1);
    assert_eq!(one.dropped("append", "too-large"), 1);
}

#[tokio::test]
async fn a_full_inbox_loses_messages_and_not_the_stream() {
    let (one, mut two) = pair();
    two.is_full.store(true, Ordering::SeqCst);
    one.send(Lane::Append, 2, "lost");
    until("a loss", || two.dropped("append", "inbox-full") == 1).await;
    two.is_full.store(false, Ordering::SeqCst);
    one.send(Lane::Append, 2, "taken");
    assert_eq!(two.next_text().await, "taken");
    assert_eq!(one.count(r#"gcache_raft_connects_total{lane="append"}"#), 1);
}

#[tokio::test]
async fn a_refused_sender_learns_why_and_no_other_does() {
    let (mut one, mut two) = pair();
    let mut namesake = Node::start(1);
    namesake.knows(&[(2, two.address)]);
    one.send(Lane::Heartbeat, 2, "ours");
    two.next().await;
    let foreign = Envelope {
        cluster: ClusterId(0xbad),
        ..envelope(1, 2, "theirs")
    };
    namesake.transport.send(Lane::Append, foreign.clone());
    let sender = Sender::from(&two.next().await);
    assert_eq!(sender, Sender::from(&foreign));

    assert!(two.transport.refuse(sender, Refusal::WrongCluster));
    let refused = |refusal| Report::Refused {
        by: NodeId(2),
        refusal,
    };
    assert_eq!(namesake.next_report().await, refused(Refusal::WrongCluster));
    // The first thing that the other one hears is what it was sent itself.
    let ours = Sender::from(&envelope(1, 2, ""));
    assert!(two.transport.refuse(ours, Refusal::Removed));
    assert_eq!(one.next_report().await, refused(Refusal::Removed));
    let heard = r#"gcache_raft_refusals_total{side="heard",reason="removed"}"#;
    assert_eq!(one.count(heard), 1);

    let gone = Sender {
        incarnation: Incarnation(9),
        ..ours
    };
    assert!(!two.transport.refuse(gone, Refusal::StaleIncarnation));
}
