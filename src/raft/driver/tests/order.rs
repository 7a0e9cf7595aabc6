//! What is written before what is sent, and what a failing disk ends.

use bytes::Bytes;
use prost_for_raft::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::cluster::{Cluster, Seen};
use crate::ids::NodeId;
use crate::raft::driver::{Fatal, Settings};
use crate::raft::event::{Event, RequestId};

fn place(journal: &[Seen], wanted: impl Fn(&Seen) -> bool) -> usize {
    let found = journal.iter().position(wanted);
    found.unwrap_or_else(|| panic!("it is missing in {journal:?}"))
}

#[test]
fn a_leader_sends_entries_before_it_writes_them() {
    let mut cluster = Cluster::of_three();
    cluster.journal(1);
    cluster.propose(1);
    let journal = cluster.journal(1);
    let sent = place(&journal, |seen| *seen == Seen::Sent(MessageType::MsgAppend));
    let wrote = place(&journal, |seen| *seen == Seen::Wrote { is_synced: true });
    assert!(sent < wrote, "{journal:?}");
}

#[test]
fn an_acknowledgement_leaves_after_its_entries_are_synced() {
    let mut cluster = Cluster::of_three();
    cluster.propose(1);
    cluster.journal(2);
    cluster.settle();
    let journal = cluster.journal(2);
    let ack = |seen: &Seen| *seen == Seen::Sent(MessageType::MsgAppendResponse);
    let wrote = place(&journal, |seen| *seen == Seen::Wrote { is_synced: true });
    assert!(wrote < place(&journal, ack), "{journal:?}");
}

#[test]
fn a_vote_leaves_after_it_is_synced() {
    let mut cluster = Cluster::of_three();
    cluster.cut.push(NodeId(1));
    for node in [2, 3] {
        cluster.journal(node);
    }
    let leader = cluster.tick_until_other_leader(cluster.driver(2).term());
    let journal = cluster.journal(5 - leader);
    let vote = place(&journal, |seen| {
        *seen == Seen::Sent(MessageType::MsgRequestVoteResponse)
    });
    let synced = Seen::Wrote { is_synced: true };
    assert!(journal[..vote].contains(&synced), "{journal:?}");
    let journal = cluster.journal(leader);
    let asked = place(&journal, |seen| {
        *seen == Seen::Sent(MessageType::MsgRequestVote)
    });
    assert!(journal[..asked].contains(&synced), "{journal:?}");
}

/// A lone voter leads in the step in which it campaigns: `raft` hands out its messages at once.
#[test]
fn a_lone_voter_says_nothing_before_its_vote_is_synced() {
    let mut cluster = Cluster::founded();
    let learner = cluster.join("n2");
    cluster.start(1);
    cluster.journal(1);
    while !cluster.driver(1).role().is_leader {
        cluster.tick(1);
    }
    assert!(cluster.queue.iter().any(|sent| sent.to == learner));
    let journal = cluster.journal(1);
    let synced = place(&journal, |seen| *seen == Seen::Wrote { is_synced: true });
    let spoken = place(&journal, |seen| {
        matches!(seen, Seen::Sent(_) | Seen::Led { .. })
    });
    assert!(synced < spoken, "{journal:?}");
}

#[test]
fn a_commit_index_alone_is_not_synced() {
    let mut cluster = Cluster::of_three();
    cluster.propose(1);
    cluster.settle();
    let (writes, syncs) = cluster.driver(2).writes();
    // The next heartbeat or append informs the follower of the commit.
    cluster.tick(1);
    cluster.settle();
    cluster.propose(1);
    cluster.settle();
    let (later, synced) = cluster.driver(2).writes();
    assert!(later - writes > synced - syncs, "{later} {synced}");
}

#[test]
fn a_disk_that_fails_ends_the_driver_and_nothing_is_promised() {
    let mut cluster = Cluster::of_three();
    cluster.propose(1);
    cluster.journal(2);
    cluster.disk(2).fail();
    let append = cluster
        .queue
        .iter()
        .find(|envelope| envelope.to == NodeId(2));
    let append = Event::Receive(append.unwrap().clone());
    let ended = cluster.turn(2, vec![append.clone()]);
    assert!(matches!(ended, Err(Fatal::Disk(_))), "{ended:?}");
    assert_eq!(cluster.journal(2), []);
    assert_eq!(cluster.turn(2, vec![append, Event::Tick]), ended);
    assert_eq!(cluster.journal(2), []);
}

/// What node 2 does when an entry with this command is committed.
fn receives(cluster: &mut Cluster, command: Vec<u8>) -> Result<(), Fatal> {
    cluster.propose(1);
    let place = cluster
        .queue
        .iter()
        .position(|envelope| envelope.to == NodeId(2));
    let mut envelope = cluster.queue[place.unwrap()].clone();
    let mut message = Message::decode(&envelope.message[..]).unwrap();
    message.mut_entries()[0].data = command;
    message.commit = message.get_entries()[0].index;
    envelope.message = message.encode_to_vec().into();
    cluster.turn(2, vec![Event::Receive(envelope)]).map(|_| ())
}

#[test]
fn an_entry_that_cannot_be_read_ends_the_driver() {
    let mut cluster = Cluster::of_three();
    let ended = receives(&mut cluster, vec![0x08, 0x01]);
    assert!(matches!(ended, Err(Fatal::Entry { .. })), "{ended:?}");
}

/// It was proposed before the leader had heard that a member knows less, and all refuse it.
#[test]
fn an_entry_that_a_member_does_not_know_changes_nothing() {
    let mut cluster = Cluster::of_three();
    let before = cluster.driver(2).state().clone();
    // As a later executable might write it.
    receives(&mut cluster, vec![0x08, 0x7f]).unwrap();
    assert_eq!(*cluster.driver(2).state(), before);
    assert!(cluster.driver(2).applied() > cluster.driver(1).applied());
    let request = RequestId(9_000);
    let garbage = Bytes::from_static(b"\x08\x7f");
    cluster
        .turn(1, vec![Event::Propose(request, garbage)])
        .unwrap();
    assert!(format!("{:?}", cluster.outcomes[&request]).contains("cannot be read"));
}

#[test]
fn a_node_whose_log_was_lost_ends_when_the_leader_counts_on_it() {
    let mut cluster = Cluster::of_three();
    cluster.tick(1);
    let heartbeat = cluster.queue.iter().find(|sent| sent.to == NodeId(2));
    let mut envelope = heartbeat.unwrap().clone();
    let mut message = Message::decode(&envelope.message[..]).unwrap();
    assert_eq!(message.get_msg_type(), MessageType::MsgHeartbeat);
    message.commit = cluster.driver(2).last_index() + 1;
    envelope.message = message.encode_to_vec().into();
    let ended = cluster.turn(2, vec![Event::Receive(envelope)]);
    let Err(Fatal::Raft(reason)) = ended else {
        panic!("{ended:?}");
    };
    assert!(reason.contains("its log ends at"), "{reason}");
}

#[test]
fn raft_is_set_up_with_every_limit_and_no_lease_reads() {
    let config = Settings::default().raft_config(NodeId(3), 17);
    config.validate().unwrap();
    assert!(config.pre_vote && config.check_quorum);
    assert_eq!(config.read_only_option, raft::ReadOnlyOption::Safe);
    assert!(config.election_tick >= 10 * config.heartbeat_tick);
    assert_eq!((config.id, config.applied), (3, 17));
    for limit in [
        config.max_size_per_msg,
        config.max_uncommitted_size,
        config.max_committed_size_per_ready,
    ] {
        assert!(limit > 0 && limit < raft::NO_LIMIT);
    }
}
