//! States and commands with which tests of the topology begin.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::topology::commands::{
    Agreed, COMMAND_VERSION, Change, Command, Joiner, SetGroups, SetStatus,
};
use crate::topology::model::group::{GroupSpec, KeyType, OnIsolated, Source};
use crate::topology::model::member::{MemberStatus, Zone};
use crate::topology::state::{Founding, State};

/// The description of node `n`, in one of three zones.
pub(super) fn joiner(n: u64) -> Joiner {
    Joiner {
        name: format!("node-{n}").into(),
        host: format!("127.0.1.{n}").into(),
        raft_port: 7000,
        grpc_port: 8001,
        admin_port: 2112,
        zone: Zone::new(format!("zone-{}", n % 3)),
        weight: 1024,
        incarnation: Incarnation(1),
        version: 2,
        settings: Agreed::ours(),
        nonce: 0x1000 + n,
        leaves_on_term: false,
    }
}

/// What a node called `name` says of itself, at its first start on one address with all others.
pub(crate) fn named(name: &str) -> Joiner {
    Joiner {
        name: name.into(),
        host: "127.0.0.1".into(),
        raft_port: 7000,
        grpc_port: 8001,
        admin_port: 2112,
        zone: Zone::new("a"),
        weight: 1,
        incarnation: Incarnation(1),
        version: COMMAND_VERSION,
        settings: Agreed::ours(),
        nonce: 0,
        leaves_on_term: false,
    }
}

pub(super) fn founding() -> Founding {
    Founding {
        cluster: ClusterId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        supersedes: vec![ClusterId(7), ClusterId(8)],
        settings: Agreed::ours(),
        first: joiner(1),
    }
}

/// A cluster of the members 1 to `count`, all up, which share the partitions evenly.
pub(crate) fn cluster(count: u64) -> State {
    let mut state = State::found(founding());
    for n in 2..=count {
        assert_eq!(
            state.apply(&Command::Join(joiner(n))),
            Ok(Change::Joined(NodeId(n)))
        );
        state.apply(&status(n, MemberStatus::Up)).unwrap();
    }
    if let Some(plan) = state.plan_assign() {
        state.apply(&plan).unwrap();
    }
    state
}

/// The command that gives member `id`, at its first start, this status.
pub(crate) fn status(id: u64, status: MemberStatus) -> Command {
    Command::SetStatus(SetStatus {
        id: NodeId(id),
        status,
        incarnation: Incarnation(1),
    })
}

/// A group of one table, fresh for `ttl_s`.
pub(crate) fn table_spec(table: &str, ttl_s: u64) -> GroupSpec {
    GroupSpec {
        source: Source::Table {
            table: table.to_owned(),
            key_column: "name".to_owned(),
            value_column: "score".to_owned(),
            key_type: None,
        },
        content_type: "text/plain".to_owned(),
        ttl: Duration::from_secs(ttl_s),
        ttl_jitter: 0.1,
        stale: Duration::from_millis(1500),
        stale_if_error: Duration::ZERO,
        negative_ttl: Duration::from_secs(5),
        error_ttl: Duration::from_millis(500),
        max_value_bytes: 1 << 20,
        on_isolated: OnIsolated::Serve,
        copies: 1,
    }
}

/// A group of one statement.
pub(super) fn query_spec(statement: &str) -> GroupSpec {
    GroupSpec {
        source: Source::Query {
            statement: statement.to_owned(),
            key_type: KeyType::Bigint,
        },
        ..table_spec("unused", 60)
    }
}

/// The command that makes or changes `upserts` and removes `removed` after revision `expected`.
pub(super) fn set_groups(
    expected: u64,
    upserts: &[(&str, GroupSpec)],
    removed: &[&str],
) -> SetGroups {
    let upserts = upserts.iter();
    SetGroups {
        expected,
        upserts: upserts
            .map(|(name, spec)| (Arc::from(*name), spec.clone()))
            .collect(),
        removed: removed.iter().map(|name| Arc::from(*name)).collect(),
        at_unix_ms: 1_790_000_000_000 + expected,
        note: format!("after {expected}"),
    }
}
