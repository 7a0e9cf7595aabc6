//! `gcache ring explain` tells who answers for a key and what they hold of it, and touches nothing.

use serde_json::{Value, json};

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::http::try_ask;
use crate::testkit::wait::until;

async fn explained(grown: &Grown, key: &str) -> Value {
    grown.json(&["ring", "explain", "scores", key]).await
}

/// A cluster that serves the group `scores`, with a frontend.
async fn serving() -> Grown {
    let grown = Grown::start(3, 1).await;
    grown.write(
        "groups.toml",
        &group("scores", "ttl = '60s'\nttl_jitter = 0.0"),
    );
    grown.json(&["group", "apply", "groups.toml"]).await;
    until("the group is served", async || {
        let answer = grown.get(0, "/v1/scores/nobody").await;
        if answer.text().contains("no-such-key") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    grown
}

#[tokio::test]
async fn a_key_is_explained_before_and_after_it_is_cached() {
    let grown = serving().await;
    let before = explained(&grown, "Tom").await;
    assert_eq!(
        (
            &before["group"],
            &before["key"],
            &before["group_id"],
            &before["generation"]
        ),
        (&json!("scores"), &json!("Tom"), &json!(1), &json!(1))
    );
    assert_eq!(before["confirmed"], true);
    let [owner, standby] = [0, 1].map(|place| before["members"][place].clone());
    assert_eq!(
        (&owner["role"], &standby["role"]),
        (&json!("owner"), &json!("standby"))
    );
    assert_ne!(owner["name"], standby["name"]);
    for member in [&owner, &standby] {
        assert_eq!(
            (&member["reachable"], &member["cached"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(
            (&member["status"], &member["zone"]),
            (&json!("up"), &json!("default"))
        );
        assert_eq!(
            (&member["kind"], &member["how"]),
            (&json!(null), &json!(null))
        );
    }

    grown.get(0, "/v1/scores/Tom").await.assert_value("630");
    let after = explained(&grown, "Tom").await;
    let owner = &after["members"][0];
    let expected = json!({
        "cached": true, "kind": "value", "phase": "fresh", "bytes": 3, "stamps": "valid",
        "how": "loaded as owner", "tenure": after["tenure"], "generation": 1, "note": null,
    });
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(&owner[field], value, "{field} of {owner:#}");
    }
    let (age, left) = (owner["age_ms"].as_i64(), owner["ttl_left_ms"].as_i64());
    assert_eq!(age.zip(left).map(|(age, left)| age + left), Some(60_000));
    assert_eq!(after["members"][1]["cached"], false);

    let absent = explained(&grown, "nobody").await;
    assert_eq!(absent["members"][0]["kind"], "absent");
    // What is only looked at is still loaded by the first who asks for it.
    explained(&grown, "key-1").await;
    let missed = grown.get(0, "/v1/scores/key-1").await;
    let status = missed.header("cache-status").unwrap_or_default();
    assert!(status.contains("fwd=miss"), "{missed:?}");

    let deleted = try_ask(grown.http(0), "DELETE", "/v1/scores/Tom").await;
    assert_eq!(deleted.expect("the frontend answers").status, 204);
    assert_eq!(
        explained(&grown, "Tom").await["members"][0]["cached"],
        false
    );

    let text = grown
        .operate(&["ring", "explain", "scores", "nobody"])
        .await
        .stdout;
    for words in [
        "group       scores\n",
        "\nMEMBER ",
        "absent",
        "confirmed   true\n",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[tokio::test]
async fn a_key_is_bytes_and_what_is_no_key_or_group_is_told() {
    let grown = serving().await;
    grown.get(0, "/v1/scores/a%20b%2Fc%25").await;
    let told = explained(&grown, "a b/c%").await;
    assert_eq!(told["members"][0]["kind"], "absent", "{told:#}");

    let ended = grown.operate(&["ring", "explain", "nothing", "Tom"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("no group \"nothing\"; there is scores"),
        "{}",
        ended.stderr
    );
    for (key, words) in [
        ("", "this one has 0"),
        (&"x".repeat(513), "this one has 513"),
    ] {
        let ended = grown.operate(&["ring", "explain", "scores", key]).await;
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn without_a_leader_it_is_told_by_the_newest_that_any_node_shows() {
    let mut grown = serving().await;
    grown.get(0, "/v1/scores/Tom").await.assert_value("630");
    let before = explained(&grown, "Tom").await;
    let owner = before["members"][0]["id"].as_u64().expect("an id");
    let name = before["members"][0]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let own: usize = name[1..].parse::<usize>().expect("nodes are numbered") - 1;
    for node in (0..3).filter(|node| *node != own) {
        grown.kill(&[node]);
    }
    let alone = explained(&grown, "Tom").await;
    assert_eq!(alone["confirmed"], false);
    let [told, standby] = [0, 1].map(|place| &alone["members"][place]);
    assert_eq!(
        (&told["id"], &told["cached"]),
        (&json!(owner), &json!(true))
    );
    assert_eq!(
        (&standby["reachable"], &standby["cached"]),
        (&json!(false), &json!(null))
    );
    assert!(!standby["note"].is_null(), "{standby:#}");
}
