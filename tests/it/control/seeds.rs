//! Clusters that find themselves by seeds, whose groups come from the log.

use serde_json::json;

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::wait::until;

fn scores(rules: &str) -> String {
    group("scores", rules)
}

/// Waits until a frontend serves this.
async fn served(grown: &Grown, frontend: usize, path: &str, status: u16) {
    until(&format!("{path} is {status}"), async || {
        let answer = grown.get(frontend, path).await;
        if answer.status == status {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
}

#[tokio::test]
async fn groups_come_from_the_log_and_are_served() {
    let grown = Grown::start(3, 2).await;
    let answer = grown.get(0, "/v1/scores/Tom").await;
    answer.assert_problem(404, "no-such-group", &["scores"]);
    grown.write("groups.toml", &scores("ttl = '60s'"));

    let planned = grown.json(&["group", "plan", "groups.toml"]).await;
    let new = json!([{ "group": "scores", "change": "new" }]);
    assert_eq!(
        (&planned["groups"], &planned["is_applied"]),
        (&new, &json!(false))
    );
    let applied = grown
        .json(&["group", "apply", "groups.toml", "--note", "first"])
        .await;
    assert_eq!(
        (&applied["groups"], &applied["revision"]),
        (&new, &json!(1))
    );
    for frontend in [0, 1] {
        served(&grown, frontend, "/v1/scores/Tom", 200).await;
    }
    grown.get(1, "/v1/scores/Tom").await.assert_value("630");

    let again = grown.json(&["group", "apply", "groups.toml"]).await;
    assert_eq!(
        (&again["is_applied"], &again["revision"]),
        (&json!(false), &json!(1))
    );
    grown.write("groups.toml", &scores("ttl = '30s'"));
    let fresher = grown.json(&["group", "apply", "groups.toml"]).await;
    assert_eq!(fresher["groups"][0]["change"], "freshness");
    grown.write("other.toml", &group("teams", "ttl = '60s'"));
    let kept = grown.json(&["group", "apply", "other.toml"]).await;
    assert_eq!(
        kept["groups"][1],
        json!({ "group": "scores", "change": "kept" })
    );
    let listed = grown.json(&["group", "list"]).await;
    assert_eq!(listed["groups"][0]["ttl_ms"], 30_000);
    assert_eq!(listed["groups"][0]["generation"], 1);
    assert_eq!(listed["groups"][1]["id"], 2);

    let shown = grown.json(&["group", "show", "scores"]).await;
    assert_eq!((&shown["ttl"], &shown["id"]), (&json!("30s"), &json!(1)));

    let pruned = grown
        .json(&["group", "apply", "other.toml", "--prune"])
        .await;
    assert_eq!(pruned["groups"][1]["change"], "removed");
    served(&grown, 0, "/v1/scores/Tom", 404).await;

    let back = grown.json(&["group", "rollback", "1"]).await;
    assert_eq!(
        (&back["revision"], &back["is_applied"]),
        (&json!(5), &json!(true))
    );
    served(&grown, 0, "/v1/scores/Tom", 200).await;
    let listed = grown.json(&["group", "list"]).await;
    assert_eq!(listed["groups"][0]["ttl_ms"], 60_000);
    // It is another group of the same name: nothing of the first one is served.
    assert_eq!(listed["groups"][0]["id"], 3);
    let ended = grown.operate(&["group", "rollback", "9"]).await;
    assert!(ended.stderr.contains("[1, 2, 3, 4, 5]"), "{}", ended.stderr);
}

#[tokio::test]
async fn the_leadership_goes_where_an_operator_wants_it() {
    let grown = Grown::start(3, 0).await;
    let leader = grown.leader().await;
    let heir = format!("n{}", (leader + 1) % 3 + 1);
    let told = grown.json(&["cluster", "transfer", &heir]).await;
    assert_eq!(told["leader"], json!(heir));
    assert_eq!(
        grown.json(&["cluster", "status"]).await["leader"],
        json!(heir)
    );
    let ended = grown.operate(&["cluster", "transfer", "n9"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("no member \"n9\""),
        "{}",
        ended.stderr
    );

    // The standbys are shared out once nothing moves any more.
    until("all partitions have an owner and a standby", async || {
        let ring = grown.json(&["ring", "show"]).await;
        let members = ring["members"].as_array().expect("members").iter();
        let sum = |field: &str| {
            let each = members.clone().map(|member| member[field].as_u64());
            each.map(Option::unwrap_or_default).sum::<u64>()
        };
        match (sum("partitions"), sum("standby")) {
            (4096, 4096) => Ok(()),
            _ => Err(ring.to_string()),
        }
    })
    .await;
    let table = grown.operate(&["ring", "show"]).await.stdout;
    assert!(table.starts_with("NAME"), "{table}");
}

#[tokio::test]
async fn a_group_that_is_reset_is_loaded_again() {
    let grown = Grown::start(3, 1).await;
    grown.write("groups.toml", &scores("ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    served(&grown, 0, "/v1/scores/Tom", 200).await;
    let hit = grown.get(0, "/v1/scores/Tom").await;
    assert!(
        hit.header("cache-status")
            .unwrap_or_default()
            .contains("hit"),
        "{hit:?}"
    );
    let ended = grown.operate(&["group", "reset", "scores"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    until("the value is loaded again", async || {
        let answer = grown.get(0, "/v1/scores/Tom").await;
        if answer
            .header("cache-status")
            .unwrap_or_default()
            .contains("fwd=miss")
        {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    assert_eq!(
        grown.json(&["group", "list"]).await["groups"][0]["generation"],
        2
    );
    let ended = grown.operate(&["group", "reset", "nobody"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("nobody"), "{}", ended.stderr);
}

#[tokio::test]
async fn without_a_shared_directory_one_node_is_told_to_found() {
    let mut grown = Grown::new(3);
    for (node, data) in ["one", "two", "three"].into_iter().enumerate() {
        grown.run_in(data, node, &[]);
    }
    for node in 0..3 {
        grown.tells(node, "--bootstrap").await;
    }
    grown.kill(&[1]);
    grown.run_in("two", 1, &["--bootstrap"]);
    grown.complete(3).await;
    // Said again it founds nothing: there is a log, and a cluster.
    grown.kill(&[1]);
    grown.run_in("two", 1, &["--bootstrap"]);
    let status = grown.completed(3).await;
    assert_eq!(status["members"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_frontend_is_not_ready_before_it_holds_a_topology() {
    let mut grown = Grown::new(3);
    grown.front();
    until("the frontend says what it lacks", async || {
        let answer = grown.readiness(0).await?;
        if answer.status == 503 && answer.text().contains("topology: none yet") {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
    for node in [2, 0, 1] {
        grown.run(node);
    }
    grown.complete(3).await;
    grown.ready(0).await;
}

#[tokio::test]
async fn a_lost_leader_stops_no_read_and_writes_go_on_under_another() {
    let mut grown = Grown::start(3, 1).await;
    grown.write("groups.toml", &scores("ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    served(&grown, 0, "/v1/scores/Tom", 200).await;
    let leader = grown.leader().await;
    grown.kill(&[leader]);
    let mut keys = 0..;
    let mut read = async || {
        let key = keys.next().unwrap_or_default();
        let answer = grown.get(0, &format!("/v1/scores/key-{key}")).await;
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
    };
    for _ in 0..50 {
        read().await;
    }
    grown.write("other.toml", &group("teams", "ttl = '60s'"));
    let applied = grown.json(&["group", "apply", "other.toml"]).await;
    assert_eq!(applied["is_applied"], true);
    for _ in 0..50 {
        read().await;
    }
    let status = grown.json(&["cluster", "status"]).await;
    assert_eq!(status["quorum"], true);
    assert_ne!(status["leader"], json!(format!("n{}", leader + 1)));
    served(&grown, 0, "/v1/teams/Tom", 200).await;
}

#[tokio::test]
async fn a_leader_that_is_stopped_hands_over() {
    let mut grown = Grown::start(3, 0).await;
    let leader = grown.leader().await;
    let process = grown.nodes[leader].take().expect("it runs");
    process.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("leadership handed over"),
        "{}",
        ended.stderr
    );
    let status = grown.json(&["cluster", "status"]).await;
    assert_eq!(status["quorum"], true);
    assert_ne!(status["leader"], json!(format!("n{}", leader + 1)));
    grown.run(leader);
    grown.complete(3).await;
}

#[tokio::test]
async fn without_a_quorum_nothing_is_written_and_everything_is_read() {
    let mut grown = Grown::start(3, 1).await;
    grown.write("groups.toml", &scores("ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    served(&grown, 0, "/v1/scores/Tom", 200).await;
    for node in [0, 1] {
        grown.kill(&[node]);
    }
    grown.write("other.toml", &group("teams", "ttl = '60s'"));
    let ended = grown.operate(&["group", "apply", "other.toml"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no quorum"), "{}", ended.stderr);
    let status = grown.operate(&["cluster", "status", "--json"]).await;
    assert!(status.stdout.contains("\"quorum\": false"), "{status:?}");
    for key in ["Tom", "Ada", "nobody"] {
        let answer = grown.get(0, &format!("/v1/scores/{key}")).await;
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
    }
    // Who starts now begins with the newest that any node shows.
    grown.front();
    grown.ready(1).await;
    grown.get(1, "/v1/scores/Tom").await.assert_value("630");
    for node in [0, 1] {
        grown.run(node);
    }
    grown.complete(3).await;
    let applied = grown.json(&["group", "apply", "other.toml"]).await;
    assert_eq!(applied["revision"], 2);
}

#[tokio::test]
async fn an_operators_mistakes_are_told_and_change_nothing() {
    let grown = Grown::start(1, 0).await;
    grown.write(
        "wrong.toml",
        "[groups.Scores]\ntable = 'a b'\n[groups.x]\nttl = 1\n",
    );
    let ended = grown.operate(&["group", "apply", "wrong.toml"]).await;
    assert_eq!(ended.code, Some(2));
    for words in ["Scores", "a b", "groups.x.ttl"] {
        assert!(ended.stderr.contains(words), "{words} in {}", ended.stderr);
    }
    assert_eq!(grown.json(&["group", "list"]).await["groups"], json!([]));
    for (args, words) in [
        (&["group", "list", "--seeds", "a b"][..], "expected HOST"),
        (&["node", "--seeds", "127.0.0.1"], "--data-dir"),
        (
            &["frontend", "--seeds", "127.0.0.1", "--groups", "g"],
            "'--groups'",
        ),
    ] {
        let ended = grown.operate(args).await;
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{words} in {}", ended.stderr);
    }
    let ended = grown
        .operate(&["group", "list", "--seeds", "127.255.255.254"])
        .await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("127.255.255.254:8001"),
        "{}",
        ended.stderr
    );
}
