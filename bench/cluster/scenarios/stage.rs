//! What a scenario needs of the machine beside processes: hosts whose links can be cut, a disk that can be full, a
//! core that can be crowded. All of it is the calling thread's, and goes with it and with what it has started.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use nix::sched::{CloneFlags, unshare};

use super::crowd::keep_off;
use super::scenario::Scenario;
use crate::testkit::disk::Disk;
use crate::testkit::place::Place;

/// The directory of the node whose disk can be full, below the scenario's.
pub(crate) const SMALL: &str = "small";

/// Prepared for one scenario.
pub(crate) struct Stage {
    pub(crate) place: Place,
    /// Where [`SMALL`] is.
    pub(crate) disk: Option<Disk>,
}

impl Stage {
    /// Prepares the calling thread: before it starts anything else.
    ///
    /// # Errors
    /// The scenario needs what is root's, or a second core.
    pub(crate) fn prepare(scenario: &Scenario, folder: &Path) -> anyhow::Result<Self> {
        if scenario.crowds_a_core() {
            keep_off()?;
        }
        let disk = match scenario.fills_a_disk() {
            true => Some(small_disk(folder)?),
            false => None,
        };
        let place = match scenario.cuts_links() {
            true => Place::apart(scenario.nodes, scenario.frontends),
            false => Place::loopback(),
        };
        Ok(Self { place, disk })
    }
}

/// A disk that nobody but this thread and what it starts can see, so that it is gone however they end.
fn small_disk(folder: &Path) -> anyhow::Result<Disk> {
    unshare(CloneFlags::CLONE_NEWNS).context("mounting a small disk needs root")?;
    let mut private = Command::new("mount");
    let status = private.args(["--make-rprivate", "/"]).status();
    if !status.context("mount of util-linux")?.success() {
        bail!("mounts cannot be made this thread's own");
    }
    Disk::mount(&folder.join(SMALL)).context("mounting a small disk needs root")
}
