//! Which bytes and how many of them a key may have.

use gcache::client::key_url;

use crate::harness::cluster::Cluster;
use crate::harness::setup::group;
use crate::testkit::http::{Answer, ask, ask_raw, get, request};

/// A key in the longest form that a path can give it: every byte percent-encoded.
fn encoded(key: &[u8]) -> String {
    key.iter().map(|byte| format!("%{byte:02x}")).collect()
}

fn row(key: &str, value: &str) -> String {
    format!("{}\n", serde_json::json!({"k": key, "v": value}))
}

/// The rows that the claims ask for.
pub(super) fn rows() -> String {
    [
        row(&text(), "text"),
        row("a/b//c", "slashes"),
        row("/", "slash"),
        row("a b+c", "plus"),
        row("a/b", "1"),
        row("a%2Fb", "2"),
        row("A/b", "3"),
        row(&"k".repeat(512), "long"),
    ]
    .concat()
}

/// The groups that they ask.
pub(super) fn groups() -> String {
    let all = NAMES.iter().chain(&["malformed"]);
    all.map(|name| group(name, "ttl = '60s'")).collect()
}

/// What a group may be called.
const NAMES: [&str; 4] = ["a", "team-a", "team_b", "x-1_2"];

/// The embedded origin's rows are text; of the bytes that text cannot hold none is refused.
fn text() -> String {
    let ascii = (0..=127u8).map(char::from);
    ascii.chain(['é', '東', '🦀']).collect()
}

async fn ask_for(cluster: &Cluster, key: &str) -> Answer {
    get(cluster.http(0), &format!("/v1/scores/{key}")).await
}

pub(super) async fn a_key_may_hold_every_byte(cluster: &Cluster) {
    let text = encoded(text().as_bytes());
    for (key, value) in [
        (text.as_str(), "text"),
        ("a/b//c", "slashes"),
        ("a%2Fb%2f/c", "slashes"),
        ("/", "slash"),
        ("a%20b+c", "plus"),
    ] {
        let answer = ask_for(cluster, key).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, value),
            "{key}: {answer:?}"
        );
    }
    let all: Vec<u8> = (0..=255).collect();
    for _ in 0..2 {
        let answer = ask_for(cluster, &encoded(&all)).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (404, "no-such-key"),
            "{answer:?}"
        );
    }
}

pub(super) async fn keys_that_differ_in_one_byte_are_different_keys(cluster: &Cluster) {
    for (key, value) in [("a/b", "1"), ("a%252Fb", "2"), ("A/b", "3"), ("a%2Fb", "1")] {
        assert_eq!(ask_for(cluster, key).await.text(), value, "{key}");
    }
    assert_eq!(ask_for(cluster, "a/b/").await.status, 404);
    assert_eq!(ask_for(cluster, "a/b%00").await.status, 404);
}

pub(super) async fn a_key_may_have_512_bytes_and_no_more(cluster: &Cluster) {
    let longest = "k".repeat(512);
    for key in [longest.clone(), encoded(longest.as_bytes())] {
        assert_eq!(ask_for(cluster, &key).await.text(), "long");
    }
    let longer = "k".repeat(513);
    for (key, method) in [
        (longer.clone(), "GET"),
        (encoded(longer.as_bytes()), "GET"),
        (longer, "DELETE"),
    ] {
        let answer = ask(cluster.http(0), method, &format!("/v1/scores/{key}")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "bad-key"),
            "{answer:?}"
        );
        assert!(
            answer.text().contains("513 bytes; at most 512"),
            "{}",
            answer.text()
        );
    }
}

pub(super) async fn a_malformed_key_is_refused_with_what_is_wrong(cluster: &Cluster) {
    for (key, wrong) in [
        ("", "empty"),
        ("%", "percent-encoding at byte 0"),
        ("ab%4", "percent-encoding at byte 2"),
        ("a%zzb", "percent-encoding at byte 1"),
    ] {
        for method in ["GET", "DELETE"] {
            let request = request(method, &format!("/v1/malformed/{key}"), &[], b"");
            let answer = ask_raw(cluster.http(0), &request).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (400, "bad-key"),
                "{key}"
            );
            assert!(answer.text().contains(wrong), "{key}: {}", answer.text());
        }
    }
    assert_eq!(cluster.loaded_in("malformed").await, 0.0);
}

pub(super) async fn every_name_of_a_group_can_be_asked_for_also_by_the_commands(cluster: &Cluster) {
    let base = format!("http://{}", cluster.http(0));
    for name in NAMES {
        assert_eq!(
            get(cluster.http(0), &format!("/v1/{name}/Tom"))
                .await
                .text(),
            "630",
            "{name}"
        );
        let url = key_url(&base, name, b"Tom");
        let path = url.strip_prefix(&base).unwrap();
        let answer = get(cluster.http(0), path).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "630"),
            "{path}"
        );
    }
}
