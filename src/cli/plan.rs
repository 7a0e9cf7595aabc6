//! `gcache ring plan`: what a join, a leave or another weight would move, and what load the origin would
//! see. Nothing is changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::args::Reach;
use super::cluster_client::Cluster;
use super::failure::Failure;
use super::pause::PAUSED;
use super::print::{print_json, table, write};
use super::samples::{self, Sample};
use crate::hash::PARTITIONS;
use crate::ids::NodeId;
use crate::topology::model::member::MemberRecord;
use crate::topology::moves::forecast::{Change, Forecast, Impossible, Share};
use crate::topology::state::State;

/// The arguments of `ring plan`. The changes are made all at once.
#[derive(Debug, ClapArgs)]
#[group(id = "changes", required = true, multiple = true, args = ["join", "leave", "weight"])]
pub(super) struct Plan {
    /// A member joins: by default in the zone with the least weight, with the mean weight of the members
    /// (the weight of a node is its node.memory in MiB)
    #[arg(long, value_name = "NAME[:ZONE[:WEIGHT]]", value_parser = join)]
    join: Vec<Change>,
    /// A member leaves
    #[arg(long, value_name = "NAME", value_parser = leave)]
    leave: Vec<Change>,
    /// The weight of a member becomes N
    #[arg(long, value_name = "NAME=N", value_parser = weight)]
    weight: Vec<Change>,
    #[command(flatten)]
    reach: Reach,
}

