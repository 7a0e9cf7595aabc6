//! Claims about the view, and the frozen order of the last resort.

use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::ids::Generation;
use crate::topology::model::group::{GroupSpec, OnIsolated, Source};
use crate::topology::model::member::{MAX_MEMBERS, MAX_WEIGHT, Zone};
use crate::topology::model::partitions::Assignment;
use crate::topology::placement::place;

fn member(id: u64) -> Member {
    Member {
        id: NodeId(id),
        name: format!("node-{id}").into(),
        host: "127.0.0.1".into(),
        grpc_port: 8001,
        zone: Zone::new(format!("zone-{}", id % 3)),
        weight: 1,
        status: MemberStatus::Up,
    }
}

fn members(ids: &[u64]) -> Vec<Member> {
    ids.iter().copied().map(member).collect()
}

fn group(id: u32, name: &str) -> Group {
    let source = Source::Table {
        table: "scores".into(),
        key_column: "name".into(),
        value_column: "score".into(),
        key_type: None,
    };
    let spec = GroupSpec {
        source,
        content_type: "text/plain".into(),
        ttl: Duration::from_secs(60),
        ttl_jitter: 0.1,
        stale: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        negative_ttl: Duration::from_secs(5),
        error_ttl: Duration::from_millis(100),
        max_value_bytes: 1 << 20,
        on_isolated: OnIsolated::Serve,
        copies: 1,
    };
    Group {
        id: GroupId(id),
        name: name.into(),
        generation: Generation(1),
        copies_since: Epoch(0),
        spec,
    }
}

/// A view of these members, placed from scratch.
fn view(members: Vec<Member>) -> View {
    let table = place(&members, None, Epoch(1));
    View::new("test", Epoch(1), members, &table, vec![]).unwrap()
}

