//! What comes to the port and is not from a well-behaved node: it harms nobody else.

use futures_util::stream;
use tonic::Code;
use tonic::transport::Channel;

use super::super::proto::raft_client::RaftClient;
use super::super::wire::{chunks, encode};
use super::*;

/// A client without our limits.
async fn client(node: &Node) -> RaftClient<Channel> {
    let client = RaftClient::connect(format!("http://{}", node.address));
    client.await.unwrap()
}

/// Sends appends on a stream of their own; says how the stream ended.
async fn appends(node: &Node, envelopes: Vec<proto::Envelope>) -> Option<Code> {
    let stream = client(node).await.appends(stream::iter(envelopes)).await;
    let mut answers = match stream {
        Ok(answers) => answers.into_inner(),
        Err(status) => return Some(status.code()),
    };
    match in_time("an end", answers.message()).await {
        Ok(None) => None,
        Ok(Some(nack)) => panic!("{nack:?}"),
        Err(status) => Some(status.code()),
    }
}

#[tokio::test]
async fn garbage_on_the_port_harms_nobody() {
    let (one, mut two) = pair();
    one.send(Lane::Append, 2, "before");
    assert_eq!(two.next_text().await, "before");
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        vec![0xff; 100_000],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense that is no frame".to_vec(),
    ] {
        let mut stream = TcpStream::connect(two.address).await.unwrap();
        // It may be cut off before it has said all.
        let _ = stream.write_all(&garbage).await;
        let mut rest = Vec::new();
        let _ = in_time("it is cut off", stream.read_to_end(&mut rest)).await;
    }
    let _silent = TcpStream::connect(two.address).await.unwrap();
    one.send(Lane::Append, 2, "after");
    assert_eq!(two.next_text().await, "after");
    assert_eq!(one.count(r#"gcache_raft_connects_total{lane="append"}"#), 1);
}

#[tokio::test]
async fn what_is_no_envelope_ends_its_stream() {
    let mut two = Node::start(2);
    let sound = || encode(envelope(1, 2, "sound"), None);
    let no_cluster = proto::Envelope {
        cluster: Bytes::from_static(b"abc"),
        ..sound()
    };
    let other_sender = proto::Envelope { from: 3, ..sound() };
    let other_addressee = proto::Envelope { to: 3, ..sound() };
    for wrong in [no_cluster, other_sender, other_addressee] {
        let ended = appends(&two, vec![sound(), wrong]).await;
        assert_eq!(ended, Some(Code::InvalidArgument));
        assert_eq!(two.next_text().await, "sound", "what came before counts");
    }
    assert_eq!(two.dropped("append", "malformed"), 3);
    assert_eq!(appends(&two, vec![sound()]).await, None);
    until("nobody is left among the senders", || {
        !two.transport
            .refuse(Sender::from(&envelope(1, 2, "")), Refusal::Removed)
    })
    .await;
}

#[tokio::test]
async fn an_envelope_too_large_is_refused_and_counted() {
    let (one, mut two) = pair();
    let huge = encode(envelope(1, 2, pattern(MAX_WIRE_BYTES)), None);
    assert_eq!(appends(&two, vec![huge]).await, Some(Code::OutOfRange));
    assert_eq!(two.dropped("append", "too-large"), 1);
    one.send(Lane::Append, 2, "small");
    assert_eq!(two.next_text().await, "small");
}

#[tokio::test]
async fn a_snapshot_that_does_not_add_up_is_refused() {
    let mut two = Node::start(2);
    let snapshot = || chunks(envelope(1, 2, pattern(3 * SNAPSHOT_CHUNK_BYTES)));
    let mut claims_more: Vec<_> = snapshot().collect();
    claims_more[0].total_bytes = MAX_SNAPSHOT_BYTES as u64 + 1;
    let short = snapshot().take(2).collect();
    let headless = snapshot().skip(1).collect();
    for (wrong, code) in [
        (claims_more, Code::OutOfRange),
        (short, Code::DataLoss),
        (headless, Code::InvalidArgument),
        (Vec::new(), Code::InvalidArgument),
    ] {
        let sent = client(&two).await.snapshot(stream::iter(wrong)).await;
        assert_eq!(sent.unwrap_err().code(), code);
    }
    assert!(two.received.try_recv().is_err());
    let endless = chunks(envelope(1, 2, pattern(SNAPSHOT_CHUNK_BYTES))).cycle_data();
    let sent = client(&two).await.snapshot(stream::iter(endless)).await;
    assert_eq!(sent.unwrap_err().code(), Code::OutOfRange);
}

/// Goes on for ever.
trait CycleData {
    fn cycle_data(self) -> impl Iterator<Item = proto::SnapshotChunk> + Send + 'static;
}

impl<I: Iterator<Item = proto::SnapshotChunk> + Send + 'static> CycleData for I {
    fn cycle_data(self) -> impl Iterator<Item = proto::SnapshotChunk> + Send + 'static {
        self.chain(std::iter::repeat_with(|| proto::SnapshotChunk {
            data: pattern(SNAPSHOT_CHUNK_BYTES),
            ..Default::default()
        }))
    }
}

#[tokio::test]
async fn only_so_many_snapshots_are_received_at_once() {
    let two = Node::start(2);
    let stalled = || stream::pending::<proto::SnapshotChunk>();
    let mut open = Vec::new();
    let mut refused = None;
    while refused.is_none() {
        let mut client = client(&two).await;
        let mut call = Box::pin(async move { client.snapshot(stalled()).await });
        // One that is taken stays open.
        match timeout(Duration::from_millis(200), &mut call).await {
            Ok(answer) => refused = Some(answer.unwrap_err().code()),
            Err(_) => open.push(call),
        }
        assert!(open.len() < 20, "no bound");
    }
    assert_eq!(refused, Some(Code::ResourceExhausted));
}
