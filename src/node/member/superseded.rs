//! Asks the seeds whether the cluster went on without this member, and gives up a log that is of no use.
//!
//! The rule is in [`crate::membership::superseded`]. Called while a log is opened (`admission`), and while its
//! member knows no leader (`life`).

use std::time::Duration;

use super::{Shared, reason_of};
use crate::membership::Reason;
use crate::membership::superseded::{Fate, fate};
use crate::raft::directory::Directory;
use crate::raft::latch::Root;
use crate::raft::log::Ident;
use crate::rpc::control::shown;

/// How long a seed may take to show its state.
const SHOWN_PATIENCE: Duration = Duration::from_secs(1);

/// Asks the seeds for the fate of this member. None if they know nothing against it, or do not answer.
/// Cancel-safe.
pub(super) async fn ask_fate(shared: &Shared, ident: &Ident) -> Option<Fate> {
    let others = shared.others();
    let asked = others.iter().map(|seed| shown(seed, SHOWN_PATIENCE));
    let states = futures_util::future::join_all(asked).await;
    fate(ident.cluster, ident.node, states.iter().flatten())
}

/// Makes the data directory belong to the cluster that goes on, and sets the log aside, which is closed.
pub(super) fn give_up_log(root: &Root, directory: &Directory, fate: Fate) -> Result<(), Reason> {
    if let Some(successor) = fate.successor() {
        root.replace(successor).map_err(reason_of)?;
    }
    directory.set_aside(&fate.to_string()).map_err(reason_of)?;
    Ok(())
}
