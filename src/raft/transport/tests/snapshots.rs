//! Snapshots: whole, or reported; each exactly once.

use super::*;

const MIB: usize = 1 << 20;

fn sent(to: u64, is_delivered: bool) -> Report {
    Report::SnapshotSent {
        to: NodeId(to),
        is_delivered,
    }
}

#[tokio::test]
async fn a_large_snapshot_arrives_whole_and_is_reported() {
    let (mut one, mut two) = pair();
    let snapshot = envelope(1, 2, pattern(5 * MIB + 17));
    one.transport.send(Lane::Snapshot, snapshot.clone());
    assert_eq!(two.next().await, snapshot);
    assert_eq!(one.next_report().await, sent(2, true));
    let bytes = r#"gcache_raft_sent_bytes_total{lane="snapshot"}"#;
    assert_eq!(one.count(bytes), snapshot.message.len() as u64);
}

#[tokio::test]
async fn an_interrupted_snapshot_is_reported_as_failed() {
    let (mut one, mut two) = pair();
    let (wire, _made) = Wire::to(two.address, MIB).await;
    one.knows(&[(2, wire.address)]);
    one.send(Lane::Snapshot, 2, pattern(5 * MIB));
    assert_eq!(one.next_report().await, sent(2, false));
    assert_eq!(one.dropped("snapshot", "interrupted"), 1);
    until("its end is noticed", || {
        two.dropped("snapshot", "interrupted") == 1
    })
    .await;
    assert!(two.received.try_recv().is_err(), "a part is nothing");
    // The next one, by a wire that holds, is not in its way.
    one.knows(&[(2, two.address)]);
    one.send(Lane::Snapshot, 2, pattern(MIB));
    assert_eq!(two.next().await.message, pattern(MIB));
    assert_eq!(one.next_report().await, sent(2, true));
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_sent_is_reported_as_failed() {
    let (mut one, _two) = pair();
    one.send(Lane::Snapshot, 7, "no address");
    assert_eq!(one.next_report().await, sent(7, false));
    one.send(Lane::Snapshot, 2, pattern(MAX_SNAPSHOT_BYTES + 1));
    assert_eq!(one.next_report().await, sent(2, false));
    one.knows(&[(3, (LOOPBACK, 1).into())]);
    one.send(Lane::Snapshot, 3, "nobody listens");
    assert_eq!(one.next_report().await, sent(3, false));
    for reason in ["no-address", "too-large", "unreachable"] {
        assert_eq!(one.dropped("snapshot", reason), 1, "{reason}");
    }
}

#[tokio::test]
async fn a_snapshot_that_raft_does_not_take_is_reported_as_failed() {
    let (mut one, two) = pair();
    two.is_full.store(true, Ordering::SeqCst);
    one.send(Lane::Snapshot, 2, pattern(MIB));
    assert_eq!(one.next_report().await, sent(2, false));
    assert_eq!(one.dropped("snapshot", "inbox-full"), 1);
    assert_eq!(two.dropped("snapshot", "inbox-full"), 1);
}

#[tokio::test]
async fn every_snapshot_to_a_stalled_peer_has_one_outcome() {
    let (mut one, two) = pair();
    let (wire, mut made) = Wire::to(two.address, usize::MAX).await;
    wire.is_stalled.store(true, Ordering::SeqCst);
    one.knows(&[(2, wire.address)]);
    one.send(Lane::Snapshot, 2, pattern(MIB));
    in_time("it is under way", made.recv()).await;
    one.send(Lane::Snapshot, 2, "waits");
    one.send(Lane::Snapshot, 2, "one too many");
    assert_eq!(one.next_report().await, sent(2, false));
    assert_eq!(one.dropped("snapshot", "queue-full"), 1);
    // The peer is nobody's any more: the two others are lost with it.
    one.knows(&[]);
    assert_eq!(one.next_report().await, sent(2, false));
    assert_eq!(one.next_report().await, sent(2, false));
    one.stop().await;
    assert!(one.reports.try_recv().is_err(), "none is reported twice");
}

#[tokio::test]
async fn a_stalled_snapshot_does_not_delay_messages() {
    let (one, mut two) = pair();
    let (wire, mut made) = Wire::to(two.address, usize::MAX).await;
    one.knows(&[(2, wire.address)]);
    for lane in [Lane::Heartbeat, Lane::Append] {
        one.send(lane, 2, "before");
        assert_eq!(two.next_text().await, "before");
        in_time("its connection", made.recv()).await;
    }
    wire.swallows_new.store(true, Ordering::SeqCst);
    one.send(Lane::Snapshot, 2, pattern(MAX_SNAPSHOT_BYTES));
    in_time("a connection of its own", made.recv()).await;
    for lane in [Lane::Heartbeat, Lane::Append] {
        one.send(lane, 2, "meanwhile");
        assert_eq!(two.next_text().await, "meanwhile");
    }
}
