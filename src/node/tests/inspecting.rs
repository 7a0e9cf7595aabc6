//! Groups are inspected within bounds: of time, of number, and of the text that may become part of a
//! statement.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tonic::Code;

use super::super::inspect::Inspector;
use super::groups;
use crate::cache::LoadError;
use crate::config::{Config, Layers, load};
use crate::origin::{BoxFuture, Origin, Row};
use crate::rpc::control_proto::CheckGroupsReply;
use crate::topology::GroupSpec;
use crate::topology::commands::{Command, GroupRef, SetGroups};
use crate::topology::model::group::{Group, Source};
use crate::topology::model::rules::MAX_GROUPS;

/// An origin that never answers about groups.
#[derive(Debug, Default)]
struct Silent {
    asked: Notify,
}

impl Origin for Silent {
    fn load<'a>(
        &'a self,
        _: &'a Group,
        _: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Vec<Row>, LoadError>> {
        Box::pin(std::future::pending())
    }

    fn check<'a>(&'a self, _: &'a Group) -> BoxFuture<'a, Result<(), LoadError>> {
        self.asked.notify_one();
        Box::pin(std::future::pending())
    }

    fn describe(&self) -> String {
        "silence".into()
    }
}

fn config() -> Config {
    let layers = Layers {
        sets: vec!["origin.timeout=4s".into(), "node.max_deadline=10s".into()],
        ..Layers::default()
    };
    load(&layers).unwrap().config
}

fn inspector() -> (Inspector, Arc<Silent>) {
    let origin = Arc::new(Silent::default());
    let asked: Arc<dyn Origin> = Arc::<Silent>::clone(&origin);
    (Inspector::new(asked, &config()), origin)
}

fn spec() -> GroupSpec {
    groups().remove(0).1
}

fn command(upserts: Vec<(Arc<str>, GroupSpec)>) -> Bytes {
    let command = Command::SetGroups(SetGroups {
        expected: 0,
        upserts,
        removed: Vec::new(),
        at_unix_ms: 0,
        note: String::new(),
    });
    command.encode()
}

fn many(count: usize) -> Bytes {
    command(
        (0..count)
            .map(|i| (format!("g{i}").into(), spec()))
            .collect(),
    )
}

fn unchecked(reply: &CheckGroupsReply) -> Vec<&str> {
    let groups = reply.groups.iter();
    groups.map(|group| group.unchecked.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_silent_origin_costs_no_more_than_the_deadline() {
    let (inspector, _) = inspector();
    let began = tokio::time::Instant::now();
    let reply = inspector.check(&many(5)).await.unwrap();
    assert!(
        began.elapsed() <= Duration::from_millis(10_100),
        "{:?}",
        began.elapsed()
    );
    let reasons = unchecked(&reply);
    assert_eq!(reasons.len(), 5);
    assert!(
        reasons[..3]
            .iter()
            .all(|reasons| reasons.contains("did not answer in time")),
        "{reasons:?}"
    );
    assert!(
        reasons[3..]
            .iter()
            .all(|reasons| reasons.contains("no time was left of 10s")),
        "{reasons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn few_requests_may_wait_for_their_turn() {
    let (inspector, origin) = inspector();
    let one = many(1);
    let asks: Vec<_> = (0..9)
        .map(|_| {
            let (inspector, one) = (inspector.clone(), one.clone());
            tokio::spawn(async move { inspector.check(&one).await })
        })
        .collect();
    origin.asked.notified().await;
    tokio::task::yield_now().await;
    let refused = inspector.check(&one).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    for ask in asks {
        let _answered_or_too_late = ask.await.unwrap();
    }
    inspector.check(&one).await.expect("they have gone");
}

#[tokio::test]
async fn a_group_that_the_log_would_refuse_becomes_no_part_of_a_statement() {
    let (inspector, _) = inspector();
    let mut injected = spec();
    injected.source = Source::Table {
        table: "t\" WHERE false; DROP TABLE t; --".into(),
        key_column: "k".into(),
        value_column: "v".into(),
        key_type: None,
    };
    for (command, words) in [
        (command(vec![("g".into(), injected)]), "table"),
        (
            command(vec![("No Name".into(), spec())]),
            "cannot name a group",
        ),
        (many(MAX_GROUPS + 1), "256 are the most"),
        (
            Command::ResetGroup(GroupRef::Name("g".into())).encode(),
            "only groups",
        ),
        (Bytes::from_static(b"\xff"), "malformed"),
    ] {
        let refused = inspector.check(&command).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(words), "{refused}");
    }
}