fn join(text: &str) -> Result<Change, String> {
    let mut parts = text.split(':');
    let name = parts.next().filter(|name| !name.is_empty());
    let name = name.ok_or("expected NAME, NAME:ZONE or NAME:ZONE:WEIGHT")?;
    let zone = parts.next().filter(|zone| !zone.is_empty());
    let weight = parts.next().map(number).transpose()?;
    if parts.next().is_some() {
        return Err("expected at most NAME:ZONE:WEIGHT".into());
    }
    Ok(Change::Join {
        name: name.to_owned(),
        zone: zone.map(str::to_owned),
        weight,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "what a parser of arguments gives")]
fn leave(text: &str) -> Result<Change, String> {
    Ok(Change::Leave(text.to_owned()))
}

fn weight(text: &str) -> Result<Change, String> {
    let (name, weight) = text.split_once('=').ok_or("expected NAME=N")?;
    Ok(Change::Weight(name.to_owned(), number(weight)?))
}

fn number(text: &str) -> Result<u32, String> {
    let weight = text.parse();
    weight.map_err(|_| format!("{text:?} is no weight: expected a whole number"))
}

/// Prints what the changes would move.
pub(super) async fn plan(args: &Plan) -> Result<(), Failure> {
    let state = Cluster::of(&args.reach)?.state().await?;
    let changes = [&args.weight[..], &args.join, &args.leave].concat();
    let forecast = Forecast::of(&state, &changes).map_err(|impossible| match impossible {
        Impossible::Weight(_) => Failure::Usage(impossible.to_string()),
        other => Failure::Failed(other.to_string()),
    })?;
    let records: Vec<&MemberRecord> = state.members().collect();
    let sampled = samples::of(&records).await;
    let sampled: Sampled = records
        .iter()
        .zip(sampled)
        .filter_map(|(record, sample)| Some((record.id, sample?)))
        .collect();
    let answer = as_json(&state, &forecast, &sampled);
    if args.reach.json {
        return print_json(&answer);
    }
    write(text(&answer).as_bytes(), false)
}

/// What each member said that answered.
type Sampled = BTreeMap<NodeId, Sample>;

/// Returns what one partition of a member is worth: its share of what the member has and is asked, which are
/// counted for the member as a whole. Partitions are many and spread evenly over the keys, so that an even
/// share is close, but for single keys that are very hot or very large.
fn per_partition(share: &Share, sampled: &Sampled) -> Option<Sample> {
    let all = sampled.get(&share.member.id)?;
    let part = |of: f64| of / share.before.max(1) as f64;
    Some(Sample {
        bytes: part(all.bytes),
        entries: part(all.entries),
        requests: part(all.requests),
        hits: part(all.hits),
        loads: part(all.loads),
    })
}

fn as_json(state: &State, forecast: &Forecast, sampled: &Sampled) -> Value {
    let share_of = |id: NodeId| forecast.shares.iter().find(|share| share.member.id == id);
    let worth = |id: NodeId| per_partition(share_of(id)?, sampled);
    let handed = |is_it: &dyn Fn(NodeId, NodeId) -> bool, what: fn(&Sample) -> f64| -> f64 {
        let moves = forecast.moved.iter();
        let moves = moves.filter(|((from, to), _)| is_it(*from, *to));
        moves
            .filter_map(|((from, _), count)| Some(what(&worth(*from)?) * *count as f64))
            .sum()
    };
    let members = forecast.shares.iter().map(|share| {
        let id = share.member.id;
        let sample = sampled.get(&id);
        json!({
            "name": &*share.member.name,
            "change": change(state, share),
            "zone": share.member.zone.as_str(),
            "weight": share.member.weight,
            "before": share.before,
            "after": share.after,
            "gained": share.gained,
            "lost": share.lost,
            "bytes_out": sample.map(|_| whole(handed(&|from, _| from == id, |one| one.bytes))),
            "bytes_in": whole(handed(&|_, to| to == id, |one| one.bytes)),
            "requests_per_s": sample.map(|sample| tenth(sample.requests)),
            "hits_per_s": sample.map(|sample| tenth(sample.hits)),
            "loads_per_s": sample.map(|sample| tenth(sample.loads)),
        })
    });
    let silent = state
        .members()
        .filter(|member| !sampled.contains_key(&member.id));
    let silent: Vec<&str> = silent.map(|member| &*member.name).collect();
    let moved: usize = forecast.moved.values().sum();
    let now: f64 = sampled.values().map(|sample| sample.loads).sum();
    let every = |_, _| true;
    let cold = now + handed(&every, |one| one.hits);
    json!({
        "epoch": state.epoch().0,
        "paused": state.is_paused(),
        "members": members.collect::<Vec<_>>(),
        "silent": silent,
        "moved": {
            "partitions": moved,
            "percent": tenth(100.0 * moved as f64 / PARTITIONS as f64),
            "entries": whole(handed(&every, |one| one.entries)),
            "bytes": whole(handed(&every, |one| one.bytes)),
        },
        "origin_loads_per_s": {
            "now": tenth(now),
            "warmed": tenth(now),
            "cold": tenth(cold),
        },
    })
}

/// Returns what would become of the member.
fn change(state: &State, share: &Share) -> Option<String> {
    let member = &share.member;
    let Some(was) = state.member(member.id) else {
        return Some("joins".to_owned());
    };
    if was.status != member.status {
        return Some("leaves".to_owned());
    }
    let is_other = was.weight != member.weight;
    is_other.then(|| format!("weighed {}", was.weight))
}

fn whole(number: f64) -> u64 {
    number.round() as u64
}

fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// The plan for people.
fn text(answer: &Value) -> String {
    let columns = [
        "name",
        "change",
        "zone",
        "weight",
        "before",
        "after",
        "gained",
        "lost",
        "out",
        "in",
        "requests/s",
        "hits/s",
        "loads/s",
    ];
    let members = answer["members"].as_array().map(Vec::as_slice);
    let rows: Vec<Value> = members.unwrap_or_default().iter().map(row).collect();
    let (moved, origin) = (&answer["moved"], &answer["origin_loads_per_s"]);
    let mut text = table(&columns, &rows);
    let lines = [
        (
            "moves",
            format!(
                "{} of {PARTITIONS} partitions, {} %",
                moved["partitions"], moved["percent"]
            ),
        ),
        (
            "to hand over",
            format!("{}, {} entries", size(&moved["bytes"]), moved["entries"]),
        ),
        ("origin now", format!("{} loads/s", origin["now"])),
        (
            "if warmed",
            format!(
                "{} loads/s: what is handed over is hit as before",
                origin["warmed"]
            ),
        ),
        (
            "if cold",
            format!(
                "{} loads/s at first, as each hit on what moved becomes a load; {} more at most in all",
                origin["cold"], moved["entries"]
            ),
        ),
    ];
    text.push('\n');
    for (name, said) in lines {
        let _infallible = writeln!(text, "{name:<13} {said}");
    }
    if answer["paused"] == true {
        text.push_str(&format!("\n{PAUSED}\n"));
    }
    if let Some(silent) = answer["silent"]
        .as_array()
        .filter(|silent| !silent.is_empty())
    {
        let names: Vec<_> = silent.iter().filter_map(Value::as_str).collect();
        let _infallible = writeln!(
            text,
            "{:<13} {}: no answer on the admin port, so not in the sums",
            "silent",
            names.join(", ")
        );
    }
    text
}

fn row(member: &Value) -> Value {
    json!({
        "name": member["name"],
        "change": member["change"],
        "zone": member["zone"],
        "weight": member["weight"],
        "before": member["before"],
        "after": member["after"],
        "gained": member["gained"],
        "lost": member["lost"],
        "out": size(&member["bytes_out"]),
        "in": size(&member["bytes_in"]),
        "requests/s": member["requests_per_s"],
        "hits/s": member["hits_per_s"],
        "loads/s": member["loads_per_s"],
    })
}

/// Bytes in the unit that people read, with three digits or so; a dash for none.
fn size(bytes: &Value) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let Some(mut left) = bytes.as_f64() else {
        return "-".to_owned();
    };
    let mut unit = 0;
    while left >= 1024.0 && unit + 1 < UNITS.len() {
        left /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && left < 100.0);
    format!("{left:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::model::member::{Member, MemberStatus, Zone};

    #[test]
    fn changes_are_read_as_they_are_written() {
        let joined = |name: &str, zone: Option<&str>, weight| Change::Join {
            name: name.into(),
            zone: zone.map(str::to_owned),
            weight,
        };
        assert_eq!(join("n4"), Ok(joined("n4", None, None)));
        assert_eq!(join("n4:a"), Ok(joined("n4", Some("a"), None)));
        assert_eq!(join("n4::512"), Ok(joined("n4", None, Some(512))));
        assert_eq!(weight("n1=2"), Ok(Change::Weight("n1".into(), 2)));
        for wrong in ["", ":a", "n4:a:b", "n4:a:1:2"] {
            assert!(join(wrong).is_err(), "{wrong}");
        }
        assert!(weight("n1").is_err() && weight("n1=-1").is_err());
    }

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (300 << 20, "300 MiB"),
        ] {
            assert_eq!(size(&json!(bytes)), shown);
        }
        assert_eq!(size(&Value::Null), "-");
    }

    #[test]
    fn a_partition_is_worth_its_even_share_of_its_member() {
        let member = Member {
            id: NodeId(1),
            name: "n1".into(),
            host: "".into(),
            grpc_port: 0,
            zone: Zone::new("a"),
            weight: 1,
            status: MemberStatus::Up,
        };
        let share = Share {
            member,
            before: 100,
            after: 75,
            gained: 0,
            lost: 25,
        };
        let sample = Sample {
            bytes: 1_000.0,
            hits: 50.0,
            ..Sample::default()
        };
        let one = per_partition(&share, &BTreeMap::from([(NodeId(1), sample)])).unwrap();
        assert_eq!((one.bytes, one.hits), (10.0, 0.5));
        assert_eq!(per_partition(&share, &BTreeMap::new()), None);
    }
}
