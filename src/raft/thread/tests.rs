//! The thread around the driver: it leads alone, answers, and ends for the reasons it names.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::ids::{ClusterId, NodeId};
use crate::raft::disk::{Batch, Column, DiskError, Row, Write};
use crate::raft::driver::Fatal;
use crate::raft::driver::Settings;
use crate::topology::commands::{Agreed, Command, GroupRef, Joiner};
use crate::topology::fixtures::named;
use crate::topology::state::Founding;

const PATIENCE: Duration = Duration::from_secs(10);

/// A disk in memory that can be made to fail, to panic or to hang.
#[derive(Default)]
struct Fragile {
    hangs: Arc<AtomicBool>,
    rows: BTreeMap<(Column, Vec<u8>), Vec<u8>>,
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

impl Disk for Fragile {
    fn rows(&self, column: Column) -> Result<Vec<Row>, DiskError> {
        let rows = self.rows.iter().filter(|((of, _), _)| *of == column);
        Ok(rows
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn write(&mut self, batch: &Batch, _: bool) -> Result<(), DiskError> {
        while self.hangs.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert!(!self.panics.load(Ordering::SeqCst), "the disk is on fire");
        if self.fails.load(Ordering::SeqCst) {
            return Err(DiskError::new("input/output error"));
        }
        for write in batch.writes() {
            match write {
                Write::Put { column, key, value } => {
                    self.rows.insert((*column, key.clone()), value.clone());
                }
                Write::DeleteRange { column, from, to } => self
                    .rows
                    .retain(|(of, key), _| of != column || key < from || key >= to),
            }
        }
        Ok(())
    }
}

/// A post that loses everything: nobody else is there.
struct Nowhere;

impl Post for Nowhere {
    fn send(&mut self, _: Lane, _: Envelope) {}

    fn refuse(&mut self, _: Sender, _: MessageRefusal) {}
}

struct Lone {
    raft: Handle,
    hangs: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

/// A cluster of one, which leads.
async fn lone() -> Lone {
    lone_within(STALL_MAX).await
}

/// The same, whose turns may take no longer than this.
async fn lone_within(stall_max: Duration) -> Lone {
    let cluster = ClusterId(1);
    let state = State::found(Founding {
        cluster,
        supersedes: Vec::new(),
        settings: Agreed::ours(),
        first: Joiner {
            version: 1,
            ..named("n1")
        },
    });
    let mut disk = Fragile::default();
    let (fails, panics) = (disk.fails.clone(), disk.panics.clone());
    let hangs = disk.hangs.clone();
    Driver::found(&mut disk, cluster, NodeId(1), &state).unwrap();
    let driver = Driver::open(disk, Settings::default()).unwrap();
    let raft = start_watched(driver, &Registry::new(), Nowhere, stall_max).unwrap();
    let mut standing = raft.standing();
    let leads = standing.wait_for(|standing| standing.role.is_leader && standing.applied > 1);
    tokio::time::timeout(PATIENCE, leads)
        .await
        .unwrap()
        .unwrap();
    Lone {
        raft,
        hangs,
        fails,
        panics,
    }
}

fn command() -> Command {
    Command::ResetGroup(GroupRef::Name("nobody".into()))
}

async fn end(raft: &Handle) -> End {
    let mut end = raft.end();
    let ended = end.wait_for(Option::is_some);
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    ended.unwrap().clone().unwrap()
}

#[tokio::test]
async fn a_lone_node_leads_commits_and_answers_reads() {
    let lone = lone().await;
    let outcome = lone.raft.propose(&command(), PATIENCE).await;
    let Outcome::Applied { index, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(lone.raft.read(PATIENCE).await, Outcome::Readable(index));
    assert_eq!(lone.raft.compact(PATIENCE).await, Outcome::Done);
    lone.raft.stop(PATIENCE).await;
    assert_eq!(end(&lone.raft).await, End::Stopped);
    let late = lone.raft.read(PATIENCE).await;
    assert_eq!(late, Outcome::Refused("this node's raft has ended"));
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_thread_and_leaves_the_request_unknown() {
    let lone = lone().await;
    lone.fails.store(true, Ordering::SeqCst);
    let outcome = lone.raft.propose(&command(), PATIENCE).await;
    assert_eq!(outcome, Outcome::Unknown);
    assert!(matches!(end(&lone.raft).await, End::Fatal(Fatal::Disk(_))));
}

#[tokio::test]
async fn a_panic_ends_the_thread_and_not_the_process() {
    let lone = lone().await;
    lone.panics.store(true, Ordering::SeqCst);
    let outcome = lone.raft.propose(&command(), PATIENCE).await;
    assert_eq!(outcome, Outcome::Unknown);
    let ended = end(&lone.raft).await;
    assert_eq!(ended, End::Panicked("the disk is on fire".into()));
}

#[tokio::test]
async fn the_thread_ends_with_its_last_handle() {
    let lone = lone().await;
    let raft = lone.raft.clone();
    let mut ended = raft.end();
    drop((raft, lone));
    let ended = ended.wait_for(Option::is_some);
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(*ended.unwrap(), Some(End::Stopped));
}

#[tokio::test]
async fn a_disk_that_hangs_ends_the_thread_for_good_even_if_it_comes_back() {
    let lone = lone_within(Duration::from_secs(2)).await;
    lone.hangs.store(true, Ordering::SeqCst);
    let raft = lone.raft.clone();
    let asked = tokio::spawn(async move { raft.propose(&command(), PATIENCE).await });
    assert_eq!(end(&lone.raft).await, End::Stalled);
    lone.hangs.store(false, Ordering::SeqCst);
    // The write has returned, and with it the entry was committed: nobody hears of it.
    assert_eq!(asked.await.unwrap(), Outcome::Unknown);
    let late = lone.raft.read(PATIENCE).await;
    assert_eq!(late, Outcome::Refused("this node's raft has ended"));
    assert_eq!(end(&lone.raft).await, End::Stalled);
}
