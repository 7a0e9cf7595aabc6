//! Groups are checked before a caller asks for their keys, and again every ten seconds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::super::groups::{Checker, Unusable, register};
use super::{groups, members};
use crate::cache::LoadError;
use crate::hash::PARTITIONS;
use crate::ids::{Epoch, Generation, GroupId};
use crate::metrics::Registry;
use crate::origin::{BoxFuture, Origin, Row};
use crate::shutdown::Shutdown;
use crate::topology::model::group::{Group, Source};
use crate::topology::place;
use crate::topology::view::View;

/// An origin that reports each group that it is asked to check.
#[derive(Debug)]
struct Telling(mpsc::UnboundedSender<String>);

impl Origin for Telling {
    fn load<'a>(
        &'a self,
        _: &'a Group,
        _: &'a [Bytes],
    ) -> BoxFuture<'a, Result<Vec<Row>, LoadError>> {
        Box::pin(std::future::pending())
    }

    fn check<'a>(&'a self, group: &'a Group) -> BoxFuture<'a, Result<(), LoadError>> {
        let _told = self.0.send(group.name.to_string());
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "telling".into()
    }
}

/// A view at `epoch` with a group for each name, which reads the table beside it.
fn view(epoch: u64, names: &[(&str, &str)]) -> Arc<View> {
    let group = |(index, (name, table)): (usize, &(&str, &str))| {
        let mut spec = groups().remove(0).1;
        spec.source = Source::Table {
            table: (*table).into(),
            key_column: "k".into(),
            value_column: "v".into(),
            key_type: None,
        };
        Group {
            id: GroupId(index as u32 + 1),
            name: (*name).into(),
            generation: Generation(1),
            copies_since: Epoch(0),
            spec,
        }
    };
    let groups = names.iter().enumerate().map(group).collect();
    let table = place(&members(1), None, Epoch(1));
    assert_eq!(table.iter().len(), PARTITIONS);
    Arc::new(View::new("test", Epoch(epoch), members(1), &table, groups).unwrap())
}

#[tokio::test(start_paused = true)]
async fn new_groups_are_checked_at_once_and_all_groups_every_ten_seconds() {
    let (asked, mut heard) = mpsc::unbounded_channel();
    let (views, followed) = watch::channel(view(1, &[]));
    let checker = Checker {
        origin: Arc::new(Telling(asked)),
        view: followed,
        patience: Duration::from_secs(1),
        unusable: Unusable::default(),
        count: register(&Registry::new()),
    };
    let (shutdown, began) = (Shutdown::new(), Instant::now());
    let running = tokio::spawn(checker.run(shutdown.clone()));
    let mut next = async || (heard.recv().await.unwrap(), began.elapsed().as_secs());

    views.send_replace(view(2, &[("a", "t")]));
    assert_eq!(next().await, ("a".into(), 0));
    // Another epoch, another group, and then the first one reads another table.
    views.send_replace(view(3, &[("a", "t")]));
    views.send_replace(view(4, &[("a", "t"), ("b", "t")]));
    assert_eq!(next().await, ("b".into(), 0));
    views.send_replace(view(5, &[("a", "u"), ("b", "t")]));
    assert_eq!(next().await, ("a".into(), 0));
    assert_eq!(next().await, ("a".into(), 10));
    assert_eq!(next().await, ("b".into(), 10));
    // A node without further views still checks its groups.
    drop(views);
    assert_eq!(next().await, ("a".into(), 20));
    shutdown.begin();
    running.await.unwrap();
}
