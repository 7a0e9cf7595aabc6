//! Claims about encodings: they are frozen and canonical, and no bytes cause a panic.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::ids::{Epoch, GroupId, Incarnation, NodeId, Partition, Tenure};
use crate::topology::commands::{
    AbortRun, ActivateRun, Assign, COMMAND_VERSION, CopiesRun, FailOver, GroupRef, Joiner, MoveRun,
    PrepareMoves, Resume, Run, SetGroups, SetStatus,
};
use crate::topology::fixtures::{
    cluster, founding, joiner, query_spec, set_groups, status, table_spec,
};
use crate::topology::model::group::{GroupSpec, OnIsolated};
use crate::topology::model::member::MemberStatus;
use crate::topology::model::partitions::Assignment;
use crate::topology::model::quorum::Quorum;

/// One command of each kind, with every field set.
fn commands() -> Vec<(&'static str, Command)> {
    let run = Run {
        first: Partition(4000),
        count: 96,
        owner: Some(NodeId(3)),
        standby: Some(NodeId(300)),
        is_inheriting: true,
    };
    let (first, count, tenure) = (Partition(17), 2, Tenure(70_000));
    let set = set_groups(
        7,
        &[
            ("scores", table_spec("public.scores", 60)),
            ("accounts", query_spec("SELECT $1")),
        ],
        &["old", "older"],
    );
    vec![
        ("join", Command::Join(of_first_version(2))),
        (
            "resume",
            Command::Resume(Resume {
                id: NodeId(2),
                node: Joiner {
                    incarnation: Incarnation(5),
                    ..of_first_version(2)
                },
            }),
        ),
        (
            "set_status",
            Command::SetStatus(SetStatus {
                id: NodeId(2),
                status: MemberStatus::Leaving,
                incarnation: Incarnation(5),
            }),
        ),
        (
            "assign",
            Command::Assign(Assign {
                expected: Epoch(9),
                runs: vec![run; 2],
            }),
        ),
        (
            "prepare_moves",
            Command::PrepareMoves(PrepareMoves {
                expected: Epoch(9),
                runs: vec![MoveRun {
                    first,
                    count,
                    to: NodeId(4),
                }],
            }),
        ),
        (
            "activate_moves",
            Command::ActivateMoves(vec![ActivateRun {
                first,
                count,
                tenure,
                standby: Some(NodeId(1)),
            }]),
        ),
        (
            "abort_moves",
            Command::AbortMoves(vec![AbortRun {
                first,
                count,
                tenure,
            }]),
        ),
        (
            "fail_over",
            Command::FailOver(FailOver {
                expected: Epoch(9),
                id: NodeId(2),
                incarnation: Incarnation(5),
                runs: vec![run],
            }),
        ),
        ("set_groups", Command::SetGroups(set)),
        (
            "reset_group_name",
            Command::ResetGroup(GroupRef::Name("scores".into())),
        ),
        (
            "reset_group_id",
            Command::ResetGroup(GroupRef::Id(GroupId(6))),
        ),
        ("remove_member", Command::RemoveMember(NodeId(2))),
        ("set_paused", Command::SetPaused(true)),
        (
            "set_copies",
            Command::SetCopies(vec![CopiesRun {
                first,
                count,
                since: Epoch(8),
                are_kept: true,
            }]),
        ),
    ]
}

/// Node `n` as an executable of the first version described it.
fn of_first_version(n: u64) -> Joiner {
    Joiner {
        version: 1,
        ..joiner(n)
    }
}

