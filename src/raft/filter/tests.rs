//! What reaches raft and what does not.

use raft::eraftpb::{Entry, Snapshot};

use super::*;
use crate::raft::snapshot as snapshots;
use crate::topology::commands::{Agreed, Command, Joiner};
use crate::topology::fixtures::named;
use crate::topology::state::Founding;

const CLUSTER: ClusterId = ClusterId(5);

fn joiner() -> Joiner {
    Joiner {
        incarnation: Incarnation(3),
        version: 1,
        ..named("n1")
    }
}

fn state() -> State {
    State::found(Founding {
        cluster: CLUSTER,
        supersedes: Vec::new(),
        settings: Agreed::ours(),
        first: joiner(),
    })
}

/// A message of the founder, start 3, to node 2.
fn message(kind: MessageType) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    message.from = 1;
    message.to = 2;
    message.term = 4;
    message
}

fn envelope(message: &Message) -> Envelope {
    Envelope {
        cluster: CLUSTER,
        from: NodeId(1),
        incarnation: Incarnation(3),
        to: NodeId(2),
        checkpoint: None,
        message: message.encode_to_vec().into(),
    }
}

fn refusal(envelope: &Envelope, heard: Option<u64>) -> Option<MessageRefusal> {
    let state = state();
    let facts = Facts {
        cluster: CLUSTER,
        node: NodeId(2),
        state: &state,
        heard: heard.map(Incarnation),
    };
    admit(envelope, &facts).err()
}

#[test]
fn only_what_nodes_send_each_other_passes() {
    let mut passed = Vec::new();
    for number in 0..40 {
        let mut message = message(MessageType::MsgHeartbeat);
        message.msg_type = number;
        let refused = refusal(&envelope(&message), None);
        match refused {
            None => passed.push(message.get_msg_type()),
            Some(MessageRefusal::Kind) => {}
            // An empty snapshot is none.
            other => assert_eq!((number, other), (7, Some(MessageRefusal::Malformed))),
        }
    }
    let wanted = [
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgHeartbeat,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgTimeoutNow,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
    ];
    assert_eq!(passed, wanted);
}

#[test]
fn an_envelope_is_of_this_cluster_for_this_node_and_not_from_it() {
    let right = envelope(&message(MessageType::MsgHeartbeat));
    assert_eq!(refusal(&right, None), None);
    let other = Envelope {
        cluster: ClusterId(6),
        ..right.clone()
    };
    assert_eq!(refusal(&other, None), Some(MessageRefusal::Cluster));
    let other = Envelope {
        to: NodeId(3),
        ..right.clone()
    };
    assert_eq!(refusal(&other, None), Some(MessageRefusal::Addressee));
    let other = Envelope {
        from: NodeId(2),
        ..right
    };
    assert_eq!(refusal(&other, None), Some(MessageRefusal::Addressee));
}

#[test]
fn an_older_start_of_the_sender_is_refused() {
    let right = envelope(&message(MessageType::MsgHeartbeat));
    for (incarnation, heard, wanted) in [
        (3, None, None),
        (4, None, None),
        (2, None, Some(MessageRefusal::Incarnation)),
        (4, Some(5), Some(MessageRefusal::Incarnation)),
        (5, Some(5), None),
        (3, Some(2), None),
    ] {
        let envelope = Envelope {
            incarnation: Incarnation(incarnation),
            ..right.clone()
        };
        assert_eq!(refusal(&envelope, heard), wanted, "{incarnation} {heard:?}");
    }
}

#[test]
fn a_message_agrees_with_its_envelope_and_with_itself() {
    let malformed = Some(MessageRefusal::Malformed);
    for change in [
        (|message: &mut Message| message.from = 9) as fn(&mut Message),
        |message| message.to = 9,
        |message| message.term = 0,
    ] {
        let mut message = message(MessageType::MsgHeartbeat);
        change(&mut message);
        assert_eq!(refusal(&envelope(&message), None), malformed);
    }
    let garbage = Envelope {
        message: vec![0xff; 9].into(),
        ..envelope(&message(MessageType::MsgHeartbeat))
    };
    assert_eq!(refusal(&garbage, None), malformed);
    let large = Envelope {
        message: vec![0; MAX_MESSAGE_BYTES + 1].into(),
        ..garbage
    };
    assert_eq!(refusal(&large, None), Some(MessageRefusal::Size));
}

/// What is said to entries of these indices and terms after entry 7 of term 2.
fn sent(entries: &[(u64, u64)], entry_type: i32) -> Option<MessageRefusal> {
    let mut append = message(MessageType::MsgAppend);
    append.index = 7;
    append.log_term = 2;
    let entries = entries.iter().map(|(index, term)| Entry {
        index: *index,
        term: *term,
        entry_type,
        ..Entry::default()
    });
    append.set_entries(entries.collect());
    refusal(&envelope(&append), None)
}

#[test]
fn entries_follow_each_other() {
    let append = |entries: &[(u64, u64)]| sent(entries, 0);
    assert_eq!(sent(&[(8, 2)], 2), None);
    assert_eq!(sent(&[(8, 2)], 9), Some(MessageRefusal::Malformed));
    assert_eq!(append(&[]), None);
    assert_eq!(append(&[(8, 2), (9, 3), (10, 4)]), None);
    for wrong in [
        &[(9, 2)][..],
        &[(8, 2), (10, 2)],
        &[(8, 1)],
        &[(8, 3), (9, 2)],
        &[(8, 5)],
    ] {
        assert_eq!(append(wrong), Some(MessageRefusal::Malformed), "{wrong:?}");
    }
}

#[test]
fn a_snapshot_is_what_its_sender_hashed() {
    let sent = |snapshot: Snapshot| {
        let mut message = message(MessageType::MsgSnapshot);
        message.set_snapshot(snapshot);
        refusal(&envelope(&message), None)
    };
    let right = snapshots::of(&state(), 9, 4);
    assert_eq!(sent(right.clone()), None);
    let mut wrong = right.clone();
    let last = wrong.data.len() - 1;
    wrong.data[last] ^= 1;
    assert_eq!(sent(wrong), Some(MessageRefusal::Malformed));
    let mut wrong = right.clone();
    wrong.mut_metadata().mut_conf_state().voters.push(2);
    assert_eq!(sent(wrong), Some(MessageRefusal::Malformed));
    let mut wrong = right.clone();
    wrong.mut_metadata().term = 5;
    assert_eq!(sent(wrong), Some(MessageRefusal::Malformed));
    let mut wrong = right;
    wrong.mut_metadata().index = 0;
    assert_eq!(sent(wrong), Some(MessageRefusal::Malformed));
}

#[test]
fn who_was_removed_is_refused() {
    let mut state = state();
    let joiner = Joiner {
        name: "n2".into(),
        ..joiner()
    };
    state.apply(&Command::Join(joiner)).unwrap();
    let mut heartbeat = message(MessageType::MsgHeartbeat);
    heartbeat.from = 2;
    heartbeat.to = 1;
    let envelope = Envelope {
        from: NodeId(2),
        to: NodeId(1),
        ..envelope(&heartbeat)
    };
    let admitted = |state: &State| {
        let facts = Facts {
            cluster: CLUSTER,
            node: NodeId(1),
            state,
            heard: None,
        };
        admit(&envelope, &facts).map(|_| ())
    };
    assert_eq!(admitted(&state), Ok(()));
    state.apply(&Command::RemoveMember(NodeId(2))).unwrap();
    assert_eq!(admitted(&state), Err(MessageRefusal::Tombstoned));
}
