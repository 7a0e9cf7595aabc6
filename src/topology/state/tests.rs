//! Claims about every state that commands can lead to, over random sequences of commands.
//!
//! Two replicas apply the same: one in memory, the other through bytes after every step.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::hash::PARTITIONS;
use crate::ids::{Generation, Partition, Tenure};
use crate::topology::commands::Command;
use crate::topology::commands::{
    AbortRun, ActivateRun, Assign, Change, GroupRef, MoveRun, PrepareMoves, Resume, Run, SetStatus,
};
use crate::topology::fixtures::{cluster, founding, joiner, query_spec, set_groups, table_spec};
use crate::topology::model::member::MAX_WEIGHT;

/// A wish for a command, made without knowledge of the state; most wishes can be fulfilled.
#[derive(Clone, Debug)]
enum Wish {
    Join {
        n: u64,
        nonce: u64,
    },
    Resume {
        which: Index,
        weight: u32,
        later: u64,
    },
    SetStatus {
        which: Index,
        status: MemberStatus,
        late: bool,
    },
    Plan,
    FailOver {
        which: Index,
    },
    Assign {
        first: u16,
        count: u16,
        owner: Index,
        standby: Index,
        is_inheriting: bool,
        late: bool,
    },
    Prepare {
        first: u16,
        count: u16,
        to: Index,
    },
    Activate {
        at: Index,
        standby: Index,
    },
    Abort {
        at: Index,
    },
    SetGroups {
        name: u8,
        table: u8,
        ttl: u64,
        is_removed: bool,
        late: bool,
    },
    Reset {
        name: u8,
    },
    Remove {
        which: Index,
    },
    Quorum {
        which: Index,
        is_member: bool,
    },
}

fn any_status() -> impl Strategy<Value = MemberStatus> {
    prop_oneof![
        6 => Just(MemberStatus::Up),
        1 => Just(MemberStatus::Leaving),
        2 => Just(MemberStatus::Down),
        1 => Just(MemberStatus::Joining),
    ]
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let index = any::<Index>;
    let late = || prop::bool::weighted(0.1);
    let span = || (0..PARTITIONS as u16 + 20, 0..300u16);
    prop_oneof![
        4 => (1..8u64, 0..3u64).prop_map(|(n, nonce)| Wish::Join { n, nonce }),
        2 => (index(), 0..MAX_WEIGHT + 2, 0..3u64)
            .prop_map(|(which, weight, later)| Wish::Resume { which, weight, later }),
        6 => (index(), any_status(), late())
            .prop_map(|(which, status, late)| Wish::SetStatus { which, status, late }),
        3 => Just(Wish::Plan),
        1 => index().prop_map(|which| Wish::FailOver { which }),
        3 => (span(), index(), index(), any::<bool>(), late()).prop_map(
            |((first, count), owner, standby, is_inheriting, late)| Wish::Assign {
                first, count, owner, standby, is_inheriting, late,
            }
        ),
        // Short runs: owners are scattered, so the target is among the owners of a long run.
        6 => (0..PARTITIONS as u16, 0..3u16, index()).prop_map(|(first, count, to)| Wish::Prepare { first, count, to }),
        3 => (index(), index()).prop_map(|(at, standby)| Wish::Activate { at, standby }),
        2 => index().prop_map(|at| Wish::Abort { at }),
        3 => (0..5u8, 0..3u8, 0..4u64, prop::bool::weighted(0.2), late()).prop_map(
            |(name, table, ttl, is_removed, late)| Wish::SetGroups {
                name, table, ttl, is_removed, late,
            }
        ),
        1 => (0..5u8).prop_map(|name| Wish::Reset { name }),
        3 => index().prop_map(|which| Wish::Remove { which }),
        1 => (index(), any::<bool>()).prop_map(|(which, is_member)| Wish::Quorum { which, is_member }),
    ]
}

/// An id that was given, whether or not its member still exists; sometimes one that was not given.
fn any_id(state: &State, which: &Index) -> NodeId {
    NodeId(which.index(state.next_node.0 as usize + 1) as u64)
}

/// The start of a member, or the one before it.
fn start(state: &State, id: NodeId, late: bool) -> Incarnation {
    let known = state.member(id).map_or(1, |record| record.incarnation.0);
    Incarnation(known - u64::from(late))
}

/// A partition that is moving, with its move's tenure.
fn moving(state: &State, at: &Index) -> Option<(Partition, Tenure)> {
    let moves = state.table().iter();
    let moves: Vec<_> = moves
        .filter_map(|(partition, at)| Some((partition, at.move_to?.tenure)))
        .collect();
    (!moves.is_empty()).then(|| *at.get(&moves))
}

