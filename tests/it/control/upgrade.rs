//! A rolling upgrade: nothing is committed that an older node does not understand, nobody older comes once it is, and
//! until an operator finalizes it every node can go back to the oldest release.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;
use tokio::time::Instant;

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::harness::versions::{Versions, rows};
use crate::testkit::postgres::Postgres;
use crate::testkit::process::{GCACHE, oldest_release};
use crate::testkit::wait::until;

/// How long the two releases run side by side.
const MIXED: Duration = Duration::from_secs(60);

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
        let is_new = |member: &serde_json::Value| member["command_version"] == 3;
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

/// Ends a node in order and starts it with this executable.
async fn start_as(grown: &mut Grown, node: usize, executable: &Path) {
    let before = grown.nodes[node].take().expect("it runs");
    before.signal(SIGTERM);
    let ended = before.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    grown.executable = executable.into();
    grown.run(node);
    grown.complete(3).await;
}

#[tokio::test]
async fn the_oldest_release_and_this_one_go_forth_and_back_under_load_until_it_is_finalized() {
    let (old, new) = (oldest_release(), PathBuf::from(GCACHE));
    let folder = tempfile::tempdir().expect("the machine has room for files");
    let postgres = Postgres::start(folder.path(), &[], None);
    postgres.sql(&rows());
    let mut grown = Grown::new(3);
    grown.origin = postgres.url().to_owned();
    grown.executable.clone_from(&old);
    for node in 0..3 {
        grown.run(node);
    }
    grown.front();
    grown.executable.clone_from(&new);
    grown.front();
    grown.complete(3).await;
    let versions = Versions::over(&grown, &postgres).await;
    versions.go_on_for(2).await;

    for node in [0, 1] {
        start_as(&mut grown, node, &new).await;
    }
    let refused = grown.operate(&["cluster", "finalize"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("n3 knows up to 2"),
        "{}",
        refused.stderr
    );
    let since = Instant::now();
    while since.elapsed() < MIXED {
        versions.go_on_for(1).await;
    }
    for node in [1, 0] {
        start_as(&mut grown, node, &old).await;
    }
    versions.go_on_for(2).await;
    for node in 0..3 {
        start_as(&mut grown, node, &new).await;
    }
    until("all have said that they are newer", async || {
        let planned = grown.operate(&["cluster", "finalize", "--dry-run"]).await;
        match planned.stdout.contains("every member knows version 3") {
            true => Ok(()),
            false => Err(planned),
        }
    })
    .await;
    let finalized = grown.json(&["cluster", "finalize"]).await;
    assert_eq!(finalized["version"], 3);
    assert_eq!(finalized["was_so"], false);
    let again = grown.json(&["cluster", "finalize"]).await;
    assert_eq!(again["was_so"], true);
    versions.go_on_for(2).await;
    versions.assert_kept().await;

    // Back again is not possible, and nothing is lost by trying.
    let newest = grown.nodes[2].take().expect("it runs");
    newest.signal(SIGTERM);
    assert_eq!(newest.ended().await.code, Some(0));
    grown.executable = old;
    grown.run(2);
    let refused = grown.nodes[2].take().expect("it was started");
    until("the older executable is refused", async || {
        let log = refused.stderr();
        let words = ["version 3 is in use", "up to 2", "control plane ended"];
        match words.into_iter().all(|words| log.contains(words)) {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    // What it met was an entry and no snapshot: it serves on without a control plane until it is stopped.
    refused.signal(SIGTERM);
    let _ended = refused.ended().await;
    grown.executable = new;
    grown.run(2);
    grown.complete(3).await;
}
