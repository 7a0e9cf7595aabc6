//! What a standby and a last resort may do in the owner's place.

use super::*;

fn standby() -> Bench {
    Bench {
        role: Role::Standby,
        ..Bench::new()
    }
}

#[test]
fn a_standbys_answer_lives_two_seconds_from_the_loads_start() {
    let mut bench = standby();
    bench.rules.ttl_ms = 60_000;
    let (lead, _wait) = bench.lead("k");
    let load_started = bench.now;
    bench.later(700);
    assert!(
        lead.finish(
            Loaded::Value(b"v"),
            &Fill {
                load_started,
                ..bench.fill()
            }
        )
        .stored
    );
    bench.later(1_299);
    assert!(matches!(bench.ask("k"), Found::Fresh(_)));
    bench.later(1);
    let (_lead, wait) = bench.lead("k");
    drop(wait);
    assert_eq!(
        bench.cache.stats().entries,
        0,
        "no stale window, nothing kept"
    );
}

#[test]
fn a_standbys_flight_older_than_two_seconds_takes_no_joiners() {
    let mut bench = standby();
    let load_started = bench.now;
    let (old, first) = bench.lead("k");
    bench.later(2_000);
    let last_joiner = bench.join("k");
    bench.later(1);
    let (new, second) = bench.lead("k");
    let fill = Fill {
        load_started,
        ..bench.fill()
    };
    assert!(!old.finish(Loaded::Value(b"old"), &fill).stored);
    assert_eq!(value(&outcome_now(first).unwrap()), "old");
    assert_eq!(value(&outcome_now(last_joiner).unwrap()), "old");
    assert!(new.finish(Loaded::Value(b"new"), &bench.fill()).stored);
    assert_eq!(value(&outcome_now(second).unwrap()), "new");
    bench.assert_settled();
}

#[test]
fn a_last_resorts_flight_older_than_two_seconds_takes_no_joiners() {
    // A delete acknowledged by the owner meanwhile closed no flight here.
    let mut bench = Bench::new();
    bench.role = Role::LastResort;
    let (_old, _first) = bench.lead("k");
    bench.later(2_000);
    drop(bench.join("k"));
    bench.later(1);
    drop(bench.lead("k"));
}

#[test]
fn an_owners_flight_takes_joiners_at_any_age() {
    let mut bench = Bench::new();
    let (_lead, _wait) = bench.lead("k");
    bench.later(60_000);
    drop(bench.join("k"));
}

#[test]
fn owner_and_standby_see_only_their_own_entries() {
    let mut bench = Bench::new();
    bench.load_value("k", "owner's");
    bench.role = Role::Standby;
    assert!(bench.get("k").is_none());
    bench.load_value("k", "standby's");
    assert_eq!(bench.get("k").unwrap().value(), b"standby's");
    bench.role = Role::Owner;
    assert!(bench.get("k").is_none());
    bench.assert_settled();
}

#[test]
fn a_last_resort_coalesces_looks_at_nothing_and_stores_nothing() {
    let mut bench = Bench::new();
    bench.load_value("k", "stored");
    bench.role = Role::LastResort;
    assert!(bench.get("k").is_none());
    let (lead, first) = bench.lead("k");
    let second = bench.join("k");
    assert!(!lead.finish(Loaded::Value(b"loaded"), &bench.fill()).stored);
    assert_eq!(value(&outcome_now(first).unwrap()), "loaded");
    assert_eq!(value(&outcome_now(second).unwrap()), "loaded");
    bench.role = Role::Owner;
    assert_eq!(bench.get("k").unwrap().value(), b"stored");
    bench.assert_settled();
}

#[test]
fn roles_do_not_share_flights_and_a_delete_closes_them_all() {
    let mut bench = Bench::new();
    let mut flights = Vec::new();
    for role in [Role::Owner, Role::Standby, Role::LastResort] {
        bench.role = role;
        flights.push(bench.lead("k"));
    }
    assert_eq!(bench.cache.stats().flights, 3);
    bench.delete("k");
    assert_eq!(bench.cache.stats().flights, 0);
    for (lead, wait) in flights {
        assert!(!lead.finish(Loaded::Value(b"v"), &bench.fill()).stored);
        assert_eq!(value(&outcome_now(wait).unwrap()), "v");
    }
    bench.assert_settled();
}
