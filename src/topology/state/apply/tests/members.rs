//! Claims about members and the quorum.

use super::*;
use crate::ids::{Incarnation, NodeId};
use crate::topology::commands::{Joiner, Resume, SetStatus};
use crate::topology::model::member::{MAX_MEMBERS, MAX_WEIGHT, MemberStatus, Zone};
use crate::topology::model::quorum::{Quorum, QuorumChange, QuorumRole};
use crate::topology::state::KEPT_TOMBSTONES;

fn join(joiner: Joiner) -> Command {
    Command::Join(joiner)
}

fn resume(id: u64, incarnation: u64) -> Resume {
    Resume {
        id: NodeId(id),
        node: Joiner {
            incarnation: Incarnation(incarnation),
            ..joiner(id)
        },
    }
}

#[test]
fn a_founder_owns_and_votes_alone() {
    let state = cluster(1);
    assert_eq!((state.epoch(), state.revision()), (Epoch(1), 0));
    assert_eq!(state.next_node(), NodeId(2));
    assert_eq!(state.table().owned_by(NodeId(1)), 4096);
    assert!(state.quorum().is_voter(NodeId(1)) && state.plan_assign().is_none());
    assert_eq!(
        state.view().unwrap().cluster(),
        "01234567-89ab-cdef-0011-223344556677"
    );
}

#[test]
fn an_id_is_never_given_twice() {
    let mut state = cluster(1);
    let before = state.clone();
    assert_eq!(
        changed(&mut state, &join(joiner(2))),
        Change::Joined(NodeId(2))
    );
    assert_eq!(
        state.member(NodeId(2)).unwrap().status,
        MemberStatus::Joining
    );
    changed(&mut state, &Command::RemoveMember(NodeId(2)));
    assert!(state.is_tombstone(NodeId(2)) && !before.is_tombstone(NodeId(2)));
    assert_eq!(state.tombstones()[0].name.as_ref(), "node-2");
    assert_eq!(
        changed(&mut state, &join(joiner(2))),
        Change::Joined(NodeId(3))
    );
    assert_eq!(
        refused(&mut state, &Command::Resume(resume(2, 9))),
        Refusal::Removed(NodeId(2))
    );
    assert_eq!(
        refused(&mut state, &Command::RemoveMember(NodeId(4))),
        Refusal::UnknownMember(NodeId(4))
    );
}

#[test]
fn tombstones_are_bounded_and_the_dead_stay_dead() {
    let mut state = cluster(1);
    let last = KEPT_TOMBSTONES as u64 + 5;
    for id in 2..=last {
        let again = Joiner {
            nonce: id,
            ..joiner(2)
        };
        assert_eq!(
            changed(&mut state, &join(again)),
            Change::Joined(NodeId(id))
        );
        changed(&mut state, &Command::RemoveMember(NodeId(id)));
    }
    assert_eq!(state.tombstones().len(), KEPT_TOMBSTONES);
    assert_eq!(state.tombstones().last().unwrap().id, NodeId(last));
    assert!((2..=last).all(|id| state.is_tombstone(NodeId(id))));
    assert_eq!(
        refused(&mut state, &status(2, MemberStatus::Up)),
        Refusal::Removed(NodeId(2))
    );
}

#[test]
fn a_join_that_is_sent_twice_is_one_join() {
    let mut state = cluster(2);
    let before = state.encode();
    assert_eq!(state.apply(&join(joiner(2))), Ok(Change::Joined(NodeId(2))));
    assert_eq!(state.encode(), before);
    for other in [
        Joiner {
            nonce: 9,
            ..joiner(2)
        },
        Joiner {
            nonce: 0,
            ..joiner(2)
        },
        Joiner {
            incarnation: Incarnation(2),
            ..joiner(2)
        },
    ] {
        let holder = NodeId(2);
        let name = other.name.clone();
        assert_eq!(
            refused(&mut state, &join(other)),
            Refusal::NameTaken { name, holder }
        );
    }
}

#[test]
fn a_join_that_is_sent_again_from_elsewhere_is_the_same_join() {
    let mut state = cluster(1);
    changed(&mut state, &join(joiner(2)));
    let moved = Joiner {
        host: "10.0.0.99".into(),
        weight: 7,
        ..joiner(2)
    };
    assert_eq!(
        changed(&mut state, &join(moved.clone())),
        Change::Joined(NodeId(2))
    );
    let member = state.member(NodeId(2)).unwrap();
    assert_eq!((&*member.host, member.weight), ("10.0.0.99", 7));
    assert_eq!(state.next_node(), NodeId(3));
    // Once the node is in the ring, it reports a new address by resuming.
    changed(&mut state, &status(2, MemberStatus::Up));
    let again = refused(&mut state, &join(joiner(2)));
    assert!(matches!(again, Refusal::NameTaken { .. }), "{again:?}");
}