/// The command for a wish about members, if there can be one.
fn member_command(state: &State, wish: &Wish) -> Option<Command> {
    Some(match wish {
        Wish::Join { n, nonce } => Command::Join(Joiner {
            nonce: *nonce,
            ..joiner(*n)
        }),
        Wish::Resume {
            which,
            weight,
            later,
        } => {
            let id = any_id(state, which);
            let name = state
                .member(id)
                .map_or("node-1".into(), |record| record.name.clone());
            let incarnation = Incarnation(start(state, id, false).0 + later);
            let node = Joiner {
                name,
                incarnation,
                weight: *weight,
                ..joiner(9)
            };
            Command::Resume(Resume { id, node })
        }
        Wish::SetStatus {
            which,
            status,
            late,
        } => {
            let id = any_id(state, which);
            let incarnation = start(state, id, *late);
            Command::SetStatus(SetStatus {
                id,
                status: *status,
                incarnation,
            })
        }
        Wish::Remove { which } => Command::RemoveMember(any_id(state, which)),
        Wish::FailOver { which } => return state.plan_fail_over(any_id(state, which)),
        Wish::Plan => return state.plan_assign(),
        _ => return None,
    })
}

/// The command for any other wish, if there can be one.
fn other_command(state: &State, wish: &Wish) -> Option<Command> {
    let id = |which| Some(any_id(state, which)).filter(|id| id.0 != 0);
    Some(match *wish {
        Wish::Assign {
            first,
            count,
            ref owner,
            ref standby,
            is_inheriting,
            late,
        } => {
            let (owner, standby) = (id(owner), id(standby));
            let first = Partition(first);
            let run = Run {
                first,
                count,
                owner,
                standby,
                is_inheriting,
            };
            let expected = Epoch(state.epoch.0 - u64::from(late));
            Command::Assign(Assign {
                expected,
                runs: vec![run],
            })
        }
        Wish::Prepare {
            first,
            count,
            ref to,
        } => {
            let run = MoveRun {
                first: Partition(first),
                count,
                to: any_id(state, to),
            };
            Command::PrepareMoves(PrepareMoves {
                expected: state.epoch,
                runs: vec![run],
            })
        }
        Wish::Activate {
            ref at,
            ref standby,
        } => {
            let (first, tenure) = moving(state, at)?;
            let standby = id(standby);
            Command::ActivateMoves(vec![ActivateRun {
                first,
                count: 1,
                tenure,
                standby,
            }])
        }
        Wish::Abort { ref at } => {
            let (first, tenure) = moving(state, at)?;
            Command::AbortMoves(vec![AbortRun {
                first,
                count: 1,
                tenure,
            }])
        }
        Wish::SetGroups {
            name,
            table,
            ttl,
            is_removed,
            late,
        } => {
            let name = format!("g{name}");
            let spec = table_spec(&format!("t{table}"), ttl);
            let upserts = [(name.as_str(), spec)];
            let upserts = if is_removed { &[] } else { &upserts[..] };
            let removed = if is_removed {
                &[name.as_str()]
            } else {
                &[][..]
            };
            let expected = state.revision() + u64::from(late);
            Command::SetGroups(set_groups(expected, upserts, removed))
        }
        Wish::Reset { name } => Command::ResetGroup(GroupRef::Name(format!("g{name}").into())),
        _ => return None,
    })
}

/// Changes the quorum as raft would, by a member that may be in it.
fn change_quorum(state: &mut State, which: &Index, is_member: bool) {
    let id = any_id(state, which);
    let role = if is_member {
        QuorumRole::Voter
    } else {
        QuorumRole::Removed
    };
    let change = QuorumChange {
        changes: vec![(id, role)],
    };
    if state.may_change_quorum(&change).is_ok() {
        let voters = state.quorum.voters_after(&change);
        state.set_quorum(Quorum {
            voters,
            ..Quorum::default()
        });
    }
}

/// The values seen so far that must never go back.
#[derive(Default)]
struct Seen {
    generations: BTreeMap<GroupId, Generation>,
    names: BTreeMap<GroupId, Arc<str>>,
}

