//! Looking at a key changes nothing, and shows what no look-up would serve.

use super::*;

impl Bench {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.cache.peek(GROUP, key.as_bytes(), hash(key))
    }
}

#[test]
fn a_peek_counts_nothing_and_opens_no_flight() {
    let bench = Bench::new();
    bench.load_value("k", "v");
    let before = bench.cache.stats();
    assert_eq!(bench.peek("k").unwrap().value(), b"v");
    assert!(bench.peek("other").is_none());
    assert_eq!(bench.cache.stats(), before);
    bench.assert_settled();
}

#[test]
fn a_peek_keeps_no_entry_from_being_evicted() {
    // As many keys of one shard as it takes: the first is looked at after each fill.
    let shard = hash("0").shard();
    let own = (0..).map(|i: u32| i.to_string());
    let keys: Vec<String> = own
        .filter(|key| hash(key).shard() == shard)
        .take(40)
        .collect();
    let fill = |looks: fn(&Bench, &str)| {
        let bench = Bench::limited(4 << 10, 10, 10);
        for key in &keys {
            bench.load_value(key, "a value of some length");
            looks(&bench, &keys[0]);
        }
        bench.peek(&keys[0]).is_some()
    };
    assert!(fill(|bench, key| drop(bench.get(key))), "a hit keeps it");
    assert!(!fill(|bench, key| drop(bench.peek(key))), "a peek does not");
}

#[test]
fn what_has_ended_or_is_void_is_still_shown() {
    let mut bench = Bench::new();
    bench.load_value("k", "v");
    bench.later(60_000);
    let entry = bench.peek("k").unwrap();
    assert_eq!(entry.phase(bench.now), Phase::Dead);
    let owner = Some(Role::Owner);
    assert_eq!(entry.worth(&bench.stamps, owner), Worth::Valid);
    bench.stamps.generation.0 += 1;
    assert_eq!(
        bench.peek("k").unwrap().worth(&bench.stamps, owner),
        Worth::Void
    );
    assert!(bench.get("k").is_none());
    assert!(bench.peek("k").is_none(), "the look-up dropped it");
}

#[test]
fn an_entry_of_another_role_or_a_newer_view_is_unused() {
    let mut bench = Bench::new();
    bench.role = Role::Standby;
    bench.load_value("k", "v");
    let entry = bench.peek("k").unwrap();
    for (role, worth) in [
        (Some(Role::Standby), Worth::Valid),
        (Some(Role::Owner), Worth::Unused),
        (None, Worth::Unused),
    ] {
        assert_eq!(entry.worth(&bench.stamps, role), worth, "{role:?}");
    }
    let older = Stamps {
        tenure: Tenure(9),
        ..STAMPS
    };
    assert_eq!(entry.worth(&older, Some(Role::Standby)), Worth::Unused);
    let newer = Stamps {
        tenure: Tenure(11),
        ..STAMPS
    };
    assert_eq!(entry.worth(&newer, Some(Role::Standby)), Worth::Void);
    let heir = Stamps {
        inherits: Some(STAMPS.tenure),
        copies: None,
        ..newer
    };
    assert_eq!(entry.worth(&heir, Some(Role::Standby)), Worth::Valid);
}
