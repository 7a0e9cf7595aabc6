//! Strangers at the ports of the control plane: each is told why not, and harms nobody.

use gcache::ids::NodeId;
use gcache::rpc::control_proto::enter_reply::Outcome;
use gcache::topology::commands::Command;
use prost::bytes::Bytes;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::harness::control::{Absent, Controlled};
use crate::testkit::http::{Connection, request};
use crate::testkit::wait::{in_time, until};

/// What a stranger sends of `gcache.raft.v1.Envelope`.
#[derive(Clone, prost::Message)]
struct Envelope {
    #[prost(bytes = "bytes", tag = "1")]
    cluster: Bytes,
    #[prost(uint64, tag = "2")]
    from: u64,
    #[prost(uint64, tag = "3")]
    incarnation: u64,
    #[prost(uint64, tag = "4")]
    to: u64,
    #[prost(bytes = "bytes", tag = "5")]
    message: Bytes,
}

/// `gcache.raft.v1.Nack`.
#[derive(Clone, prost::Message)]
struct Nack {
    #[prost(int32, tag = "1")]
    reason: i32,
}

const WRONG_CLUSTER: i32 = 1;
const UNACCEPTABLE: i32 = 5;

/// Sends one envelope, again and again, until something comes back: a refusal, or the stream's end.
async fn told(controlled: &Controlled, node: usize, envelope: Envelope) -> Result<i32, String> {
    let channel = Channel::from_shared(format!("http://{}", controlled.raft(node)));
    let channel = channel.expect("an address is a URL").connect().await;
    let mut client = Grpc::new(channel.expect("the node listens"));
    client.ready().await.expect("the connection is open");
    let codec = ProstCodec::<Envelope, Nack>::default();
    let path = http::uri::PathAndQuery::from_static("/gcache.raft.v1.Raft/Heartbeats");
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
    let stream = futures_util::stream::poll_fn(move |cx| {
        let envelope = envelope.clone();
        ticks.poll_tick(cx).map(|_| Some(envelope))
    });
    let answers = client
        .streaming(tonic::Request::new(stream), path, codec)
        .await;
    let mut answers = answers.expect("streams are taken").into_inner();
    let answer = in_time("a stranger is answered", answers.message()).await;
    match answer {
        Ok(nack) => Ok(nack.expect("a reason comes before the end").reason),
        Err(status) => Err(status.message().to_owned()),
    }
}

async fn refused(controlled: &Controlled, cluster: &[u8], command: &[u8]) -> String {
    match controlled.enter(0, cluster, command.to_vec()).await {
        Ok(Outcome::Refused(why)) | Err(why) => why,
        Ok(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_asks_for_what_is_not_his_is_told_why_not() {
    let controlled = Controlled::start(3, &[]).await;
    let before = controlled.settled().await;
    let cluster = before[0].cluster.to_vec();
    let join = Absent::default().next();
    let remove = Command::RemoveMember(NodeId(1)).encode();
    let other = [7; 16];
    for (cluster, command, words) in [
        (&cluster[..], &b"\xff\xff\xff\xff"[..], "malformed"),
        (&cluster, b"", "it has no version"),
        (&cluster, &remove, "neither a join nor a resume"),
        (&other, &join, "this node belongs to cluster"),
        (b"12345", &join, "16 bytes"),
    ] {
        let why = refused(&controlled, cluster, command).await;
        assert!(why.contains(words), "{why:?} for {cluster:?} {command:?}");
    }
    let oversized = vec![0; 5 << 20];
    let why = refused(&controlled, &cluster, &oversized).await;
    assert!(why.contains("too large"), "{why}");
    let after = controlled.settled().await;
    assert_eq!(before, after, "nothing has changed");
}

#[tokio::test]
async fn whoever_speaks_raft_and_is_no_member_is_told_why_not() {
    let controlled = Controlled::start(3, &[]).await;
    let before = controlled.settled().await;
    let of_another = Envelope {
        cluster: Bytes::from_static(&[7; 16]),
        from: 2,
        incarnation: 1,
        to: before[0].node,
        message: Bytes::from_static(b"\x08\x05"),
    };
    let answer = told(&controlled, 0, of_another.clone()).await;
    assert_eq!(answer, Ok(WRONG_CLUSTER));
    let garbage = Envelope {
        cluster: before[0].cluster.clone(),
        from: before[1].node,
        message: Bytes::from_static(b"\xff\xff\xff\xff"),
        ..of_another.clone()
    };
    assert_eq!(told(&controlled, 0, garbage).await, Ok(UNACCEPTABLE));
    let nobody = Envelope {
        cluster: Bytes::from_static(b"short"),
        ..of_another
    };
    let why = told(&controlled, 0, nobody).await.unwrap_err();
    assert!(why.contains("a cluster's id has 16 bytes, not 5"), "{why}");
    let counted = controlled.metric(0, "gcache_raft_refused_messages_total");
    assert!(counted.await >= 2.0);

    // What is not even HTTP/2 is hung up on.
    for words in [
        request("GET", "/", &[], b""),
        b"\x00garbage\xff".repeat(100),
    ] {
        let mut stranger = Connection::open(controlled.raft(0)).await.unwrap();
        stranger.send(&words).await.unwrap();
        // Closed or reset: either is an end.
        let _rest = in_time("it is hung up on", stranger.rest()).await;
    }

    let mut absent = Absent::default();
    controlled.commit(&mut absent).await;
    let after = until("the same leader leads", async || {
        let said = controlled.settled().await;
        if said[0].term == before[0].term {
            Ok(said)
        } else {
            Err(said)
        }
    })
    .await;
    Controlled::assert_kept(&after, &absent);
}