#[test]
fn a_silent_member_loses_its_name_and_a_live_one_does_not() {
    let mut state = cluster(3);
    let fresh = Joiner {
        nonce: 77,
        ..joiner(3)
    };
    changed(&mut state, &status(3, MemberStatus::Down));
    assert_eq!(changed(&mut state, &join(fresh)), Change::Joined(NodeId(4)));
    let (id, by) = (NodeId(3), NodeId(4));
    assert_eq!(state.member(id).unwrap().replaced_by, Some(by));
    let replaced = Refusal::Replaced { id, by };
    assert_eq!(refused(&mut state, &status(3, MemberStatus::Up)), replaced);
    assert_eq!(
        refused(&mut state, &Command::Resume(resume(3, 2))),
        replaced
    );
    let names = state.view().unwrap();
    let names = names.members().iter().map(|member| member.name.to_string());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["node-1", "node-2", "node-3#3", "node-3"]
    );
    let change = |role| QuorumChange {
        changes: vec![(id, role)],
    };
    assert_eq!(
        state.may_change_quorum(&change(QuorumRole::Voter)),
        Err(replaced)
    );
    assert_eq!(
        state.may_change_quorum(&change(QuorumRole::Removed)),
        Ok(())
    );
}

#[test]
fn a_joiner_with_another_setting_is_refused_with_its_name() {
    let mut state = cluster(1);
    let mut other = joiner(2);
    other.settings.partitions = 1024;
    let refusal = refused(&mut state, &join(other.clone()));
    assert_eq!(
        refusal.to_string(),
        "partitions is 1024 there and 4096 in this cluster"
    );
    other.settings.hash = "crc32".into();
    let refusal = refused(
        &mut state,
        &Command::Resume(Resume {
            id: NodeId(1),
            node: other,
        }),
    );
    assert!(
        refusal.to_string().starts_with("hash is crc32"),
        "{refusal}"
    );
}

#[test]
fn a_joiner_below_the_version_in_use_is_refused() {
    let mut state = cluster(2);
    state.version = 3;
    assert_eq!(
        state.apply(&join(joiner(3))),
        Err(Refusal::TooOld { ours: 3, theirs: 2 })
    );
    let new = Joiner {
        version: 4,
        ..joiner(3)
    };
    assert_eq!(state.apply(&join(new)), Ok(Change::Joined(NodeId(3))));
    assert_eq!((state.version(), state.known_version()), (3, 2));
}

#[test]
fn the_fields_of_a_joiner_are_checked() {
    let mut state = cluster(1);
    let cases = [
        (
            Joiner {
                name: "".into(),
                ..joiner(2)
            },
            "name",
        ),
        (
            Joiner {
                name: "a#2".into(),
                ..joiner(2)
            },
            "name",
        ),
        (
            Joiner {
                name: "x".repeat(64).into(),
                ..joiner(2)
            },
            "name",
        ),
        (
            Joiner {
                zone: Zone::new("A"),
                ..joiner(2)
            },
            "zone",
        ),
        (
            Joiner {
                host: "a b".into(),
                ..joiner(2)
            },
            "host",
        ),
        (
            Joiner {
                host: "h".repeat(254).into(),
                ..joiner(2)
            },
            "host",
        ),
        (
            Joiner {
                raft_port: 0,
                ..joiner(2)
            },
            "raft_port",
        ),
        (
            Joiner {
                grpc_port: 0,
                ..joiner(2)
            },
            "grpc_port",
        ),
        (
            Joiner {
                weight: 0,
                ..joiner(2)
            },
            "weight",
        ),
        (
            Joiner {
                weight: MAX_WEIGHT + 1,
                ..joiner(2)
            },
            "weight",
        ),
    ];
    for (bad, field) in cases {
        let refusal = refused(&mut state, &join(bad)).to_string();
        assert!(refusal.contains(field), "{refusal}");
    }
}

#[test]
fn members_are_bounded() {
    let mut state = cluster(1);
    for n in 2..=MAX_MEMBERS as u64 {
        state.apply(&join(joiner(n))).unwrap();
    }
    state.view().unwrap();
    assert_eq!(
        refused(&mut state, &join(joiner(999))),
        Refusal::TooManyMembers
    );
}

