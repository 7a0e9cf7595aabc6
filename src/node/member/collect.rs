//! Deletes what removed members have left in this node's data directory, while this node leads.
//!
//! The rule is in [`crate::membership::collecting`]. Called by `life`, once for each membership.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Running, Shared};
use crate::membership::collecting::{Step, is_removed, look};
use crate::membership::seen::Leads;
use crate::net::jittered;
use crate::raft::graveyard::Graveyard;
use crate::raft::log::Ident;
use crate::shutdown::Shutdown;
use crate::topology::state::State;

/// The longest pause between two looks; the shortest is half of it.
const LOOK_EVERY: Duration = Duration::from_mins(10);

/// Looks again and again until `shutdown` begins.
pub(super) async fn collect(shared: Arc<Shared>, running: Arc<Running>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(jittered(LOOK_EVERY)) => {}
            () = shutdown.begun() => return,
        }
        let Some(root) = shared
            .root
            .get()
            .filter(|_| running.leads() == Leads::Itself)
        else {
            continue;
        };
        let (graveyard, state) = (
            Graveyard::of(root.path()),
            running.raft.state().borrow().clone(),
        );
        let swept = tokio::task::spawn_blocking(move || sweep(&graveyard, &state));
        match swept.await {
            Ok(Ok(collected)) => shared.collected.increment(collected),
            Ok(Err(error)) => tracing::warn!(%error, "cannot collect old directories"),
            Err(error) => tracing::warn!(%error, "cannot collect old directories"),
        }
    }
}

/// One look. Blocks. Returns how many directories were deleted.
fn sweep(graveyard: &Graveyard, state: &State) -> io::Result<u64> {
    let mut collected = 0;
    for step in look(state, &graveyard.look()?) {
        match step {
            Step::Mark(directory) => graveyard.mark(&directory)?,
            Step::Unmark(directory) => graveyard.unmark(&directory)?,
            Step::Check(directory) => {
                let is_gone = |ident: &Ident| is_removed(state, ident.cluster, ident.node);
                if graveyard.collect(&directory, is_gone)? {
                    tracing::info!(directory, "directory of a removed member deleted");
                    collected += 1;
                } else {
                    graveyard.mark(&directory)?;
                }
            }
        }
    }
    Ok(collected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::membership::collecting::KEPT_DIRECTORIES;
    use crate::raft::directory::Directory;
    use crate::raft::driver::Driver;
    use crate::raft::rocks::RocksDisk;
    use crate::topology::commands::Command;
    use crate::topology::fixtures::cluster;

    #[test]
    fn what_a_removed_member_has_left_goes_after_a_day_and_the_youngest_stay() {
        let mut state = cluster(3);
        let gone = NodeId(3);
        state.apply(&state.plan_fail_over(gone).unwrap()).unwrap();
        state.apply(&Command::RemoveMember(gone)).unwrap();
        let root = tempfile::tempdir().unwrap();
        let nodes = root.path().join("nodes");
        for (name, node) in [("node-1", 1), ("node-3", 3)] {
            let directory = Directory::new(root.path(), name).unwrap();
            directory.create().unwrap();
            let mut disk = RocksDisk::open_now(&directory.log()).unwrap();
            Driver::join(&mut disk, state.cluster(), NodeId(node)).unwrap();
        }
        let graveyard = Graveyard::of(root.path());
        assert_eq!(sweep(&graveyard, &state).unwrap(), 0);
        let mark = nodes.join("node-3/UNUSED-SINCE");
        assert!(mark.exists() && !nodes.join("node-1/UNUSED-SINCE").exists());
        std::fs::write(&mark, "1000\n").unwrap();
        assert_eq!(sweep(&graveyard, &state).unwrap(), 0, "it is the last one");
        for n in 0..KEPT_DIRECTORIES {
            std::fs::create_dir_all(nodes.join(format!("new-{n}"))).unwrap();
        }
        assert_eq!(
            sweep(&graveyard, &state).unwrap(),
            0,
            "those are not marked"
        );
        assert_eq!(sweep(&graveyard, &state).unwrap(), 1);
        assert!(!nodes.join("node-3").exists() && nodes.join("node-1").exists());
    }
}
