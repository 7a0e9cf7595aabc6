//! Logs that are lost, damaged, in use or somebody else's: never used, never repaired, and nobody harmed.

use std::path::{Path, PathBuf};

use crate::harness::control::{Absent, Controlled, logs};

/// The node that is harmed.
const VICTIM: usize = 1;

/// Asserts that the others go on without the victim, which is no member any more and says why: its name
/// is held by the member that it was.
async fn assert_left_out(controlled: &mut Controlled, old: u64, absent: &mut Absent) {
    controlled
        .tells(VICTIM, "no cluster joined yet: refused by")
        .await;
    controlled.tells(VICTIM, "the name \"n2\" is held").await;
    let status = controlled
        .status(VICTIM)
        .await
        .expect("its service answers");
    assert_ne!(status.node, old, "never its old id: {status:#?}");
    assert_eq!(status.node, 0, "{status:#?}");
    controlled.logs(VICTIM, "not admitted to the cluster").await;
    controlled.assert_unready(VICTIM).await;
    controlled.leader_among(&[0, 2]).await;
    controlled.commit_at(&[0, 2], absent).await;
}

#[tokio::test]
async fn a_node_without_its_directory_does_not_get_its_id_back() {
    let mut controlled = Controlled::start(3, &[]).await;
    let mut absent = Absent::default();
    controlled.commit(&mut absent).await;
    let old = controlled.status(VICTIM).await.unwrap().node;
    controlled.kill(&[VICTIM]);
    std::fs::remove_dir_all(controlled.own(VICTIM)).unwrap();
    controlled.run(VICTIM);
    assert_left_out(&mut controlled, old, &mut absent).await;
}

/// The only file of the log whose name ends so, or the largest of them.
fn file(controlled: &Controlled, ending: &str) -> PathBuf {
    let files = std::fs::read_dir(controlled.own(VICTIM).join("log"))
        .expect("the test's folder is readable");
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    let ours = paths.filter(|path| path.extension().is_some_and(|found| found == ending));
    ours.max_by_key(|path| path.metadata().map_or(0, |file| file.len()))
        .expect("RocksDB has written one")
}

fn flip(path: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = std::fs::read(path).expect("the test's folder is readable");
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).expect("the test's folder is writable");
}

/// What was noted beside the log that was set aside.
fn reason(controlled: &Controlled) -> String {
    let aside = controlled.data[VICTIM].join("nodes/n2~1");
    assert!(aside.join("log").is_dir(), "it is kept");
    std::fs::read_to_string(aside.join("SET-ASIDE")).expect("a reason is noted")
}

#[tokio::test]
async fn a_flipped_bit_in_the_write_ahead_log_sets_the_directory_aside() {
    let mut controlled = Controlled::start(3, &[]).await;
    let mut absent = Absent::default();
    controlled.commit(&mut absent).await;
    let old = controlled.status(VICTIM).await.unwrap().node;
    controlled.kill(&[VICTIM]);
    flip(&file(&controlled, "log"), |length| length / 2);
    controlled.run(VICTIM);
    controlled.logs(VICTIM, "set a log aside").await;
    assert!(reason(&controlled).contains("corrupt"));
    assert_left_out(&mut controlled, old, &mut absent).await;
}

#[tokio::test]
async fn a_flipped_bit_in_a_table_sets_the_directory_aside() {
    let mut controlled = Controlled::start(3, &[]).await;
    let mut absent = Absent::default();
    controlled.commit(&mut absent).await;
    let old = controlled.status(VICTIM).await.unwrap().node;
    // A start writes the log of the last one into a table.
    controlled.kill(&[VICTIM]);
    controlled.run(VICTIM);
    controlled.settled().await;
    controlled.kill(&[VICTIM]);
    flip(&file(&controlled, "sst"), |_| 20);
    controlled.run(VICTIM);
    controlled.logs(VICTIM, "set a log aside").await;
    assert!(reason(&controlled).contains("corrupt"));
    assert_left_out(&mut controlled, old, &mut absent).await;
}

#[tokio::test]
async fn the_log_of_another_cluster_is_set_aside() {
    let mut stranger = Controlled::start(1, &[]).await;
    let theirs = stranger.settled().await.remove(0);
    stranger.kill(&[0]);
    let mut controlled = Controlled::start(3, &[]).await;
    let mut absent = Absent::default();
    let ours = controlled.settled().await.remove(VICTIM);
    assert_ne!(ours.cluster, theirs.cluster);
    controlled.kill(&[VICTIM]);
    std::fs::remove_dir_all(controlled.own(VICTIM)).unwrap();
    copy(&stranger.own(0), &controlled.own(VICTIM));
    controlled.run(VICTIM);
    controlled.logs(VICTIM, "set a log aside").await;
    let reason = reason(&controlled);
    assert!(reason.contains("the log is of cluster"), "{reason}");
    assert_left_out(&mut controlled, ours.node, &mut absent).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the test's folder is writable");
    for entry in std::fs::read_dir(from).expect("the test's folder is readable") {
        let entry = entry.expect("the test's folder is readable");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("the test's folder is writable");
        }
    }
}

#[tokio::test]
async fn a_second_process_on_one_directory_waits_for_the_first() {
    let mut controlled = Controlled::start(3, &[]).await;
    let before = controlled.settled().await;
    let second = controlled.beside(VICTIM);
    logs(&second, "another process has the log open").await;
    let mut absent = Absent::default();
    controlled.commit(&mut absent).await;
    let after = controlled.settled().await;
    assert_eq!(after[VICTIM].node, before[VICTIM].node);
    Controlled::assert_kept(&after, &absent);
    controlled.kill(&[VICTIM]);
    logs(&second, "member of a cluster").await;
    drop(second);
    controlled.run(VICTIM);
    let again = controlled.settled().await;
    assert_eq!(again[VICTIM].node, before[VICTIM].node);
    Controlled::assert_kept(&again, &absent);
}