#[test]
fn a_member_resumes_with_a_later_start_only() {
    let mut state = cluster(2);
    let moved = |incarnation| {
        let mut moved = resume(2, incarnation);
        moved.node.host = "10.0.0.9".into();
        moved.node.nonce = 5;
        Command::Resume(moved)
    };
    assert!(matches!(
        refused(&mut state, &moved(1)),
        Refusal::OtherIncarnation { .. }
    ));
    changed(&mut state, &moved(3));
    let record = state.member(NodeId(2)).unwrap();
    assert_eq!((record.host.as_ref(), record.nonce), ("10.0.0.9", 0x1002));
    assert_eq!(record.status, MemberStatus::Up, "it keeps what it owns");
    let stale = refused(&mut state, &status(2, MemberStatus::Down));
    assert_eq!(stale.to_string(), "member 2 is at start 3, not 1");
    let set = |status| {
        Command::SetStatus(SetStatus {
            id: NodeId(2),
            status,
            incarnation: Incarnation(3),
        })
    };
    unchanged(&mut state, &set(MemberStatus::Up));
    changed(&mut state, &set(MemberStatus::Down));
    changed(&mut state, &moved(4));
    let record = state.member(NodeId(2)).unwrap();
    assert_eq!(record.status, MemberStatus::Joining, "it has to catch up");
    let mut renamed = resume(2, 5);
    renamed.node.name = "node-9".into();
    assert!(matches!(
        refused(&mut state, &Command::Resume(renamed)),
        Refusal::Renamed { .. }
    ));
}

#[test]
fn no_command_sets_a_member_joining() {
    let mut state = cluster(2);
    assert_eq!(
        refused(&mut state, &status(2, MemberStatus::Joining)),
        Refusal::CannotBeJoining
    );
}

#[test]
fn a_member_is_removed_only_when_nothing_names_it() {
    let mut state = cluster(3);
    let remove = Command::RemoveMember(NodeId(3));
    let has = refused(&mut state, &remove).to_string();
    assert!(
        has.starts_with("member 3 still owns 1365 partitions"),
        "{has}"
    );
    changed(&mut state, &status(3, MemberStatus::Leaving));
    let plan = state.plan_assign().unwrap();
    changed(&mut state, &plan);
    assert_eq!(state.table().owned_by(NodeId(3)), 0);
    let epoch = state.epoch();
    state.set_quorum(Quorum {
        learners_next: [NodeId(3)].into(),
        ..state.quorum().clone()
    });
    assert_eq!(
        state.epoch(),
        epoch,
        "the quorum is no part of the topology"
    );
    assert_eq!(refused(&mut state, &remove), Refusal::InQuorum(NodeId(3)));
    state.set_quorum(Quorum {
        voters: [NodeId(1)].into(),
        ..Quorum::default()
    });
    changed(&mut state, &remove);
    assert!(state.member(NodeId(3)).is_none());
}

#[test]
fn the_quorum_changes_as_its_members_allow() {
    let mut state = cluster(3);
    let may = |state: &State, changes: &[(u64, QuorumRole)]| {
        let changes = changes.iter().map(|(id, role)| (NodeId(*id), *role));
        state.may_change_quorum(&QuorumChange {
            changes: changes.collect(),
        })
    };
    use QuorumRole::{Learner, Removed, Voter};
    assert_eq!(may(&state, &[(2, Voter), (3, Voter)]), Ok(()));
    assert_eq!(may(&state, &[(1, Removed), (2, Voter)]), Ok(()));
    assert_eq!(may(&state, &[(1, Learner)]), Err(Refusal::NoVoter));
    assert_eq!(may(&state, &[]), Err(Refusal::QuorumIsNotChanging));
    assert_eq!(
        may(&state, &[(2, Learner), (2, Voter)]),
        Err(Refusal::MemberNamedTwice(NodeId(2)))
    );
    assert_eq!(
        may(&state, &[(9, Learner)]),
        Err(Refusal::UnknownMember(NodeId(9)))
    );
    state.set_quorum(Quorum {
        outgoing: [NodeId(2)].into(),
        ..state.quorum().clone()
    });
    assert_eq!(may(&state, &[]), Ok(()));
    assert_eq!(may(&state, &[(3, Voter)]), Err(Refusal::QuorumIsChanging));
}
