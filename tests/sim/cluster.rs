//! The cluster that a run begins with, and the commands that its clients propose.

use std::time::Duration;

use gcache::ids::{Incarnation, NodeId, Partition};
use gcache::topology::commands::{
    Agreed, Assign, COMMAND_VERSION, Command, GroupRef, Joiner, Run, SetGroups, SetStatus,
};
use gcache::topology::model::group::{GroupSpec, KeyType, OnIsolated, Source};
use gcache::topology::model::member::{MemberStatus, Zone};
use gcache::topology::model::quorum::Quorum;
use gcache::topology::state::{Founding, State};

use crate::dice::Dice;
use crate::node::CLUSTER;

/// The names of the groups.
const GROUPS: [&str; 3] = ["accounts", "scores", "users"];

/// What the node of this number says of itself.
pub(crate) fn joiner(number: u64) -> Joiner {
    Joiner {
        name: format!("n{number}").into(),
        host: format!("n{number}.example").into(),
        raft_port: 7000,
        grpc_port: 8001,
        admin_port: 2112,
        zone: Zone::new(format!("z{}", number % 3)),
        weight: 1,
        incarnation: Incarnation(1),
        version: COMMAND_VERSION,
        settings: Agreed::ours(),
        nonce: number,
        leaves_on_term: false,
    }
}

/// What the task of this number says of itself: it never comes back under its name.
pub(crate) fn task(number: u64) -> Joiner {
    Joiner {
        leaves_on_term: true,
        ..joiner(number)
    }
}

/// The voters of a service.
const VOTERS: usize = 3;

/// The first state of a service of the tasks 1 to `members`, of which three vote.
pub(crate) fn service(members: u64, leaves_on_term: bool) -> State {
    let task = |number| Joiner {
        leaves_on_term,
        ..joiner(number)
    };
    let mut state = State::found(Founding {
        cluster: CLUSTER,
        supersedes: Vec::new(),
        settings: Agreed::ours(),
        first: task(1),
    });
    for number in 2..=members {
        let joined = state.apply(&Command::Join(task(number)));
        joined.expect("the first members fit together");
    }
    let mut ids = (1..=members).map(NodeId);
    state.set_quorum(Quorum {
        voters: ids.by_ref().take(VOTERS).collect(),
        learners: ids.collect(),
        ..Quorum::default()
    });
    state
}

/// The first state of a cluster of members 1 to `members`, all of which vote.
pub(crate) fn founding(members: u64) -> State {
    founding_of(members, COMMAND_VERSION, |_| COMMAND_VERSION)
}

/// That of one in which version `in_use` is in use, and whose members know these versions.
pub(crate) fn founding_of(members: u64, in_use: u32, version: impl Fn(u64) -> u32) -> State {
    let joiner = |number| Joiner {
        version: version(number),
        ..joiner(number)
    };
    let mut state = State::found(Founding {
        cluster: CLUSTER,
        supersedes: Vec::new(),
        settings: Agreed::ours(),
        first: joiner(1),
    });
    state.set_version(in_use);
    for number in 2..=members {
        let joined = state.apply(&Command::Join(joiner(number)));
        joined.expect("the first members fit together");
    }
    state.set_quorum(Quorum {
        voters: (1..=members).map(NodeId).collect(),
        ..Quorum::default()
    });
    state
}

/// A command that changes little. Some are refused, which is an outcome too.
pub(crate) fn command(dice: &mut Dice, state: &State) -> Command {
    match dice.within(0..10) {
        0..6 => set_status(dice, state),
        6..8 => Command::ResetGroup(GroupRef::Name(group(dice).into())),
        8 => assign(dice, state),
        _ => set_groups(dice, state),
    }
}

/// A command that leaves the members alone and what they own, where leases decide about both.
pub(crate) fn group_command(dice: &mut Dice, state: &State) -> Command {
    if state.revision() > 0 && dice.chance(800) {
        Command::ResetGroup(GroupRef::Name(group(dice).into()))
    } else {
        set_groups(dice, state)
    }
}

fn set_groups(dice: &mut Dice, state: &State) -> Command {
    Command::SetGroups(SetGroups {
        expected: state.revision(),
        upserts: vec![(group(dice).into(), spec(dice))],
        removed: Vec::new(),
        at_unix_ms: 0,
        note: String::new(),
    })
}

fn set_status(dice: &mut Dice, state: &State) -> Command {
    let members: Vec<_> = state
        .members()
        .map(|member| (member.id, member.incarnation))
        .collect();
    let (id, incarnation) = dice.pick(&members).unwrap_or_default();
    let statuses = [MemberStatus::Up, MemberStatus::Down, MemberStatus::Leaving];
    Command::SetStatus(SetStatus {
        id,
        status: dice.pick(&statuses).unwrap_or(MemberStatus::Up),
        incarnation,
    })
}

fn assign(dice: &mut Dice, state: &State) -> Command {
    let members: Vec<_> = state.members().map(|member| member.id).collect();
    Command::Assign(Assign {
        expected: state.epoch(),
        runs: vec![Run {
            first: Partition(dice.within(0..4_000) as u16),
            count: dice.within(1..64) as u16,
            owner: dice.pick(&members),
            standby: None,
            is_inheriting: false,
        }],
    })
}

fn group(dice: &mut Dice) -> &'static str {
    dice.pick(&GROUPS).unwrap_or(GROUPS[0])
}

fn spec(dice: &mut Dice) -> GroupSpec {
    GroupSpec {
        source: Source::Table {
            table: format!("t{}", dice.within(0..3)),
            key_column: "id".to_owned(),
            value_column: "value".to_owned(),
            key_type: Some(KeyType::Bigint),
        },
        content_type: "application/json".to_owned(),
        ttl: Duration::from_secs(dice.within(1..60)),
        ttl_jitter: 0.25,
        stale: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        negative_ttl: Duration::from_secs(1),
        error_ttl: Duration::from_millis(200),
        max_value_bytes: 1 << 20,
        on_isolated: OnIsolated::Serve,
        copies: 1,
    }
}

/// Makes all members of a founding state share the partitions.
pub(crate) fn share(state: &mut State) {
    let ids: Vec<_> = state.members().map(|member| member.id).collect();
    for id in ids {
        let up = Command::SetStatus(SetStatus {
            id,
            status: MemberStatus::Up,
            incarnation: Incarnation(1),
        });
        state.apply(&up).expect("a member may come up");
    }
    if let Some(plan) = state.plan_assign() {
        state.apply(&plan).expect("a plan fits its state");
    }
}

/// The command that makes a first group of this name.
pub(crate) fn one_group(name: &str) -> Command {
    Command::SetGroups(SetGroups {
        expected: 0,
        upserts: vec![(name.into(), spec(&mut Dice::new(0)))],
        removed: Vec::new(),
        at_unix_ms: 0,
        note: String::new(),
    })
}

/// A command that is always applied: whether anything is still committed.
pub(crate) fn probe() -> Command {
    Command::ResetGroup(GroupRef::Name(GROUPS[0].into()))
}
