//! Peers that are away, come back, move, fall silent, or are nobody's peer any more.

use super::*;

/// An address where nobody listens.
fn nowhere() -> SocketAddr {
    let listener = listen((LOOPBACK, 0).into(), "Raft", BACKLOG).unwrap();
    listener.local_addr().unwrap()
}

/// Sends until something of it arrives.
async fn until_heard(from: &Node, to: &mut Node) {
    until("a message", || {
        from.send(Lane::Append, to.id.0, "a");
        to.received.try_recv().is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_down_is_reported_and_found_when_it_is_back() {
    let (mut one, address) = (Node::start(1), nowhere());
    one.knows(&[(2, address)]);
    one.send(Lane::Heartbeat, 2, "a");
    assert_eq!(one.next_report().await, Report::Unreachable(NodeId(2)));
    assert_eq!(one.dropped("heartbeat", "unreachable"), 1);

    let mut two = Node::start_at(2, address);
    until_heard(&one, &mut two).await;
    two.stop().await;
    drop(two);
    let began = tokio::time::Instant::now();
    until("another report", || one.reports.try_recv().is_ok()).await;

    let mut two = Node::start_at(2, address);
    until_heard(&one, &mut two).await;
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_message_to_an_unknown_address_is_reported() {
    let mut one = Node::start(1);
    one.send(Lane::Heartbeat, 7, "a");
    assert_eq!(one.next_report().await, Report::Unreachable(NodeId(7)));
    assert_eq!(one.dropped("heartbeat", "no-address"), 1);
}

#[tokio::test]
async fn a_peer_that_moved_is_connected_to_anew() {
    let (one, mut two) = pair();
    one.send(Lane::Append, 2, "here");
    assert_eq!(two.next_text().await, "here");

    let mut elsewhere = Node::start(2);
    one.knows(&[(2, elsewhere.address)]);
    until_heard(&one, &mut elsewhere).await;
    assert!(
        two.received.try_recv().is_err(),
        "the old address is left alone"
    );
}

#[tokio::test]
async fn a_restarted_peer_announces_its_new_address_by_itself() {
    let mut one = Node::start(1);
    one.knows(&[(2, nowhere())]);
    let mut two = Node::start(2);
    two.knows(&[(1, one.address)]);
    let restarted = Envelope {
        incarnation: Incarnation(2),
        ..envelope(2, 1, "back")
    };
    two.transport.send(Lane::Heartbeat, restarted);
    assert_eq!(one.next_text().await, "back");
    until_heard(&one, &mut two).await;
}

#[tokio::test]
async fn an_address_from_another_cluster_is_not_believed() {
    let (mut one, mut two) = pair();
    let mut stranger = Node::start(2);
    stranger.knows(&[(1, one.address)]);
    let foreign = Envelope {
        cluster: ClusterId(0xbad),
        incarnation: Incarnation(9),
        ..envelope(2, 1, "foreign")
    };
    stranger.transport.send(Lane::Heartbeat, foreign);
    assert_eq!(one.next_text().await, "foreign");
    one.send(Lane::Append, 2, "to two");
    assert_eq!(two.next_text().await, "to two");
    assert!(stranger.received.try_recv().is_err());
}

#[tokio::test]
async fn a_node_that_the_state_lacks_is_sent_nothing_more() {
    let (mut one, mut two) = pair();
    until_heard(&one, &mut two).await;
    one.knows(&[]);
    one.send(Lane::Append, 2, "a");
    until("a report", || {
        one.reports.try_recv() == Ok(Report::Unreachable(NodeId(2)))
    })
    .await;
    assert_eq!(one.dropped("append", "no-address"), 1);
    let open = r#"gcache_raft_connected_peers{lane="append"}"#;
    until("its stream has ended", || one.count(open) == 0).await;
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_is_unreachable() {
    // Only the kernel accepts.
    let silent = listen((LOOPBACK, 0).into(), "Raft", BACKLOG).unwrap();
    let mut one = Node::start(1);
    one.knows(&[(2, silent.local_addr().unwrap())]);
    one.send(Lane::Append, 2, "a");
    assert_eq!(one.next_report().await, Report::Unreachable(NodeId(2)));
    assert_eq!(one.dropped("append", "unreachable"), 1);
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed_by_its_pings() {
    let (mut one, mut two) = pair();
    let (wire, _made) = Wire::to(two.address, usize::MAX).await;
    one.knows(&[(2, wire.address)]);
    until_heard(&one, &mut two).await;
    while one.reports.try_recv().is_ok() {}
    wire.is_stalled.store(true, Ordering::SeqCst);
    // Nothing is sent: only a ping can show it.
    assert_eq!(one.next_report().await, Report::Unreachable(NodeId(2)));
    wire.is_stalled.store(false, Ordering::SeqCst);
    until_heard(&one, &mut two).await;
}

#[tokio::test]
async fn losses_in_quick_succession_are_few_reports() {
    let mut one = Node::start(1);
    one.knows(&[(2, nowhere())]);
    let began = tokio::time::Instant::now();
    let mut sent = 0;
    until("losses", || {
        for _ in 0..100 {
            one.send(Lane::Append, 2, "a");
        }
        sent += 100;
        one.dropped("append", "unreachable") >= 1000
    })
    .await;
    let mut reports = 0;
    while one.reports.try_recv().is_ok() {
        reports += 1;
    }
    let most = began.elapsed().as_millis() / REPORT_EVERY.as_millis() + 1;
    assert!(
        reports >= 1 && reports <= most,
        "{reports} reports of {sent} losses"
    );
}

#[tokio::test]
async fn connections_leave_from_the_nodes_own_address() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let (_, accepted) = tokio::join!(
        timeout(
            Duration::from_millis(100),
            connect::connect(&address, [127, 0, 0, 9].into())
        ),
        listener.accept(),
    );
    assert_eq!(accepted.unwrap().1.ip(), IpAddr::from([127, 0, 0, 9]));
}

#[tokio::test]
async fn shutdown_ends_all_tasks() {
    let (one, mut two) = pair();
    let silent = listen((LOOPBACK, 0).into(), "Raft", BACKLOG).unwrap();
    one.knows(&[
        (2, two.address),
        (3, silent.local_addr().unwrap()),
        (4, nowhere()),
    ]);
    two.knows(&[(1, one.address)]);
    until_heard(&one, &mut two).await;
    for (to, lane) in [(3, Lane::Append), (3, Lane::Snapshot), (4, Lane::Heartbeat)] {
        one.send(lane, to, "a");
    }
    // One that only listens to it, and one that says nothing.
    let _idle = TcpStream::connect(one.address).await.unwrap();
    in_time("its tasks end", one.stop()).await;
    in_time("its tasks end", two.stop()).await;
    one.knows(&[(2, two.address)]);
    assert!(
        one.transport.shared.peers.read().is_empty(),
        "none is started again"
    );
}
