//! How a request is answered, and when.

use prost_for_raft::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::cluster::{Cluster, kind};
use crate::ids::NodeId;
use crate::raft::driver::Settings;
use crate::raft::event::{Event, Outcome};

#[test]
fn a_proposal_is_done_when_its_entry_is_applied() {
    let mut cluster = Cluster::of_three();
    let request = cluster.propose(1);
    assert!(!cluster.outcomes.contains_key(&request));
    cluster.settle();
    let Outcome::Applied { index, .. } = &cluster.outcomes[&request] else {
        panic!("{:?}", cluster.outcomes[&request]);
    };
    assert_eq!(*index, cluster.driver(1).applied());
}

#[test]
fn only_a_leader_takes_a_proposal_or_a_read() {
    let mut cluster = Cluster::of_three();
    let wanted = Outcome::NotLeader(Some(NodeId(1)));
    let proposal = cluster.propose(2);
    let read = cluster.request(3, Event::Read);
    assert_eq!(cluster.outcomes[&proposal], wanted);
    assert_eq!(cluster.outcomes[&read], wanted);
}

#[test]
fn a_proposal_whose_index_another_leader_took_is_lost_for_certain() {
    let mut cluster = Cluster::of_three();
    cluster.cut.push(NodeId(1));
    let request = cluster.propose(1);
    cluster.settle();
    let leader = cluster.tick_until_other_leader(cluster.driver(1).term());
    cluster.propose(leader);
    cluster.settle();
    assert!(!cluster.outcomes.contains_key(&request));
    cluster.cut.clear();
    for _ in 0..5 {
        cluster.tick_all();
    }
    let wanted = Outcome::NotLeader(Some(NodeId(leader)));
    assert_eq!(cluster.outcomes[&request], wanted);
}

#[test]
fn a_proposal_that_a_snapshot_skipped_is_unknown() {
    let mut cluster = Cluster::of_three();
    for node in [2, 3] {
        cluster.settings = Settings {
            snapshot_every: 5,
            keep: 0,
            ..Settings::default()
        };
        cluster.start(node);
    }
    cluster.tick_all();
    cluster.cut.push(NodeId(1));
    let request = cluster.propose(1);
    let leader = cluster.tick_until_other_leader(cluster.driver(1).term());
    for _ in 0..20 {
        cluster.propose(leader);
        cluster.settle();
    }
    cluster.cut.clear();
    for _ in 0..30 {
        cluster.tick_all();
    }
    assert_eq!(cluster.outcomes[&request], Outcome::Unknown);
}

#[test]
fn a_read_is_answered_after_a_quorum_was_asked() {
    let mut cluster = Cluster::of_three();
    let request = cluster.request(1, Event::Read);
    assert!(!cluster.outcomes.contains_key(&request));
    cluster.settle();
    let applied = cluster.driver(1).applied();
    assert_eq!(cluster.outcomes[&request], Outcome::Readable(applied));
}

#[test]
fn a_leader_that_is_cut_off_answers_no_read() {
    let mut cluster = Cluster::of_three();
    cluster.cut.push(NodeId(1));
    let request = cluster.request(1, Event::Read);
    cluster.settle();
    assert!(!cluster.outcomes.contains_key(&request));
    // It notices by itself, for its clock runs on.
    for _ in 0..30 {
        cluster.tick(1);
        cluster.settle();
    }
    assert!(!cluster.driver(1).role().is_leader);
    assert_eq!(cluster.outcomes[&request], Outcome::NotLeader(None));
}

#[test]
fn the_answer_to_an_old_question_confirms_no_new_one() {
    let mut cluster = Cluster::of_three();
    let first = cluster.request(1, Event::Read);
    let late: Vec<_> = {
        while cluster
            .queue
            .front()
            .is_some_and(|sent| sent.from == NodeId(1))
        {
            cluster.deliver();
        }
        cluster.queue.drain(..).collect()
    };
    assert!(
        late.iter()
            .all(|sent| kind(sent) == MessageType::MsgHeartbeatResponse)
    );
    cluster.cut.push(NodeId(1));
    let second = cluster.request(1, Event::Read);
    for answer in late.iter().chain(&late).cloned() {
        let context = Message::decode(&answer.message[..]).unwrap().context;
        assert!(!context.is_empty());
        cluster.turn(1, vec![Event::Receive(answer)]).unwrap();
    }
    assert!(matches!(cluster.outcomes[&first], Outcome::Readable(_)));
    assert!(!cluster.outcomes.contains_key(&second));
}

#[test]
fn a_leader_without_a_commit_of_its_own_answers_no_read() {
    let mut cluster = Cluster::of_three();
    cluster.cut.push(NodeId(1));
    let term = cluster.driver(2).term();
    while !cluster.driver(2).role().is_leader && !cluster.driver(3).role().is_leader {
        for node in [2, 3] {
            cluster.tick(node);
        }
        for _ in 0..cluster.queue.len() {
            let is_append = cluster
                .queue
                .front()
                .is_some_and(|sent| kind(sent) == MessageType::MsgAppend);
            if is_append {
                cluster.queue.pop_front();
            } else {
                cluster.deliver();
            }
        }
    }
    let leader = if cluster.driver(2).role().is_leader {
        2
    } else {
        3
    };
    assert!(cluster.driver(leader).term() > term);
    let request = cluster.request(leader, Event::Read);
    let Outcome::Refused(why) = cluster.outcomes[&request] else {
        panic!("{:?}", cluster.outcomes[&request]);
    };
    assert!(why.contains("not committed"), "{why}");
}

#[test]
fn a_learner_that_is_cut_off_forgets_who_leads() {
    let mut cluster = Cluster::of_three();
    let learner = cluster.join("n4").0;
    assert_eq!(cluster.driver(learner).role().leader, Some(NodeId(1)));
    cluster.cut.push(NodeId(learner));
    for _ in 0..25 {
        cluster.tick_all();
    }
    assert_eq!(cluster.driver(learner).role().leader, None);
    cluster.cut.clear();
    cluster.tick_all();
    assert_eq!(cluster.driver(learner).role().leader, Some(NodeId(1)));
}

#[test]
fn requests_are_bounded() {
    let mut cluster = Cluster::of_three();
    cluster.settings.pending_max = 2;
    cluster.start(1);
    let leader = cluster.tick_until_other_leader(1);
    if leader != 1 {
        cluster.request(leader, |id| Event::Transfer(id, NodeId(1)));
        cluster.settle();
    }
    assert!(cluster.driver(1).role().is_leader);
    cluster.cut.push(NodeId(1));
    let proposals: Vec<_> = (0..3).map(|_| cluster.propose(1)).collect();
    assert!(matches!(
        cluster.outcomes.get(&proposals[2]),
        Some(Outcome::Refused(_))
    ));
    assert!(!cluster.outcomes.contains_key(&proposals[1]));
}
