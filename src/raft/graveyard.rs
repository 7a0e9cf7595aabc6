//! Directories below `ROOT/nodes` that belong to no member: listed, marked, and deleted once their log says so.
//!
//! Called by the leader's node, for [`crate::membership::collecting`]. Everything blocks. Only the data directory
//! that was given is touched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::directory::Directory;
use super::log::{Ident, Log, OpenError};
use super::rocks::{RocksDisk, RocksError};
use crate::membership::collecting::Lying;

/// Beside the log: since when the directory belongs to no member, in seconds since 1970.
const MARK_FILE: &str = "UNUSED-SINCE";

/// What the name of a directory begins with that is being deleted. No node's name begins with a dot.
const CONDEMNED_PREFIX: &str = ".collected~";

/// The directories of one data directory.
#[derive(Clone, Debug)]
pub struct Graveyard {
    nodes: PathBuf,
}

impl Graveyard {
    /// That of `root`.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        Self {
            nodes: root.join("nodes"),
        }
    }

    /// Every directory that is a node's, or was set aside by one. Finishes what was being deleted.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn look(&self) -> io::Result<Vec<Lying>> {
        let mut lying = Vec::new();
        for entry in fs::read_dir(&self.nodes)? {
            let entry = entry?;
            let Ok(directory) = entry.file_name().into_string() else {
                continue;
            };
            if directory.starts_with(CONDEMNED_PREFIX) {
                fs::remove_dir_all(entry.path())?;
                continue;
            }
            let name = directory
                .split_once('~')
                .map_or(&*directory, |(name, _)| name);
            if Directory::new(&self.nodes, name).is_ok() && entry.path().is_dir() {
                let marked = self.marked(&directory);
                lying.push(Lying { directory, marked });
            }
        }
        Ok(lying)
    }

    fn marked(&self, directory: &str) -> Option<Duration> {
        let text = fs::read_to_string(self.mark_of(directory)).ok()?;
        let since = Duration::from_secs(text.trim().parse().ok()?);
        // A mark of the future is by another machine's clock.
        Some(now().saturating_sub(since))
    }

    /// Notes that a directory belongs to no member from now on.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn mark(&self, directory: &str) -> io::Result<()> {
        fs::write(self.mark_of(directory), format!("{}\n", now().as_secs()))
    }

    /// Takes the mark away.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn unmark(&self, directory: &str) -> io::Result<()> {
        match fs::remove_file(self.mark_of(directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes a directory whose log nobody has open, and whose member `is_removed`; also one without a log, whose
    /// node never joined. False if it stays. A directory whose log cannot be read stays: somebody should look at it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn collect(
        &self,
        directory: &str,
        is_removed: impl Fn(&Ident) -> bool,
    ) -> io::Result<bool> {
        let path = self.nodes.join(directory);
        let log = path.join("log");
        // Its lock is held until nobody finds it any more.
        let _held = match log.join("CURRENT").exists() {
            false => None,
            true => match RocksDisk::open_now(&log).map(Log::read) {
                Ok(Ok(log)) if is_removed(log.ident()) => Some(log),
                Ok(Err(OpenError::Empty)) => None,
                Ok(_) | Err(RocksError::Held { .. } | RocksError::Corrupt { .. }) => {
                    return Ok(false);
                }
                Err(error) => return Err(io::Error::other(error)),
            },
        };
        let condemned = self.nodes.join(format!("{CONDEMNED_PREFIX}{directory}"));
        fs::rename(&path, &condemned)?;
        drop(_held);
        fs::remove_dir_all(&condemned)?;
        Ok(true)
    }

    fn mark_of(&self, directory: &str) -> PathBuf {
        self.nodes.join(directory).join(MARK_FILE)
    }
}

/// The time since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "a mark is read by other processes, after restarts: a jump of the clock only shortens or prolongs a day"
)]
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, NodeId};
    use crate::raft::driver::Driver;

    fn disk(root: &Path, name: &str) -> RocksDisk {
        let directory = Directory::new(root, name).unwrap();
        directory.create().unwrap();
        RocksDisk::open_now(&directory.log()).unwrap()
    }

    fn names(graveyard: &Graveyard) -> Vec<(String, bool)> {
        let lying = graveyard.look().unwrap().into_iter();
        let mut names: Vec<_> = lying
            .map(|it| (it.directory, it.marked.is_some()))
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn only_a_removed_members_log_is_deleted_and_only_while_nobody_has_it() {
        let root = tempfile::tempdir().unwrap();
        for (name, node) in [("gone", 3), ("member", 4), ("busy", 3)] {
            Driver::join(&mut disk(root.path(), name), ClusterId(1), NodeId(node)).unwrap();
        }
        drop(disk(root.path(), "never"));
        let bad = root.path().join("nodes/bad/log");
        fs::create_dir_all(&bad).unwrap();
        fs::write(bad.join("CURRENT"), "nonsense").unwrap();
        let busy = disk(root.path(), "busy");
        let graveyard = Graveyard::of(root.path());
        let is_removed = |ident: &Ident| ident.node == NodeId(3);
        for (name, is_deleted) in [
            ("gone", true),
            ("member", false),
            ("busy", false),
            ("never", true),
            ("bad", false),
        ] {
            let collected = graveyard.collect(name, is_removed);
            assert_eq!(collected.unwrap_or(false), is_deleted, "{name}");
            assert_eq!(root.path().join("nodes").join(name).exists(), !is_deleted);
        }
        drop(busy);
        assert!(graveyard.collect("busy", is_removed).unwrap());
    }

    #[test]
    fn a_mark_stays_and_what_was_being_deleted_goes() {
        let root = tempfile::tempdir().unwrap();
        let nodes = root.path().join("nodes");
        for name in ["a", "a~1", ".recovery~a", ".collected~b", "file"] {
            fs::create_dir_all(nodes.join(name)).unwrap();
        }
        let graveyard = Graveyard::of(root.path());
        graveyard.mark("a~1").unwrap();
        let expected = [("a", false), ("a~1", true), ("file", false)];
        let expected = expected.map(|(name, marked)| (name.to_owned(), marked));
        assert_eq!(names(&graveyard), expected);
        assert!(!nodes.join(".collected~b").exists());
        fs::write(nodes.join("a/UNUSED-SINCE"), "1000\n").unwrap();
        let marked = graveyard.marked("a").unwrap();
        assert!(marked > Duration::from_hours(24 * 365));
        for _twice in 0..2 {
            graveyard.unmark("a").unwrap();
        }
        assert_eq!(graveyard.marked("a"), None);
        fs::write(nodes.join("a/UNUSED-SINCE"), "soon\n").unwrap();
        assert_eq!(graveyard.marked("a"), None);
    }
}
