//! Nodes that start on an empty data directory become one cluster, whoever comes first.

use std::collections::BTreeSet;

use crate::harness::control::{Controlled, present};
use crate::harness::metrics;
use crate::testkit::wait::until;

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Asserts that all are members of the one cluster that the data directory belongs to, each under a name
/// and an id of its own, and that no log was set aside.
async fn assert_one(controlled: &Controlled) {
    let said = controlled.settled().await;
    let latch =
        std::fs::read_to_string(controlled.data[0].join("CLUSTER")).expect("one was founded");
    let latch = uuid::Uuid::parse_str(latch.trim()).expect("it holds an id");
    let mut ids = BTreeSet::new();
    for (node, status) in said.iter().enumerate() {
        assert_eq!(status.cluster, latch.as_bytes().as_slice(), "{status:#?}");
        assert!(ids.insert(status.node), "{said:#?}");
        let own = present(status)
            .into_iter()
            .find(|member| member.id == status.node);
        assert_eq!(
            own.map(|own| own.name.clone()),
            Some(format!("n{}", node + 1)),
            "{status:#?}"
        );
        assert_eq!(status.incarnation, 1, "{status:#?}");
    }
    assert_eq!(ids.last(), Some(&(said.len() as u64)), "{said:#?}");
    let kept = std::fs::read_dir(controlled.data[0].join("nodes")).expect("all have one");
    assert_eq!(kept.count(), said.len(), "no log was set aside");
}

#[tokio::test]
async fn three_nodes_started_at_once_are_one_cluster() {
    let controlled = Controlled::start(3, &[]).await;
    assert_one(&controlled).await;
    controlled.tells(0, "[+] raft: member ").await;
    for node in 0..3 {
        controlled.assert_serving(node).await;
    }
}

#[tokio::test]
async fn three_nodes_started_in_any_order_are_one_cluster() {
    for order in ORDERS {
        let mut controlled = Controlled::new(3, &[]);
        for node in order {
            controlled.run(node);
            until("it answers", async || controlled.status(node).await).await;
        }
        assert_one(&controlled).await;
    }
}

#[tokio::test]
async fn a_node_that_comes_late_joins_the_cluster_of_the_others() {
    let mut controlled = Controlled::new(3, &[]);
    controlled.run(2);
    // Alone it is no member, and nobody may be stopped in its favour.
    controlled.tells(2, "[-] raft: no cluster joined yet").await;
    controlled.tells(2, "no answer from 127.").await;
    controlled.assert_unready(2).await;
    controlled.logs(2, "reason=\"silent_seeds\"").await;
    let silent = ["reason=\"silent_seeds\""];
    let admin = controlled.node_admin(2);
    let told = metrics::sum(admin, "gcache_node_obstacle_info", &silent).await;
    assert!((told - 1.0).abs() < f64::EPSILON, "{told}");
    controlled.run(0);
    let leader = controlled.leader().await;
    let cluster = controlled.status(leader).await.unwrap().cluster;
    controlled.run(1);
    assert_one(&controlled).await;
    for node in 0..3 {
        controlled.assert_serving(node).await;
    }
    let told = metrics::sum(admin, "gcache_node_obstacle_info", &[]).await;
    assert!(told.abs() < f64::EPSILON, "{told}");
    assert_eq!(controlled.status(1).await.unwrap().cluster, cluster);
}

#[tokio::test]
async fn eight_founders_of_one_directory_are_one_cluster() {
    let controlled = Controlled::start(8, &[]).await;
    assert_one(&controlled).await;
}
