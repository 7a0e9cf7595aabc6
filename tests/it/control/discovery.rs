//! Clusters whose seeds are a DNS name, which stands for all its addresses.

use crate::harness::grown::Grown;
use crate::harness::setup::group;
use crate::testkit::wait::until;

#[tokio::test]
async fn a_name_is_all_that_a_cluster_and_its_frontend_need() {
    let mut grown = Grown::named(3);
    grown.resolve(&[0, 1, 2]);
    for node in [2, 0, 1] {
        grown.run(node);
    }
    grown.front();
    grown.complete(3).await;
    grown.ready(0).await;
    grown.write("groups.toml", &group("scores", "ttl = '60s'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    until("the group is served", async || {
        let answer = grown.get(0, "/v1/scores/Tom").await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    grown.get(0, "/v1/scores/Tom").await.assert_value("630");
}

#[tokio::test]
async fn a_name_without_addresses_is_a_hint_that_is_missing() {
    let mut grown = Grown::named(3);
    grown.run(0);
    grown.front();
    grown.tells(0, "nodes.test:8001 has no address yet").await;
    until("the frontend runs without a topology", async || {
        let answer = grown.readiness(0).await?;
        if answer.text().contains("topology: none yet") {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
    grown.resolve(&[0]);
    grown.tells(0, "DNS names no other node").await;
    grown.resolve(&[0, 1, 2]);
    grown.run(1);
    grown.run(2);
    grown.complete(3).await;
    grown.ready(0).await;
}

#[tokio::test]
async fn nodes_that_dns_shows_alone_do_not_found_two_clusters() {
    let mut grown = Grown::named(3);
    for (node, data) in ["one", "two", "three"].into_iter().enumerate() {
        // The first answer that each gets has itself alone.
        grown.resolve(&[node]);
        grown.run_in(data, node, &[]);
        grown.tells(node, "DNS names no other node").await;
    }
    grown.resolve(&[0, 1, 2]);
    for node in 0..3 {
        grown.tells(node, "1 of 3 seeds are known to share").await;
    }
    grown.kill(&[1]);
    grown.run_in("two", 1, &["--bootstrap"]);
    grown.complete(3).await;
}