/// A sequence of hashes that reaches every partition alike.
fn hashes(count: u64) -> impl Iterator<Item = KeyHash> {
    (1..=count).map(|n| KeyHash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

#[test]
fn a_route_is_the_tables_entry_of_the_hashs_partition() {
    let members = members(&[30, 10, 20, 40]);
    let table = place(&members, None, Epoch(5));
    let table = PartitionTable::from_fn(|partition| Assignment {
        inherits: (partition.0 % 2 == 0).then_some(Tenure(4)),
        ..table[partition]
    });
    let view = View::new("test", Epoch(6), members, &table, vec![]).unwrap();
    for hash in hashes(10_000) {
        let route = view.route(hash);
        let expected = table[hash.partition()];
        assert_eq!(route.partition, hash.partition());
        assert_eq!(route.owner.map(|index| view.at(index).id), expected.owner);
        assert_eq!(
            route.standby.map(|index| view.at(index).id),
            expected.standby
        );
        assert_eq!(
            (route.tenure, route.inherits),
            (expected.tenure, expected.inherits)
        );
    }
    assert!(
        view.routes()
            .map(|route| route.partition)
            .eq(table.iter().map(|(p, _)| p))
    );
}

#[test]
fn one_look_says_route_copies_role_and_what_is_valid() {
    let ids = [1, 2, 3];
    let placed = place(&members(&ids), None, Epoch(5));
    let table = PartitionTable::from_fn(|partition| Assignment {
        inherits: (partition.0 % 2 == 0).then_some(Tenure(4)),
        copies: Copies {
            since: Epoch(6),
            are_kept: partition.0 % 3 == 0,
        },
        ..placed[partition]
    });
    let group = Group {
        generation: Generation(7),
        ..group(1, "a")
    };
    let view = View::new("test", Epoch(8), members(&ids), &table, vec![group.clone()]).unwrap();
    for route in view.routes() {
        let partition = route.partition;
        let stamps = Stamps {
            tenure: Tenure(5),
            inherits: (partition.0 % 2 == 0).then_some(Tenure(4)),
            copies: (partition.0 % 3 == 0).then_some(Tenure(6)),
            generation: Generation(7),
        };
        assert_eq!(view.stamps(partition, &group), stamps);
        for id in [1, 2, 3, 4].map(NodeId) {
            let standing = view.standing(id, partition);
            let expected = Standing {
                route,
                copies: view.copies_of(partition),
                role: view.role_of(id, partition),
            };
            assert_eq!(standing, expected);
            assert_eq!(standing.stamps(&group), stamps);
        }
    }
}

#[test]
fn a_role_depends_on_node_and_partition() {
    let view = view(members(&[1, 2, 3]));
    for route in view.routes() {
        let [owner, standby] = [route.owner, route.standby].map(|i| view.at(i.unwrap()).id);
        for id in [1, 2, 3, 4].map(NodeId) {
            let expected = match id {
                id if id == owner => Role::Owner,
                id if id == standby => Role::Standby,
                _ => Role::Neither,
            };
            assert_eq!(view.role_of(id, route.partition), expected);
            assert_eq!(view.is_owner(id, route.partition), expected == Role::Owner);
        }
    }
}

#[test]
fn members_and_groups_are_found_by_id_index_and_name() {
    let members = members(&[30, 10, 20]);
    let table = place(&members, None, Epoch(1));
    let groups = vec![group(9, "scores"), group(4, "accounts")];
    let view = View::new("test", Epoch(7), members, &table, groups).unwrap();
    assert_eq!((view.cluster(), view.epoch()), ("test", Epoch(7)));
    assert!(
        view.members()
            .iter()
            .map(|member| member.id.0)
            .eq([10, 20, 30])
    );
    assert_eq!(view.member(NodeId(20)).unwrap().name.as_ref(), "node-20");
    assert_eq!(view.index_of(NodeId(20)).unwrap().get(), 1);
    assert!(view.member(NodeId(21)).is_none());
    assert!(view.groups().map(|group| group.id.0).eq([4, 9]));
    assert_eq!(view.group(GroupId(9)).unwrap().name.as_ref(), "scores");
    assert_eq!(view.group_by_name("accounts").unwrap().id, GroupId(4));
    assert!(view.group(GroupId(5)).is_none() && view.group_by_name("Scores").is_none());
}

#[test]
fn a_topology_without_members_has_a_view_and_routes_nowhere() {
    let view = view(vec![]);
    let route = view.route(KeyHash(7));
    assert_eq!((route.owner, route.standby), (None, None));
    assert!(view.last_resort(KeyHash(7), |_| true).is_none());
}

#[test]
fn a_member_that_is_down_may_still_own_but_is_the_last_of_last_resorts() {
    let mut members = members(&[1, 2]);
    let table = place(&members, None, Epoch(1));
    members[0].status = MemberStatus::Down;
    let view = View::new("test", Epoch(2), members, &table, vec![]).unwrap();
    assert!(
        view.routes()
            .any(|route| view.at(route.owner.unwrap()).id == NodeId(1))
    );
    assert!(hashes(100).all(|hash| view.last_resort(hash, |_| true).unwrap().id == NodeId(2)));
    // It is the last resort if no other member is reachable.
    let alone = |id| id == NodeId(1);
    assert!(hashes(100).all(|hash| view.last_resort(hash, alone).unwrap().id == NodeId(1)));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let mut members = members(&[1, 2, 2, 3]);
    members[3].name = "node-1".into();
    members[0].weight = 0;
    members[3].weight = MAX_WEIGHT + 1;
    let sound = Assignment {
        owner: Some(NodeId(1)),
        tenure: Tenure(5),
        since: Epoch(5),
        ..Assignment::default()
    };
    let table = PartitionTable::from_fn(|partition| match partition.0 {
        5 => Assignment {
            standby: sound.owner,
            ..sound
        },
        6 => Assignment {
            owner: None,
            standby: Some(NodeId(2)),
            ..sound
        },
        7 | 8 => Assignment {
            tenure: Tenure(6),
            ..sound
        },
        9 => Assignment {
            inherits: Some(Tenure(5)),
            ..sound
        },
        10 | 11 => Assignment {
            owner: Some(NodeId(99)),
            standby: Some(NodeId(99)),
            ..sound
        },
        12 => Assignment {
            standby: Some(NodeId(98)),
            ..sound
        },
        _ => sound,
    });
    let groups = vec![group(1, "a"), group(1, "b"), group(2, "b")];
    let error = View::new("test", Epoch(5), members, &table, groups).unwrap_err();
    let broken = |rule, first, others| ViewMistake::BrokenRule {
        rule,
        first: Partition(first),
        others,
    };
    let unknown = |id, first, others| ViewMistake::UnknownMember {
        id: NodeId(id),
        first: Partition(first),
        others,
    };
    let expected = [
        ViewMistake::DuplicateMemberId(NodeId(2)),
        ViewMistake::DuplicateMemberName("node-1".into()),
        ViewMistake::DuplicateMemberName("node-2".into()),
        ViewMistake::WeightOutOfRange {
            id: NodeId(1),
            weight: 0,
        },
        ViewMistake::WeightOutOfRange {
            id: NodeId(3),
            weight: MAX_WEIGHT + 1,
        },
        ViewMistake::DuplicateGroupId(GroupId(1)),
        ViewMistake::DuplicateGroupName("b".into()),
        broken(PartitionRule::StandbyIsNotOwner, 5, 2),
        broken(PartitionRule::StandbyHasOwner, 6, 0),
        broken(PartitionRule::TenureWithinEpoch, 7, 1),
        broken(PartitionRule::InheritsOlder, 9, 0),
        unknown(98, 12, 0),
        unknown(99, 10, 1),
    ];
    assert_eq!(error.mistakes, expected);
    let text = error.to_string();
    assert!(
        text.starts_with("not a topology: member id 2 occurs twice; member name"),
        "{text}"
    );
}

#[test]
fn more_members_than_the_most_are_refused() {
    let most: Vec<u64> = (1..=MAX_MEMBERS as u64 + 1).collect();
    let table = PartitionTable::from_fn(|_| Assignment::default());
    let error = View::new("test", Epoch(1), members(&most), &table, vec![]).unwrap_err();
    assert_eq!(
        error.mistakes,
        [ViewMistake::TooManyMembers(MAX_MEMBERS + 1)]
    );
    assert!(View::new("test", Epoch(1), members(&most[1..]), &table, vec![]).is_ok());
}

#[test]
fn an_unreachable_last_resort_passes_on_only_its_own_keys_and_evenly() {
    let view = view(members(&[1, 2, 3, 4, 5]));
    let mut inherited = [0; 6];
    for hash in hashes(20_000) {
        let before = view.last_resort(hash, |_| true).unwrap().id;
        let after = view.last_resort(hash, |id| id != NodeId(3)).unwrap().id;
        if before == NodeId(3) {
            inherited[after.0 as usize] += 1;
        } else {
            assert_eq!(after, before);
        }
    }
    // Of 4000 keys, 1000 are expected at each of the others, with a standard deviation of 30.
    assert_eq!(inherited[3], 0);
    for id in [1, 2, 4, 5] {
        assert!((850..=1150).contains(&inherited[id]), "{inherited:?}");
    }
}

/// Each line of `tests/data/rendezvous.txt` has a key hash, and the ids in their order as last resorts.
/// Frozen; written by `GCACHE_BLESS=1 cargo test golden`.
#[test]
fn golden_last_resorts_hold() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rendezvous.txt");
    let ids = [1, 2, 3, 4, 5, 77, 1 << 32, u64::MAX];
    let view = view(members(&ids));
    let mut rendered = String::from(
        "# Last resorts of a key hash among these members, first to last. Frozen.\n\
         # Bless: GCACHE_BLESS=1 cargo test golden\n",
    );
    for hash in [KeyHash(0), KeyHash(1), KeyHash(u64::MAX)]
        .into_iter()
        .chain(hashes(61))
    {
        write!(rendered, "{:016x}", hash.0).unwrap();
        let mut tried = Vec::new();
        while let Some(next) = view.last_resort(hash, |id| !tried.contains(&id)) {
            write!(rendered, " {}", next.id).unwrap();
            tried.push(next.id);
        }
        assert_eq!(tried.len(), ids.len());
        rendered.push('\n');
    }
    if std::env::var_os("GCACHE_BLESS").is_some() {
        std::fs::write(path, rendered).unwrap();
    } else {
        assert_eq!(std::fs::read_to_string(path).unwrap(), rendered);
    }
}
