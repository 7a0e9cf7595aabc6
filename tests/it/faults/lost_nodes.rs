//! What is left when more than one node is gone: the last resort, refused deletes, honest errors.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::cluster::Cluster;
use crate::harness::setup::Setup;
use crate::testkit::http::{ask, get};
use crate::testkit::wait::until;

const TOM: &str = "/v1/scores/Tom";

#[tokio::test]
async fn without_owner_and_standby_the_last_node_answers_and_does_not_store() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let [owner, standby] = [
        cluster.layout.owner("scores", "Tom"),
        cluster.layout.standby("scores", "Tom"),
    ];
    cluster.kill(&[owner, standby]);
    cluster.reached(1).await;
    for (load, http) in [1.0, 2.0].into_iter().zip(cluster.all_http()) {
        let answer = get(http, TOM).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "630"),
            "{answer:?}"
        );
        let status = answer.cache_status();
        assert!(status.starts_with("gcache; fwd=miss"), "{answer:?}");
        assert!(status.ends_with("; detail=last-resort"), "{answer:?}");
        assert!(!status.contains("stored"), "{answer:?}");
        assert_eq!(cluster.loaded_keys().await, load);
    }
}

#[tokio::test]
async fn nobody_stands_in_for_a_dead_owner_when_a_key_is_to_be_deleted() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let owner = cluster.layout.owner("scores", "Tom");
    get(cluster.http(0), TOM).await;
    cluster.kill(&[owner]);
    cluster.reached(2).await;
    for path in [TOM.to_owned(), format!("{TOM}?expire")] {
        let refused = ask(cluster.http(0), "DELETE", &path).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (503, "owner-unreachable")
        );
        assert_eq!(refused.header("retry-after"), Some("3"), "{refused:?}");
    }
    until("the standby owns it, and deletes", async || {
        let answer = ask(cluster.http(0), "DELETE", TOM).await;
        if answer.status == 204 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    cluster.restart_node(owner).await;
    cluster.reached(3).await;
    assert_eq!(ask(cluster.http(0), "DELETE", TOM).await.status, 204);
}

#[tokio::test]
async fn without_any_node_the_answer_is_503_at_once_until_one_is_back() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let http = cluster.http(0);
    get(http, TOM).await;
    cluster.kill(&[0, 1, 2]);
    until("the frontend is no longer ready", async || {
        let said = get(http, "/readyz").await;
        if said.status == 503 {
            assert_eq!(said.header("retry-after"), Some("1"));
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    let said = get(cluster.frontend_admin(0), "/readyz").await;
    assert_eq!(said.status, 503);
    assert!(
        said.text().contains("[-] nodes: none of 3 is reachable"),
        "{}",
        said.text()
    );
    assert_eq!(
        get(http, "/livez").await.status,
        200,
        "it is alive all the same"
    );
    // Long before the deadline of 10 s.
    let asked = Instant::now();
    let answer = get(http, TOM).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "owner-unreachable")
    );
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );

    for index in 0..3 {
        cluster.run(index);
    }
    // None of them is ready alone.
    cluster.reached(3).await;
    let answer = get(http, TOM).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "630"),
        "{answer:?}"
    );
}
