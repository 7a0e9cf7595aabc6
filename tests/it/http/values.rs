//! Values: loaded once, cached, validated, deleted, and missing. Each claim has a group of its own, which is cold.

use crate::harness::cluster::Cluster;
use crate::testkit::http::{Connection, ask, get, request};
use crate::testkit::wait::until;

pub(super) async fn a_value_is_loaded_once_and_then_served_by_both_frontends(cluster: &Cluster) {
    const TOM: &str = "/v1/once/Tom";
    let first = get(cluster.http(0), TOM).await;
    first.assert_value("630");
    assert!(
        first.cache_status().starts_with("gcache; fwd=miss; ttl="),
        "{first:?}"
    );
    assert!(first.cache_status().ends_with("; stored"), "{first:?}");
    assert_eq!(first.header("content-type"), Some("text/plain"));
    assert_eq!(first.header("age"), Some("0"));
    for http in cluster.all_http() {
        let again = get(http, TOM).await;
        again.assert_value("630");
        assert!(
            again.cache_status().starts_with("gcache; hit; ttl="),
            "{again:?}"
        );
        assert_eq!(again.header("etag"), first.header("etag"));
    }
    assert_eq!(cluster.loaded_in("once").await, 1.0);
}

pub(super) async fn a_cold_key_asked_of_both_frontends_at_once_is_one_load(cluster: &Cluster) {
    const TOM: &str = "/v1/cold/Tom";
    let [one, other] = [cluster.http(0), cluster.http(1)];
    let (one, other) = tokio::join!(get(one, TOM), get(other, TOM));
    one.assert_value("630");
    other.assert_value("630");
    let joined = [&one, &other].map(|answer| answer.cache_status().contains("; collapsed"));
    assert!(
        joined[0] != joined[1],
        "one leads and one joins: {one:?} {other:?}"
    );
    assert_eq!(cluster.loaded_in("cold").await, 1.0);
}

pub(super) async fn a_deleted_key_is_loaded_again(cluster: &Cluster) {
    const TOM: &str = "/v1/deleted/Tom";
    get(cluster.http(0), TOM).await;
    let deleted = ask(cluster.http(1), "DELETE", TOM).await;
    assert_eq!(
        (deleted.status, deleted.body.len()),
        (204, 0),
        "{deleted:?}"
    );
    let next = get(cluster.http(0), TOM).await;
    next.assert_value("630");
    assert!(next.cache_status().contains("fwd=miss"), "{next:?}");
    assert_eq!(cluster.loaded_in("deleted").await, 2.0);
    let absent = ask(cluster.http(0), "DELETE", "/v1/deleted/never-asked").await;
    assert_eq!(
        absent.status, 204,
        "deleting what is not there is no failure: {absent:?}"
    );
}

pub(super) async fn a_delete_while_a_load_runs_keeps_its_result_out_of_the_cache(
    cluster: &Cluster,
) {
    const TOM: &str = "/v1/overtaken/Tom";
    let http = cluster.http(0);
    let early = tokio::spawn(async move { get(http, TOM).await });
    until("the load has begun", async || {
        let calls = cluster.calls_in("overtaken").await;
        if calls > 0.0 { Ok(()) } else { Err(calls) }
    })
    .await;
    assert_eq!(ask(cluster.http(1), "DELETE", TOM).await.status, 204);
    let late = get(cluster.http(1), TOM).await;
    let early = early.await.unwrap();
    early.assert_value("630");
    assert!(!early.cache_status().contains("stored"), "{early:?}");
    late.assert_value("630");
    assert!(
        !late.cache_status().contains("collapsed"),
        "it joined the load from before: {late:?}"
    );
    assert!(late.cache_status().ends_with("stored"), "{late:?}");
    assert_eq!(cluster.loaded_in("overtaken").await, 2.0);
}

pub(super) async fn an_expired_key_is_served_stale_while_it_is_refreshed(cluster: &Cluster) {
    const TOM: &str = "/v1/stale/Tom";
    let http = cluster.http(0);
    get(http, TOM).await;
    assert_eq!(
        ask(http, "DELETE", &format!("{TOM}?expire")).await.status,
        204
    );
    let stale = get(http, TOM).await;
    stale.assert_value("630");
    assert!(
        stale.cache_status().starts_with("gcache; hit; ttl=-"),
        "{stale:?}"
    );
    let wrong = ask(http, "DELETE", &format!("{TOM}?exprie")).await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (400, "bad-query"));
}

pub(super) async fn head_tells_of_the_value_without_it(cluster: &Cluster) {
    const TOM: &str = "/v1/head/Tom";
    let mut connection = Connection::open(cluster.http(0)).await.unwrap();
    let head = connection.ask("HEAD", TOM).await.unwrap();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("3")),
        "{head:?}"
    );
    // On the same connection: a body after the head would be taken for this answer.
    let value = connection.ask("GET", TOM).await.unwrap();
    value.assert_value("630");
    assert_eq!(value.header("etag"), head.header("etag"));
    let missing = connection.ask("HEAD", "/v1/head/nobody").await.unwrap();
    assert_eq!(missing.status, 404, "{missing:?}");
    let answer = connection.ask("GET", TOM).await.unwrap();
    answer.assert_value("630");
}

pub(super) async fn a_known_etag_is_answered_304_without_a_body(cluster: &Cluster) {
    const TOM: &str = "/v1/etag/Tom";
    let http = cluster.http(0);
    let etag = get(http, TOM)
        .await
        .header("etag")
        .map(str::to_owned)
        .unwrap();
    let mut connection = Connection::open(http).await.unwrap();
    for known in [etag.clone(), format!("\"other\", W/{etag}"), "*".into()] {
        let headers = [("if-none-match", known.as_str())];
        connection
            .send(&request("GET", TOM, &headers, b""))
            .await
            .unwrap();
        let answer = connection.answer().await.unwrap();
        assert_eq!(
            (answer.status, answer.header("etag")),
            (304, Some(etag.as_str())),
            "{known}"
        );
    }
    connection
        .send(&request("GET", TOM, &[("if-none-match", "\"other\"")], b""))
        .await
        .unwrap();
    connection.answer().await.unwrap().assert_value("630");
}

pub(super) async fn what_is_missing_says_what_it_is(cluster: &Cluster) {
    let http = cluster.http(0);
    for (path, problem) in [
        ("/v1/missing/nobody", "no-such-key"),
        ("/v1/unknown/Tom", "no-such-group"),
        ("/v1/unknown", "no-such-group"),
        ("/v1", "no-such-path"),
        ("/", "no-such-path"),
    ] {
        let answer = get(http, path).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (404, problem),
            "{path}"
        );
    }
    let again = get(http, "/v1/missing/nobody").await;
    assert_eq!(again.status, 404);
    assert!(
        again.cache_status().contains("hit"),
        "\"no such key\" is cached: {again:?}"
    );
    assert_eq!(cluster.loaded_in("missing").await, 1.0);
}
