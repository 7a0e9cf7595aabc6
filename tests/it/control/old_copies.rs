//! Directories that are put back as they were some time ago: their member has gone on since, so they are not run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use gcache::ids::NodeId;

use crate::harness::grown::Grown;
use crate::testkit::wait::until;

/// The directory of a node that is down, and a copy of it.
struct Copied {
    own: PathBuf,
    copy: PathBuf,
}

impl Copied {
    fn of(grown: &Grown, name: &str) -> Self {
        let copied = Self {
            own: grown.folder().join("data/nodes").join(name),
            copy: grown.folder().join(format!("{name}-copy")),
        };
        copy(&copied.own, &copied.copy);
        copied
    }

    fn put_back(&self) {
        std::fs::remove_dir_all(&self.own).expect("the node has written there");
        copy(&self.copy, &self.own);
    }

    /// Waits until it was set aside, with the reason beside it.
    async fn is_set_aside(&self) {
        let note = PathBuf::from(format!("{}~1/SET-ASIDE", self.own.display()));
        until("the copy is set aside", async || {
            let reason = std::fs::read_to_string(&note).map_err(|error| error.to_string())?;
            match reason.contains("is an old copy: ") {
                true => Ok(()),
                false => Err(reason),
            }
        })
        .await;
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()));
}

#[tokio::test]
async fn an_old_copy_of_the_founder_does_not_lead_a_cluster_of_its_own() {
    let mut grown = Grown::new(3);
    grown.run_with(0, &["--bootstrap"]);
    grown.complete(1).await;
    grown.kill(&[0]);
    let alone = Copied::of(&grown, "n1");
    for node in 0..3 {
        grown.run(node);
    }
    let before = grown.completed(3).await;
    grown.kill(&[0]);
    alone.put_back();
    grown.run(0);
    alone.is_set_aside().await;
    // The same cluster, in which it is a new member.
    until("the member that it was is gone", async || {
        let state = grown.agreed(Duration::from_secs(5)).await?;
        match state.member(NodeId(1)) {
            Some(member) => Err(format!("{member:?}")),
            None => Ok(()),
        }
    })
    .await;
    let after = grown.completed(3).await;
    assert_eq!(after["cluster_id"], before["cluster_id"]);
}