/// A state with something in every field.
fn state() -> State {
    let mut state = cluster(4);
    let mut apply = |command: Command| state.apply(&command).unwrap();
    apply(Command::Join(joiner(5)));
    apply(Command::RemoveMember(NodeId(5)));
    let scores = table_spec("public.scores", 60);
    apply(Command::SetGroups(set_groups(
        0,
        &[("scores", scores), ("accounts", query_spec("SELECT $1"))],
        &[],
    )));
    apply(Command::SetGroups(set_groups(
        1,
        &[("scores", table_spec("s", 9))],
        &["accounts"],
    )));
    apply(Command::ResetGroup(GroupRef::Id(GroupId(2))));
    apply(status(4, MemberStatus::Down));
    apply(Command::Join(Joiner {
        nonce: 44,
        leaves_on_term: true,
        ..joiner(4)
    }));
    apply(status(6, MemberStatus::Down));
    let expected = state.epoch();
    let first = state
        .table()
        .iter()
        .find(|(_, at)| at.owner == Some(NodeId(1)));
    let (first, at) = first.map(|(partition, at)| (partition, *at)).unwrap();
    let run = MoveRun {
        first,
        count: 1,
        to: at.standby.unwrap(),
    };
    let prepare = PrepareMoves {
        expected,
        runs: vec![run],
    };
    let _ = state.apply(&Command::PrepareMoves(prepare));
    let heir = state
        .table()
        .iter()
        .find(|(_, at)| at.owner == Some(NodeId(2)) && at.standby == Some(NodeId(1)));
    let (first, was) = heir.map(|(first, at)| (first, at.tenure)).unwrap();
    let inherit = Run {
        first,
        count: 1,
        owner: Some(NodeId(1)),
        standby: None,
        is_inheriting: false,
    };
    let expected = state.epoch();
    state
        .apply(&Command::Assign(Assign {
            expected,
            runs: vec![inherit],
        }))
        .unwrap();
    let inherits = Some(was);
    let assignment = Assignment {
        inherits,
        ..state.table()[first]
    };
    Arc::make_mut(&mut state.table).set(first, assignment);
    state.set_quorum(Quorum {
        voters: [1, 2].map(NodeId).into(),
        outgoing: [1, 3].map(NodeId).into(),
        learners: [4].map(NodeId).into(),
        learners_next: [3].map(NodeId).into(),
    });
    state
}