impl Seen {
    /// Checks the effect of a step.
    fn check(&mut self, before: &State, after: &State, change: &Result<Change, Refusal>) {
        let is_same = before == after;
        let is_next = after.epoch.0 == before.epoch.0 + 1;
        match change {
            Err(_) | Ok(Change::Nothing | Change::Quorum) => assert!(is_same),
            Ok(Change::Joined(id)) if before.members.contains_key(id) => assert!(is_same),
            Ok(Change::Joined(id)) => assert!(is_next && *id == before.next_node),
            Ok(Change::Epoch(epoch)) => assert!(is_next && *epoch == after.epoch),
            Ok(Change::Finalized(version)) => assert!(!is_same && *version == after.version),
            Ok(Change::Groups(_) | Change::Reset(..)) => assert!(is_next),
        }
        assert!(after.next_node >= before.next_node && after.next_group >= before.next_group);
        assert!(after.revision() >= before.revision());
        for id in (1..before.next_node.0).map(NodeId) {
            assert!(
                !before.is_tombstone(id) || after.is_tombstone(id),
                "{id} came back"
            );
        }
        for ((partition, was), (_, now)) in before.table.iter().zip(after.table.iter()) {
            assert!(now.tenure >= was.tenure, "partition {partition}");
            assert!(
                now.owner == was.owner || now.tenure > was.tenure,
                "partition {partition}"
            );
        }
        for group in after.groups.values() {
            let generation = self.generations.insert(group.id, group.generation);
            assert!(generation.is_none_or(|known| known <= group.generation));
            let name = self.names.insert(group.id, group.name.clone());
            assert!(name.is_none_or(|known| known == group.name));
        }
        let view = after.view().unwrap();
        assert_eq!(
            (view.epoch(), view.members().len()),
            (after.epoch, after.members.len())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn replicas_stay_the_same_and_nothing_goes_back(
        size in 1..6u64,
        wishes in prop::collection::vec(any_wish(), 1..60),
    ) {
        let mut one = cluster(size);
        let mut other = one.clone();
        let mut seen = Seen::default();
        for wish in &wishes {
            if let Wish::Quorum { which, is_member } = wish {
                change_quorum(&mut one, which, *is_member);
                change_quorum(&mut other, which, *is_member);
            }
            let command = member_command(&one, wish).or_else(|| other_command(&one, wish));
            if let Some(command) = command {
                let before = one.clone();
                let change = one.apply(&command);
                seen.check(&before, &one, &change);
                let read = Command::decode(&command.encode()).unwrap();
                prop_assert_eq!(&read, &command);
                prop_assert_eq!(other.apply(&read), change);
            }
            other = State::decode(&other.encode()).unwrap();
            prop_assert_eq!(one.hash(), other.hash());
            prop_assert!(one == other);
        }
    }
}

#[test]
fn no_plan_follows_a_plan_that_was_applied() {
    for size in 1..=7 {
        assert_eq!(cluster(size).plan_assign(), None);
    }
}

#[test]
fn a_founder_that_could_not_join_is_refused() {
    assert_eq!(founding().check(), Ok(()));
    let mut bad = founding();
    bad.first.weight = 0;
    assert_eq!(bad.check(), Err(Refusal::BadWeight(0)));
    let mut other = founding();
    other.settings.partitions = 1;
    assert!(matches!(other.check(), Err(Refusal::SettingDiffers { .. })));
}

#[test]
fn the_oldest_superseded_clusters_are_forgotten() {
    let mut founding = founding();
    founding.supersedes = (0..KEPT_SUPERSEDED as u128 + 3).map(ClusterId).collect();
    let state = State::found(founding);
    assert_eq!(state.supersedes().len(), KEPT_SUPERSEDED);
    assert_eq!(state.supersedes()[0], ClusterId(3));
}

#[test]
fn a_state_of_a_dozen_members_and_a_score_of_groups_is_below_64_kib() {
    let mut state = cluster(1);
    // Members join one by one, so that partitions have many tenures and there is a history of removed
    // members.
    for n in 2..=12 + KEPT_TOMBSTONES as u64 {
        let node = Joiner {
            name: format!("ip-10-0-{n}-{n}.eu-central-1.compute.internal").into(),
            ..joiner(n)
        };
        let Ok(Change::Joined(id)) = state.apply(&Command::Join(node)) else {
            panic!("node {n} did not join");
        };
        if n > 12 {
            state.apply(&Command::RemoveMember(id)).unwrap();
            continue;
        }
        let (status, incarnation) = (MemberStatus::Up, Incarnation(1));
        let up = SetStatus {
            id,
            status,
            incarnation,
        };
        state.apply(&Command::SetStatus(up)).unwrap();
        let plan = state.plan_assign().unwrap();
        state.apply(&plan).unwrap();
    }
    let statement = |n: usize, round: u64| {
        query_spec(&format!(
            "SELECT aid, row_to_json(a)::text FROM pgbench_accounts_{n} a WHERE aid = ANY($1) -- {round}"
        ))
    };
    let names: Vec<String> = (0..20).map(|n| format!("accounts-of-region-{n}")).collect();
    let all = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.as_str(), statement(n, 0)));
    let all: Vec<_> = all.collect();
    state
        .apply(&Command::SetGroups(set_groups(0, &all, &[])))
        .unwrap();
    for round in 1..KEPT_REVISIONS as u64 {
        let changed = [(names[0].as_str(), statement(0, round))];
        state
            .apply(&Command::SetGroups(set_groups(round, &changed, &[])))
            .unwrap();
    }
    for (first, to) in (0..4096).step_by(64).zip((1..=12).cycle().map(NodeId)) {
        let run = MoveRun {
            first: Partition(first),
            count: 1,
            to,
        };
        let prepare = PrepareMoves {
            expected: state.epoch,
            runs: vec![run],
        };
        // Refused where `to` owns it already.
        let _ = state.apply(&Command::PrepareMoves(prepare));
    }
    let bytes = state.encode();
    assert_eq!(State::decode(&bytes).unwrap(), state);
    assert!(bytes.len() < 64 << 10, "{} bytes", bytes.len());
    println!("{} bytes", bytes.len());
}
