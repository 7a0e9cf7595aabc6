//! HTTP as such: methods, health, pipelined requests, and heads that are none.

use crate::harness::cluster::Cluster;
use crate::testkit::http::{Connection, ask, ask_raw, get, request};
use crate::testkit::wait::PATIENCE;

const TOM: &str = "/v1/scores/Tom";

pub(super) async fn a_method_that_is_not_there_is_told_which_are(cluster: &Cluster) {
    for (method, path, allow) in [
        ("PUT", TOM, "GET, HEAD, DELETE"),
        ("POST", TOM, "GET, HEAD, DELETE"),
        ("GET", "/v1/scores", "POST"),
        ("POST", "/readyz", "GET, HEAD"),
    ] {
        let answer = ask(cluster.http(0), method, path).await;
        let told = (answer.status, answer.header("allow"));
        assert_eq!(told, (405, Some(allow)), "{method} {path}: {answer:?}");
        assert_eq!(answer.problem(), "method-not-allowed");
    }
}

pub(super) async fn every_process_tells_that_it_lives_and_is_ready(cluster: &Cluster) {
    let (http, frontend) = (cluster.http(0), cluster.frontend_admin(0));
    for server in [http, frontend, cluster.node_admin(0)] {
        for (path, text) in [
            ("/livez", "alive\n"),
            ("/readyz", "ready\n"),
            ("/health", "ready\n"),
        ] {
            get(server, path).await.assert_value(text);
        }
    }
    let metrics = get(frontend, "/metrics").await;
    assert!(
        metrics
            .text()
            .contains("gcache_pipeline_reachable_peers{peer=\"n1\"} 1"),
        "{}",
        metrics.text()
    );
    let openapi = get(http, "/openapi.json").await.json();
    for path in ["/v1/{group}/{key}", "/v1/{group}", "/readyz"] {
        assert!(openapi["paths"][path].is_object(), "{path} in {openapi}");
    }
}

pub(super) async fn pipelined_requests_are_answered_in_order(cluster: &Cluster) {
    let mut connection = Connection::open(cluster.http(0)).await.unwrap();
    let asked: Vec<u8> = (0..20)
        .flat_map(|row| request("GET", &format!("/v1/scores/key-{row}"), &[], b""))
        .collect();
    connection.send(&asked).await.unwrap();
    for row in 0..20 {
        let answer = connection.answer().await.unwrap();
        answer.assert_value(&format!("value-{row}"));
    }
}

pub(super) async fn an_answer_does_not_wait_for_the_rest_of_the_next_request(cluster: &Cluster) {
    let mut connection = Connection::open(cluster.http(0)).await.unwrap();
    let whole = request("GET", TOM, &[], b"");
    let (begun, rest) = whole.split_at(10);
    connection.send(&[&whole, begun].concat()).await.unwrap();
    let first = tokio::time::timeout(PATIENCE, connection.answer()).await;
    first
        .expect("the first is answered")
        .unwrap()
        .assert_value("630");
    connection.send(rest).await.unwrap();
    connection.answer().await.unwrap().assert_value("630");
}

pub(super) async fn a_head_that_is_no_http_is_refused_and_others_are_served(cluster: &Cluster) {
    let http = cluster.http(0);
    let many: String = (0..100)
        .map(|number| format!("x-{number}: 1\r\n"))
        .collect();
    let large = format!("x: {}\r\n", "a".repeat(20_000));
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        (
            "GET /v1/scores/T om HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(),
            400,
        ),
        (
            format!("GET {TOM} HTTP/1.1\r\nhost: test\r\n{many}\r\n"),
            431,
        ),
        (
            format!("GET {TOM} HTTP/1.1\r\nhost: test\r\n{large}\r\n"),
            431,
        ),
    ] {
        let answer = ask_raw(http, request.as_bytes()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        get(http, TOM).await.assert_value("630");
    }
}