/// Compares `rendered` with `tests/data/NAME`, or writes it there if `GCACHE_BLESS` is set.
fn check_golden(name: &str, rendered: &str) {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("GCACHE_BLESS").is_some() {
        std::fs::write(&path, rendered).unwrap();
    } else {
        // Not `assert_eq`, which would print both.
        let frozen = std::fs::read_to_string(&path).unwrap();
        assert!(frozen == rendered, "{name} no longer holds");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Each line of `tests/data/commands_v1.txt` has a command's name and its bytes. Frozen, because logs contain
/// them. Written by `GCACHE_BLESS=1 cargo test golden`.
#[test]
fn golden_commands_hold() {
    let mut rendered = String::from(
        "# Encoded commands of version 1. Frozen: logs hold them.\n\
         # Bless: GCACHE_BLESS=1 cargo test golden\n",
    );
    for (name, command) in commands() {
        let bytes = command.encode();
        assert_eq!(Command::decode(&bytes).unwrap(), command);
        writeln!(rendered, "{name} {}", hex(&bytes)).unwrap();
    }
    check_golden("commands_v1.txt", &rendered);
}

/// `tests/data/state_v1.txt` has the hash and the bytes of a state, 32 a line. Frozen, because snapshots
/// contain them. Written by `GCACHE_BLESS=1 cargo test golden`.
#[test]
fn golden_states_hold() {
    let mut state = state();
    state
        .members
        .values_mut()
        .for_each(|member| member.version = 1);
    state.version = 1;
    let bytes = state.encode();
    assert_eq!(State::decode(&bytes).unwrap(), state);
    let mut rendered = String::from(
        "# An encoded state of version 1, after its hash. Frozen: snapshots hold it.\n\
         # Bless: GCACHE_BLESS=1 cargo test golden\n",
    );
    writeln!(rendered, "xxh3 {:016x}", state.hash()).unwrap();
    for line in bytes.chunks(32) {
        writeln!(rendered, "{}", hex(line)).unwrap();
    }
    check_golden("state_v1.txt", &rendered);
}

#[test]
fn the_golden_state_has_something_in_every_field() {
    let wire = state::to_wire(&state());
    let table = wire.table.unwrap();
    for column in [
        table.owner,
        table.standby,
        table.tenure,
        table.inherits,
        table.move_to,
    ] {
        assert!(column.unwrap().values.len() > 1);
    }
    let counts = [
        wire.supersedes.len(),
        wire.tombstones.len(),
        wire.groups.len(),
        wire.revisions.len(),
        wire.specs.len(),
    ];
    assert!(counts.into_iter().all(|count| count > 0), "{counts:?}");
    assert!(wire.members.iter().any(|member| member.replaced_by != 0));
}

#[test]
fn a_later_version_stops_and_names_itself() {
    let later = pb::CommandEnvelope {
        version: COMMAND_VERSION + 1,
        command: None,
    };
    let unknown = DecodeError::UnknownVersion {
        found: COMMAND_VERSION + 1,
        known: COMMAND_VERSION,
    };
    assert_eq!(
        Command::decode(&later.encode_to_vec()),
        Err(unknown.clone())
    );
    let mut wire = state::to_wire(&State::found(founding()));
    wire.version = COMMAND_VERSION + 1;
    assert_eq!(State::decode(&wire.encode_to_vec()), Err(unknown));
}

/// An entry with a group that uses a field unknown to version 1 has version 2.
#[test]
fn a_newer_field_of_a_group_needs_a_newer_version() {
    let group = |on_isolated| {
        let spec = GroupSpec {
            on_isolated,
            ..table_spec("scores", 60)
        };
        Command::SetGroups(SetGroups {
            expected: 0,
            upserts: vec![("scores".into(), spec)],
            removed: Vec::new(),
            at_unix_ms: 0,
            note: String::new(),
        })
    };
    for on_isolated in [OnIsolated::Serve, OnIsolated::Origin, OnIsolated::Refuse] {
        let command = group(on_isolated);
        let version = if on_isolated == OnIsolated::Serve {
            1
        } else {
            2
        };
        assert_eq!(command.version(), version);
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
}

/// A state without copies is encoded as it was before copies existed.
#[test]
fn a_state_keeps_copies_and_since_when() {
    let mut state = state();
    let table = state::to_wire(&state).table.unwrap();
    assert_eq!((table.copies_since, table.copies_kept), (None, None));
    let spec = GroupSpec {
        copies: 2,
        ..table_spec("s", 9)
    };
    let set = Command::SetGroups(set_groups(2, &[("scores", spec)], &[]));
    assert_eq!(set.version(), 2, "older executables cannot apply it");
    state.apply(&set).unwrap();
    let (first, at) = state.table().iter().next().unwrap();
    let drop = Command::SetCopies(vec![CopiesRun {
        first,
        count: 1,
        since: at.copies.since,
        are_kept: false,
    }]);
    state.apply(&drop).unwrap();
    let kept = state.table().iter().filter(|(_, at)| at.copies.are_kept);
    assert!(kept.count() > 1_000 && !state.table()[first].copies.are_kept);
    assert_eq!(State::decode(&state.encode()).unwrap(), state);
}

/// A state that is not paused is encoded as it was before pauses existed.
#[test]
fn a_state_keeps_whether_it_is_paused() {
    let mut state = state();
    state.version = 1;
    let before = state.encode();
    state.apply(&Command::SetPaused(true)).unwrap();
    let paused = State::decode(&state.encode()).unwrap();
    assert!(paused.is_paused() && paused == state);
    assert_eq!(paused.version(), 2, "older executables cannot join it");
    state.is_paused = false;
    (state.epoch.0, state.version) = (state.epoch.0 - 1, 1);
    assert_eq!(state.encode(), before);
}

#[test]
fn unknown_fields_are_not_skipped() {
    let is_malformed =
        |bytes: &[u8]| matches!(Command::decode(bytes), Err(DecodeError::Malformed(_)));
    // Version 1 with a command of field 100; a known command with a field 100 beside it.
    assert!(is_malformed(&[0x08, 0x01, 0xa2, 0x06, 0x00]));
    let mut bytes = Command::RemoveMember(NodeId(2)).encode().to_vec();
    assert!(Command::decode(&bytes).is_ok());
    bytes.extend([0xa0, 0x06, 0x01]);
    assert!(is_malformed(&bytes));
    assert!(is_malformed(&[]) && is_malformed(b"\x08\x01") && is_malformed(&[0xff; 40]));
    let mut bytes = State::found(founding()).encode().to_vec();
    bytes.extend([0xa0, 0x06, 0x01]);
    assert!(matches!(
        State::decode(&bytes),
        Err(DecodeError::Malformed(_))
    ));
}

#[test]
fn a_state_that_no_command_leads_to_is_malformed() {
    let is_malformed = |spoil: &dyn Fn(&mut pb::State)| {
        let mut wire = state::to_wire(&state());
        spoil(&mut wire);
        matches!(
            State::decode(&wire.encode_to_vec()),
            Err(DecodeError::Malformed(_))
        )
    };
    assert!(!is_malformed(&|_| {}));
    assert!(is_malformed(&|wire| wire.epoch = 0));
    assert!(is_malformed(&|wire| wire.epoch = u64::MAX));
    assert!(is_malformed(&|wire| wire.epoch = 3));
    assert!(is_malformed(&|wire| wire.next_node = 4));
    assert!(is_malformed(&|wire| wire.next_group = 1));
    assert!(is_malformed(&|wire| wire.members.reverse()));
    assert!(is_malformed(&|wire| wire.members[1].weight = 0));
    assert!(is_malformed(&|wire| wire.members[1].name = "node-1".into()));
    assert!(is_malformed(&|wire| wire.members[1].raft_port = 70_000));
    assert!(is_malformed(&|wire| wire.tombstones[0].id = 1));
    assert!(is_malformed(&|wire| wire.groups.clear()));
    assert!(is_malformed(&|wire| wire.groups[0].spec = 1));
    assert!(is_malformed(&|wire| wire.specs.swap(0, 1)));
    assert!(is_malformed(&|wire| wire.revisions.reverse()));
    assert!(is_malformed(&|wire| wire.cluster = vec![1; 15]));
    assert!(is_malformed(&|wire| wire.table = None));
    assert!(is_malformed(&|wire| wire.members.truncate(1)));
}

#[test]
fn a_column_of_another_length_is_malformed() {
    let is_malformed = |values: &[u64], cells: &[u32]| {
        let mut wire = state::to_wire(&State::found(founding()));
        let (values, cells) = (values.to_vec(), cells.to_vec());
        wire.table.as_mut().unwrap().inherits = Some(pb::Column { values, cells });
        State::decode(&wire.encode_to_vec()).is_err()
    };
    assert!(!is_malformed(&[0], &[1, 4096]));
    assert!(is_malformed(&[0], &[1, 4095]) && is_malformed(&[0], &[1, 4097]));
    assert!(is_malformed(&[0], &[1]) && is_malformed(&[0], &[3, 4096]));
    assert!(is_malformed(&[0], &[1, u32::MAX]) && is_malformed(&[], &[]));
    // Two runs instead of one: the same table, but not its one encoding.
    assert!(is_malformed(&[0], &[1, 4000, 1, 96]));
}

proptest! {
    #[test]
    fn random_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(command.encode(), bytes.clone());
        }
        prop_assert!(State::decode(&bytes).is_err());
    }

    #[test]
    fn damaged_commands_are_refused_or_canonical(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        is_cut in any::<bool>(),
    ) {
        let commands = commands();
        let mut bytes = which.get(&commands).1.encode().to_vec();
        let at = at.index(bytes.len());
        if is_cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(command.encode(), bytes);
        }
    }

    #[test]
    fn damaged_states_are_refused_or_sound(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = state().encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(state) = State::decode(&bytes) {
            prop_assert_eq!(state.encode(), bytes);
            prop_assert!(state.view().is_ok());
        }
    }
}
