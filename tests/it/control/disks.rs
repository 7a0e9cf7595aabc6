//! Disks that cannot be written: the node says so, and goes on serving what it can until others do.

use std::path::PathBuf;

use crate::harness::control::{Absent, Controlled};
use crate::testkit::disk::Disk;
use crate::testkit::process::Process;
use crate::testkit::wait::until;

#[expect(
    clippy::print_stderr,
    reason = "whoever reads the results should know what was not tested"
)]
fn skip() {
    eprintln!("SKIPPED: no disk can be mounted here: needs root");
}

#[tokio::test]
async fn a_full_disk_ends_the_nodes_raft_and_its_process_once_others_own() {
    const FULL: usize = 2;
    let mut controlled = Controlled::new(3, &[]);
    let at = controlled.folder().join("small");
    let Some(disk) = Disk::mount(&at) else {
        return skip();
    };
    controlled.data[FULL] = at;
    controlled.run_all();
    let before = controlled.settled().await;
    disk.fill();
    let mut absent = Absent::default();
    let mut sick = controlled.nodes[FULL].take().expect("it was started");
    // It serves on until others own what it owned; commits go on all the while.
    until("the sick node stops", async || {
        controlled.commit_at(&[0, 1], &mut absent).await;
        sick.status().ok_or("it runs")
    })
    .await;
    let ended = sick.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for words in [
        "raft thread ended",
        "No space left on device",
        "stopping after a failed log",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    controlled.commit_at(&[0, 1], &mut absent).await;

    // With room again, a start is all that it takes.
    disk.empty();
    controlled.run(FULL);
    let after = controlled.settled().await;
    assert_eq!(after[FULL].node, before[FULL].node);
    Controlled::assert_kept(&after, &absent);
    controlled.kill(&[0, 1, FULL]);
}

/// Nobody can take over from it, so it serves on, and no other start is needed: its cache stays.
#[tokio::test]
async fn a_node_alone_opens_its_log_again_once_its_disk_has_space() {
    let mut controlled = Controlled::new(1, &[]);
    let at = controlled.folder().join("small");
    let Some(disk) = Disk::mount(&at) else {
        return skip();
    };
    controlled.data[0] = at;
    controlled.run_all();
    let before = controlled.settled().await;
    disk.fill();
    let mut absent = Absent::default();
    let log = |controlled: &Controlled| controlled.nodes[0].as_ref().map(Process::stderr);
    until("its log fails", async || {
        // Only a write notices that.
        let refused = controlled.enter(0, &[], absent.command(1)).await;
        let log = log(&controlled).expect("it runs");
        match log.contains("control plane ended") {
            true => Ok(()),
            false => Err((refused, log)),
        }
    })
    .await;
    controlled.assert_serving(0).await;
    disk.empty();
    controlled.commit_at(&[0], &mut absent).await;
    let after = controlled.settled().await;
    assert_eq!(after[0].node, before[0].node);
    assert!(after[0].incarnation > before[0].incarnation);
    controlled.logs(0, "opening the log again").await;
    Controlled::assert_kept(&after, &absent);
    controlled.kill(&[0]);
}

/// A node alone whose data directory is `data`.
async fn alone(data: impl FnOnce(&Controlled) -> PathBuf, words: &[&str]) {
    let mut controlled = Controlled::new(1, &[]);
    controlled.data[0] = data(&controlled);
    controlled.run(0);
    // It can become nobody's member: whoever runs it has to know.
    let process = controlled.nodes[0].take().expect("it was started");
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for words in words.iter().chain(&["control plane ended"]) {
        let told = &ended.stderr;
        assert!(told.contains(words), "{words:?} is missing in {told}");
    }
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_is_said_to_be_none() {
    let at = |controlled: &Controlled| controlled.folder().join("rows.jsonl");
    alone(at, &["cannot create", "rows.jsonl", "File exists"]).await;
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named() {
    // Not even root makes a directory there.
    alone(|_| "/proc/gcache".into(), &["cannot create /proc/gcache"]).await;
}

#[tokio::test]
async fn a_damaged_latch_is_named_and_not_replaced() {
    for name in ["CLUSTER", "ROOT"] {
        let garbage = |controlled: &Controlled| {
            let data = controlled.folder().join("damaged");
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join(name), b"\xff\x00 no id").unwrap();
            data
        };
        alone(garbage, &[&format!("damaged/{name}"), "holds no id"]).await;
    }
}
