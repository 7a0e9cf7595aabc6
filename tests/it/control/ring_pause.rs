//! A ring that an operator has paused: whoever lives keeps what it owns, whoever dies is stood in for, and
//! afterwards everybody gets its share.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;
use serde_json::Value;

use crate::harness::grown::Grown;
use crate::harness::load::Load;
use crate::harness::metrics::sum;
use crate::harness::setup::group;
use crate::testkit::address::ADMIN;
use crate::testkit::wait::until;

/// How long a node may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Three nodes and a frontend, which serve `scores` and may not move anything.
async fn paused() -> Grown {
    let grown = Grown::start(3, 1).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    owns(&grown, &[("n1", 1366), ("n2", 1365), ("n3", 1365)]).await;
    let told = grown.json(&["ring", "pause"]).await;
    assert_eq!(
        (&told["paused"], &told["was_so"]),
        (&true.into(), &false.into())
    );
    grown
}

/// What every member owns and its status, by name.
async fn members(grown: &Grown) -> BTreeMap<String, (String, u64)> {
    let ring = grown.json(&["ring", "show"]).await;
    let members = ring["members"].as_array().cloned().unwrap_or_default();
    let of = |member: &Value| {
        let text = |field: &str| member[field].as_str().unwrap_or_default().to_owned();
        let owned = member["partitions"].as_u64().unwrap_or_default();
        (text("name"), (text("status"), owned))
    };
    members.iter().map(of).collect()
}

/// Waits until these members are up and own so much, to a partition: who gets the odd ones is not said.
async fn owns(grown: &Grown, wanted: &[(&str, u64)]) {
    until(&format!("{wanted:?} are owned"), async || {
        let members = members(grown).await;
        let is_so = wanted.iter().all(|(name, share)| {
            let member = members.get(*name);
            member.is_some_and(|(status, owned)| status == "up" && owned.abs_diff(*share) <= 1)
        });
        if is_so { Ok(()) } else { Err(members) }
    })
    .await;
}

/// Waits until a member has this status, and owns nothing.
async fn is_without(grown: &Grown, name: &str, status: &str) {
    until(
        &format!("{name} is {status} and owns nothing"),
        async || {
            let members = members(grown).await;
            let found = members.get(name).cloned().unwrap_or_default();
            let is_so = found == (status.to_owned(), 0);
            if is_so { Ok(()) } else { Err(members) }
        },
    )
    .await;
}

#[tokio::test]
async fn who_joins_owns_nothing_who_dies_is_stood_in_for_and_resume_gives_all_their_shares() {
    let mut grown = paused().await;
    let again = grown.operate(&["ring", "pause"]).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stdout.starts_with("already paused"), "{again:?}");
    let fourth = grown.another();
    grown.run(fourth);
    is_without(&grown, "n4", "up").await;

    let before = members(&grown).await;
    let load = Load::start(&[grown.http(0)]);
    grown.kill(&[1]);
    is_without(&grown, "n2", "down").await;
    load.go_on_for(1_000).await;
    load.stop().await.assert_none_failed();
    // Its standbys are among those who were there when it was given its share.
    let after = members(&grown).await;
    assert_eq!(after["n4"], ("up".into(), 0), "{after:?}");
    for name in ["n1", "n3"] {
        assert!(after[name].1 > before[name].1, "{before:?} {after:?}");
    }
    assert_eq!(after["n1"].1 + after["n3"].1, 4_096, "{after:?}");

    let removed = grown.operate(&["cluster", "remove", "n2"]).await;
    assert_eq!(removed.code, Some(1), "{removed:?}");
    assert!(removed.stderr.contains("gcache ring resume"), "{removed:?}");
    // Back, it is a member like the fourth.
    grown.run(1);
    is_without(&grown, "n2", "up").await;
    for args in [&["ring", "show"][..], &["ring", "plan", "--leave", "n1"]] {
        let shown = grown.operate(args).await;
        assert!(shown.stdout.contains("paused: nothing moves"), "{shown:?}");
        assert_eq!(grown.json(args).await["paused"], true);
    }
    assert_eq!(grown.json(&["cluster", "status"]).await["paused"], true);
    for host in &grown.hosts {
        let told = sum((*host, ADMIN).into(), "gcache_node_ring_paused_info", &[]).await;
        assert_eq!(told, 1.0, "{host}");
    }

    assert_eq!(members(&grown).await["n4"].1, 0);
    let resumed = grown.operate(&["ring", "resume"]).await;
    assert!(resumed.stdout.starts_with("resumed"), "{resumed:?}");
    let quarter = ["n1", "n2", "n3", "n4"].map(|name| (name, 1_024));
    owns(&grown, &quarter).await;
    let again = grown.json(&["ring", "resume"]).await;
    assert_eq!(
        (&again["paused"], &again["was_so"]),
        (&false.into(), &true.into())
    );
}

#[tokio::test]
async fn a_node_that_is_stopped_goes_without_handing_over_and_a_pause_outlives_all_nodes() {
    let mut grown = paused().await;
    let load = Load::start(&[grown.http(0)]);
    let stopped = grown.nodes[1].take().expect("it runs");
    stopped.signal(SIGTERM);
    let ended = stopped.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = "the ring is paused: not handing over";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    is_without(&grown, "n2", "down").await;
    load.go_on_for(1_000).await;
    load.stop().await.assert_none_failed();
    for node in [0, 2] {
        grown.kill(&[node]);
    }
    for node in 0..3 {
        grown.run(node);
    }
    // Before that there is nothing to show.
    until("one of them leads", async || {
        grown.agreed(PATIENCE).await.map(|_| ())
    })
    .await;
    is_without(&grown, "n2", "up").await;
    assert_eq!(grown.json(&["ring", "show"]).await["paused"], true);
    grown.json(&["ring", "resume"]).await;
    owns(&grown, &[("n1", 1366), ("n2", 1365), ("n3", 1365)]).await;
}
