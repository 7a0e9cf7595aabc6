//! What a node offers to any gRPC client: look-ups, health and reflection.

use gcache::rpc::proto::cache_client::CacheClient;
use gcache::rpc::proto::{Call, GetReply, GetRequest, PipelineRequest, Via};
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::cluster::Cluster;
use crate::harness::grpc::connect;
use crate::harness::setup::Setup;
use crate::testkit::http::get;
use crate::testkit::wait::in_time;

async fn look_up(
    cluster: &Cluster,
    node: usize,
    group: &str,
    key: &[u8],
) -> Result<GetReply, Status> {
    let request = GetRequest {
        group: group.into(),
        key: key.to_vec().into(),
    };
    let mut client = CacheClient::new(connect(cluster, node).await);
    client.get(request).await.map(tonic::Response::into_inner)
}

pub(super) async fn only_its_owner_answers_a_look_up_and_the_others_say_by_which_epoch(
    cluster: &Cluster,
) {
    let owner = cluster.layout.owner("unary", "Tom");
    for node in 0..3 {
        let answer = look_up(cluster, node, "unary", b"Tom").await;
        if node == owner {
            let reply = answer.unwrap();
            assert_eq!(
                (&reply.value[..], reply.via()),
                (&b"630"[..], Via::Miss),
                "{reply:?}"
            );
            assert!(reply.stored, "{reply:?}");
        } else {
            let refusal = answer.unwrap_err();
            assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal:?}");
            assert_eq!(
                refusal.metadata().get("gcache-epoch").unwrap(),
                &cluster.layout.epoch().to_string(),
                "{refusal:?}"
            );
        }
    }
    let hit = look_up(cluster, owner, "unary", b"Tom").await.unwrap();
    assert_eq!(hit.via(), Via::Hit, "{hit:?}");
}

pub(super) async fn a_look_up_that_cannot_have_a_value_says_why(cluster: &Cluster) {
    let long = [b'k'; 513];
    for (group, key, code) in [
        ("scores", &b"nobody"[..], Code::NotFound),
        ("unknown", b"Tom", Code::NotFound),
        ("scores", &long, Code::InvalidArgument),
        ("scores", b"", Code::InvalidArgument),
    ] {
        let refusal = look_up(cluster, 0, group, key).await.unwrap_err();
        assert_eq!(
            refusal.code(),
            code,
            "{group} {} bytes: {refusal:?}",
            key.len()
        );
    }
}

pub(super) async fn a_node_tells_its_health_and_its_services(cluster: &Cluster) {
    let channel = connect(cluster, 0).await;
    for service in ["", "gcache.v1.Cache"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let health = HealthClient::new(channel.clone())
            .check(request)
            .await
            .unwrap();
        assert_eq!(
            health.into_inner().status(),
            ServingStatus::Serving,
            "{service:?}"
        );
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let asked = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap();
    let reply = asked.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = reply.message_response else {
        panic!("no list of services: {reply:?}");
    };
    let names: Vec<_> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for service in ["gcache.v1.Cache", "grpc.health.v1.Health"] {
        assert!(names.contains(&service), "{service} in {names:?}");
    }
}

pub(super) async fn a_malformed_message_ends_its_own_pipeline_and_no_other(cluster: &Cluster) {
    let call = Call {
        id: 1,
        group: 1,
        key_bytes: 100,
        ..Call::default()
    };
    let malformed = PipelineRequest {
        ping: 0,
        calls: vec![call],
        keys: (&b"short"[..]).into(),
    };
    let mut client = CacheClient::new(connect(cluster, 0).await);
    // The caller's end stays open: only the node can end the stream.
    let requests = tokio_stream::once(malformed).chain(tokio_stream::pending());
    let mut replies = client.pipeline(requests).await.unwrap().into_inner();
    let end = in_time("the node ends the stream", replies.message()).await;
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
    let answer = get(cluster.http(0), "/v1/scores/Tom").await;
    assert_eq!(answer.text(), "630", "{answer:?}");
}

#[tokio::test]
async fn a_node_shows_that_it_digests_misses_before_they_are_loaded() {
    let cluster = Cluster::start(Setup {
        nodes: 1,
        frontends: 0,
        ..Setup::with(&["origin.memory_hang_ratio=1.0"])
    })
    .await;
    let call = Call {
        group: 1,
        key_bytes: 3,
        ..Call::default()
    };
    let request = PipelineRequest {
        ping: 0,
        calls: vec![call],
        keys: (&b"Tom"[..]).into(),
    };
    let mut client = CacheClient::new(connect(&cluster, 0).await);
    let requests = tokio_stream::once(request).chain(tokio_stream::pending());
    let mut replies = client.pipeline(requests).await.unwrap().into_inner();
    let first = in_time("the node shows life", replies.message()).await;
    let first = first.unwrap().unwrap();
    assert_eq!((first.pong, first.answers.len()), (0, 0), "{first:?}");
}

pub(super) async fn a_ping_is_answered_ahead_of_the_calls_it_came_with(cluster: &Cluster) {
    let call = Call {
        id: 7,
        group: 1,
        key_bytes: 5,
        ..Call::default()
    };
    let request = PipelineRequest {
        ping: 42,
        calls: vec![call],
        keys: (&b"key-1"[..]).into(),
    };
    let mut client = CacheClient::new(connect(cluster, 0).await);
    let requests = tokio_stream::once(request).chain(tokio_stream::pending());
    let mut replies = client.pipeline(requests).await.unwrap().into_inner();
    let first = in_time("the ping is answered", replies.message())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((first.pong, first.answers.len()), (42, 0), "{first:?}");
    let mut second = first;
    // Messages without answers are signs of life.
    while second.answers.is_empty() {
        let next = in_time("the call is answered", replies.message()).await;
        second = next.unwrap().unwrap();
    }
    assert_eq!(
        (second.answers[0].id, &second.values[..]),
        (7, &b"value-1"[..]),
        "{second:?}"
    );
}
