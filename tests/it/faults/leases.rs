//! Members that fall silent lose what they own, and get it back when they are heard again.

use std::net::SocketAddr;

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use serde_json::{Value, json};

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::http::{Answer, ask};
use crate::testkit::wait::until;

/// The keys of the rows that a [`Grown`] cluster has.
const KEYS: [&str; 3] = ["Tom", "Ada", "Bob"];

fn path(key: impl std::fmt::Display) -> String {
    format!("/v1/scores/{key}")
}

/// Three nodes and a frontend, which serve `scores`.
async fn serving() -> Grown {
    let grown = Grown::start(3, 1).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    grown
}

/// What the members are, by name.
async fn member(grown: &Grown, node: usize) -> Result<Value, String> {
    let ended = grown.operate(&["cluster", "status", "--json"]).await;
    let status: Value = serde_json::from_str(&ended.stdout).map_err(|_| ended.stderr)?;
    let name = json!(format!("n{}", node + 1));
    let members = status["members"].as_array().cloned().unwrap_or_default();
    let found = members.into_iter().find(|member| member["name"] == name);
    found.ok_or_else(|| status.to_string())
}

/// Waits until a node is of this status, and owns partitions or none.
async fn is(grown: &Grown, node: usize, status: &str, owns: bool) {
    until(&format!("node {node} is {status}"), async || {
        let member = member(grown, node).await?;
        let is_so = member["status"] == status && (member["partitions"].as_u64() > Some(0)) == owns;
        if is_so {
            Ok(())
        } else {
            Err(member.to_string())
        }
    })
    .await;
}

fn detail(answer: &Answer) -> Option<String> {
    let told = answer.header("cache-status")?;
    let detail = told.split("detail=").nth(1)?;
    Some(detail.to_owned())
}

/// Deletes many keys, so that every node owns some; those that were refused.
async fn refused_deletes(http: SocketAddr) -> Vec<Answer> {
    let mut refused = Vec::new();
    for key in 0..32 {
        let answer = ask(http, "DELETE", &path(key)).await;
        if answer.status != 204 {
            refused.push(answer);
        }
    }
    refused
}

async fn deletes_go_on(grown: &Grown) {
    until("every delete is acknowledged", async || {
        let refused = refused_deletes(grown.http(0)).await;
        if refused.is_empty() {
            Ok(())
        } else {
            Err(refused)
        }
    })
    .await;
}

#[tokio::test]
async fn a_founder_acts_at_once_and_its_answers_are_plain() {
    let grown = Grown::start(1, 1).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    // The command has returned, so the frontend knows the group.
    let answer = grown.get(0, &path("Tom")).await;
    answer.assert_value("630");
    assert_eq!(detail(&answer), None, "{answer:?}");
    assert_eq!(refused_deletes(grown.http(0)).await.len(), 0);
}

#[tokio::test]
async fn what_a_dead_member_owned_is_others_and_its_own_again_when_it_is_back() {
    let mut grown = serving().await;
    let victim = (grown.leader().await + 1) % 3;
    grown.kill(&[victim]);
    for key in 0..64 {
        let answer = grown.get(0, &path(key)).await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    is(&grown, victim, "down", false).await;
    deletes_go_on(&grown).await;
    // Its standbys own by now: nobody stands in for anybody.
    until("all answers are an owner's", async || {
        for key in 0..64 {
            let answer = grown.get(0, &path(key)).await;
            if detail(&answer).is_some() {
                return Err(answer);
            }
        }
        Ok(())
    })
    .await;
    grown.run(victim);
    is(&grown, victim, "up", true).await;
    deletes_go_on(&grown).await;
}

#[tokio::test]
async fn a_dead_leader_is_replaced_and_failed_over() {
    let mut grown = serving().await;
    let victim = grown.leader().await;
    grown.kill(&[victim]);
    for key in 0..64 {
        let answer = grown.get(0, &path(key)).await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    let reset = grown.json(&["group", "reset", "scores"]).await;
    assert_eq!(reset["group"], "scores");
    deletes_go_on(&grown).await;
    is(&grown, victim, "down", false).await;
}

#[tokio::test]
async fn a_frozen_member_is_replaced_and_comes_back_as_it_thaws() {
    let grown = serving().await;
    let victim = (grown.leader().await + 1) % 3;
    let process = grown.process(victim);
    process.signal(SIGSTOP);
    is(&grown, victim, "down", false).await;
    deletes_go_on(&grown).await;
    process.signal(SIGCONT);
    is(&grown, victim, "up", true).await;
    deletes_go_on(&grown).await;
    grown.complete(3).await;
}

#[tokio::test]
async fn without_a_quorum_the_rest_is_isolated_and_says_so() {
    let grown = serving().await;
    for key in KEYS {
        grown.get(0, &path(key)).await;
    }
    let frozen = [0, 1];
    for node in frozen {
        grown.process(node).signal(SIGSTOP);
    }
    until("the node that is left is isolated", async || {
        let mut details = Vec::new();
        for key in 0..32 {
            let answer = grown.get(0, &path(key)).await;
            assert_eq!(answer.status, 404, "{answer:?}");
            details.push(detail(&answer));
        }
        let is_isolated = |detail: &Option<String>| detail.as_deref() == Some("isolated");
        if details.iter().all(is_isolated) {
            Ok(())
        } else {
            Err(details)
        }
    })
    .await;
    grown.tells(2, "isolated").await;
    let refused = refused_deletes(grown.http(0)).await;
    assert_eq!(refused.len(), 32);
    for answer in refused {
        assert!(answer.status == 503 || answer.status == 504, "{answer:?}");
    }
    let ended = grown.operate(&["group", "reset", "scores"]).await;
    assert_eq!(ended.code, Some(1));
    // It may have reached a node that is frozen, and be carried out when that thaws.
    let is_unknown = ended.stderr.contains("outcome unknown");
    assert!(
        is_unknown || ended.stderr.contains("no quorum"),
        "{}",
        ended.stderr
    );
    for node in frozen {
        grown.process(node).signal(SIGCONT);
    }
    grown.complete(3).await;
    deletes_go_on(&grown).await;
    let groups = grown.json(&["group", "list"]).await;
    let generation = groups["groups"][0]["generation"].as_u64();
    assert!(
        generation == Some(1) || is_unknown && generation == Some(2),
        "{generation:?}"
    );
}
