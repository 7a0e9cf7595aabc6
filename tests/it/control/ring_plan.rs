//! `gcache ring plan` tells what a change of the members would move, and that is what it moves.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::grown::Grown;
use crate::harness::setup::{ROWS, group, value};
use crate::testkit::wait::until;

/// A cluster that has cached every row.
async fn filled() -> Grown {
    let grown = Grown::start(3, 1).await;
    grown.write("groups.toml", &group("scores", "ttl = '1h'"));
    grown.json(&["group", "apply", "groups.toml"]).await;
    for row in 0..ROWS {
        let path = format!("/v1/scores/key-{row}");
        until("the row is served", async || {
            let answer = grown.get(0, &path).await;
            let is_it = answer.status == 200 && answer.text() == value(row);
            if is_it { Ok(()) } else { Err(answer) }
        })
        .await;
    }
    grown
}

/// The plan, once all that was cached is in what the members count.
async fn planned(grown: &Grown, args: &[&str]) -> Value {
    until("the members count what they have", async || {
        let plan = grown.json(&[&["ring", "plan"], args].concat()).await;
        let out = of_members(&plan, "bytes_out");
        let is_counted = out.values().sum::<u64>() > 0;
        if is_counted { Ok(plan) } else { Err(plan) }
    })
    .await
}

fn of_members(shown: &Value, field: &str) -> BTreeMap<String, u64> {
    let members = shown["members"].as_array().expect("members are told");
    let of = |member: &Value| {
        let name = member["name"].as_str().expect("they have names").to_owned();
        (name, member[field].as_u64().unwrap_or_default())
    };
    members.iter().map(of).collect()
}

#[tokio::test]
async fn what_is_planned_for_a_join_and_a_leave_is_what_they_move() {
    let mut grown = filled().await;
    let plan = planned(&grown, &["--join", "n4"]).await;
    let moved = &plan["moved"];
    assert_eq!(
        (&moved["partitions"], &moved["percent"]),
        (&1024.into(), &25.0.into())
    );
    let entries = moved["entries"].as_u64().unwrap();
    assert!(
        (ROWS as u64 / 5..ROWS as u64 / 3).contains(&entries),
        "{plan:#}"
    );
    let bytes = of_members(&plan, "bytes_in")["n4"];
    assert_eq!(
        Some(bytes),
        moved["bytes"].as_u64(),
        "all of it goes to the new one"
    );
    assert_eq!(plan["silent"], serde_json::json!([]));
    let fourth = grown.another();
    grown.run(fourth);
    let status = grown.completed(4).await;
    assert_eq!(
        of_members(&status, "partitions"),
        of_members(&plan, "after")
    );

    let plan = grown
        .json(&["ring", "plan", "--leave", "n2", "--weight", "n1=512"])
        .await;
    let after = of_members(&plan, "after");
    assert_eq!((after["n2"], after.values().sum::<u64>()), (0, 4096));
    assert_eq!(after["n1"], 2 * after["n3"]);
    let unchanged = grown.json(&["ring", "show"]).await;
    assert_eq!(
        of_members(&unchanged, "partitions"),
        of_members(&plan, "before")
    );
}

#[tokio::test]
async fn people_see_a_table_and_what_cannot_be_is_said() {
    let grown = Grown::start(3, 0).await;
    let shown = grown
        .operate(&["ring", "plan", "--join", "n4:b:128", "--weight", "n2=512"])
        .await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let table = &shown.stdout;
    for part in [
        "n4    joins",
        "weighed 256",
        "moves",
        "to hand over",
        "if cold",
        "if warmed",
    ] {
        assert!(table.contains(part), "{part:?} is missing in {table}");
    }
    for (args, code, told) in [
        (
            &["--leave", "n9"][..],
            1,
            "there is no member \"n9\": there are ",
        ),
        (
            &["--leave", "n1", "--leave", "n2", "--leave", "n3"],
            1,
            "no member that is up would be left",
        ),
        (
            &["--weight", "n1=0"],
            2,
            "a weight is a whole number from 1 to 1000000",
        ),
        (&["--weight", "n1"], 2, "expected NAME=N"),
        (&[], 2, "required"),
    ] {
        let ended = grown.operate(&[&["ring", "plan"], args].concat()).await;
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{args:?}: {}", ended.stderr);
    }
    let shown = grown.operate(&["ring", "show"]).await.stdout;
    let bars: Vec<_> = shown
        .lines()
        .skip(1)
        .map(|line| line.matches('█').count())
        .collect();
    assert_eq!(bars, [24, 24, 24], "half of each bar is owned: {shown}");
}
