//! Clients that are slow, silent or many do not keep others from being served.

use std::io;
use std::time::Duration;

use crate::harness::cluster::Cluster;
use crate::harness::metrics;
use crate::harness::setup::Setup;
use crate::testkit::http::{Connection, get};
use crate::testkit::wait::{in_time, until};

const TOM: &str = "/v1/scores/Tom";

/// The time between two bytes of a slow client.
const PACE: Duration = Duration::from_millis(20);

/// Sends a request's head byte by byte until the server has had enough.
async fn trickle(cluster: &Cluster) -> io::Result<()> {
    let mut connection = Connection::open(cluster.http(0)).await?;
    connection
        .send(b"GET /v1/scores/Tom HTTP/1.1\r\nx: ")
        .await?;
    loop {
        connection.send(b"a").await?;
        match tokio::time::timeout(PACE, connection.rest()).await {
            Ok(Ok(rest)) if rest.is_empty() => return Ok(()),
            Ok(Ok(rest)) => panic!("answered with {:?}", String::from_utf8_lossy(&rest)),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
}

pub(super) async fn a_client_that_trickles_its_head_is_closed_while_others_are_served(
    cluster: &Cluster,
) {
    let mut other = Connection::open(cluster.http(0)).await.unwrap();
    let mut slow = std::pin::pin!(trickle(cluster));
    let mut served = 0;
    let closed = in_time("the slow client is closed", async {
        loop {
            tokio::select! {
                closed = &mut slow => break closed,
                answer = other.ask("GET", TOM) => {
                    assert_eq!(answer.expect("others are served").text(), "630");
                    served += 1;
                }
            }
        }
    });
    // An end and a reset both close it; which of them depends on what was in flight.
    let _closed_either_way = closed.await;
    assert!(served > 0);
    assert_eq!(other.ask("GET", TOM).await.unwrap().text(), "630");
}

pub(super) async fn a_silent_connection_is_closed_after_the_idle_time_and_hurts_nobody(
    cluster: &Cluster,
) {
    let http = cluster.http(0);
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(Connection::open(http).await.unwrap());
    }
    let mut half = Connection::open(http).await.unwrap();
    half.send(b"GET /v1/scores/T").await.unwrap();
    assert_eq!(get(http, TOM).await.text(), "630");
    for mut connection in silent {
        let rest = in_time("a silent connection is closed", connection.rest()).await;
        assert_eq!(rest.unwrap(), b"", "closed without a word");
    }
}

#[tokio::test]
async fn a_kept_connection_serves_again_after_a_pause_shorter_than_the_idle_time() {
    // A head has far less time than an idle connection: the time for a head must not begin before it.
    let set = ["frontend.header_timeout=100ms", "frontend.idle_timeout=1h"];
    let cluster = Cluster::start(Setup {
        nodes: 1,
        frontends: 1,
        ..Setup::with(&set)
    })
    .await;
    let mut connection = Connection::open(cluster.http(0)).await.unwrap();
    assert_eq!(connection.ask("GET", TOM).await.unwrap().text(), "630");
    let pause = Duration::from_millis(300);
    let closed = tokio::time::timeout(pause, connection.rest()).await;
    assert!(closed.is_err(), "closed while idle: {closed:?}");
    assert_eq!(connection.ask("GET", TOM).await.unwrap().text(), "630");
}

pub(super) async fn clients_that_leave_without_reading_give_their_places_back(cluster: &Cluster) {
    let http = cluster.http(0);
    for _ in 0..100 {
        let mut leaving = Connection::open(http).await.unwrap();
        leaving
            .send(b"GET /v1/scores/Tom HTTP/1.1\r\nhost: test\r\n\r\n")
            .await
            .unwrap();
    }
    assert_eq!(get(http, TOM).await.text(), "630");
    until("no connection is open", async || {
        match metrics::sum(
            cluster.frontend_admin(0),
            "gcache_frontend_connections",
            &[],
        )
        .await
        {
            0.0 => Ok(()),
            open => Err(open),
        }
    })
    .await;
}
