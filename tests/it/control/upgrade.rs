//! A rolling upgrade: nothing is committed that an older node does not understand, and nobody older comes
//! once it is.

use nix::sys::signal::Signal::SIGTERM;

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::wait::until;

/// Makes a node say that it knows no command of a later version.
const OLD: (&str, &str) = ("GCACHE_SIMULATED_VERSION", "1");

#[tokio::test]
async fn what_needs_a_newer_version_waits_until_all_nodes_have_it() {
    let mut grown = Grown::new(3);
    grown.env = vec![OLD];
    for node in 0..3 {
        grown.run(node);
    }
    grown.front();
    grown.complete(3).await;
    grown.write("old.toml", &group("scores", "ttl = '60s'"));
    grown.write(
        "new.toml",
        &group("scores", "ttl = '60s'\non_isolated = 'refuse'"),
    );
    grown.json(&["group", "apply", "old.toml"]).await;
    grown.ready(0).await;

    for node in 0..3 {
        let refused = grown.operate(&["group", "apply", "new.toml"]).await;
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("upgrade all nodes first"),
            "{}",
            refused.stderr
        );
        let old = grown.nodes[node].take().expect("it runs");
        old.signal(SIGTERM);
        assert_eq!(old.ended().await.code, Some(0));
        let answer = grown.get(0, "/v1/scores/Tom").await;
        answer.assert_value("630");
        grown.env = Vec::new();
        grown.run(node);
        grown.complete(3).await;
    }
    until("all have said that they are newer", async || {
        let told = grown.json(&["cluster", "members"]).await;
        let members = told["members"].as_array().cloned().unwrap_or_default();
        let is_new = |member: &serde_json::Value| member["command_version"] == 2;
        if members.iter().all(is_new) {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    let applied = grown.json(&["group", "apply", "new.toml"]).await;
    assert_eq!(applied["revision"], 2);
    let shown = grown.json(&["group", "show", "scores"]).await;
    assert_eq!(shown["on_isolated"], "refuse");

    // Back again is not possible: whoever leads refuses it.
    if grown.leader().await == 2 {
        grown.json(&["cluster", "transfer", "n1"]).await;
    }
    let new = grown.nodes[2].take().expect("it runs");
    new.signal(SIGTERM);
    assert_eq!(new.ended().await.code, Some(0));
    grown.env = vec![OLD];
    grown.run(2);
    until("the leader's log tells of it", async || {
        let others = grown.nodes[..2].iter().flatten();
        let logs: String = others.map(|node| node.stderr()).collect();
        if logs.contains("knows commands up to version 1, and version 2 is in use") {
            Ok(())
        } else {
            Err(logs)
        }
    })
    .await;
    grown.get(0, "/v1/scores/Tom").await.assert_value("630");
}
