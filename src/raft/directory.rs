//! Where a node keeps its log: `ROOT/nodes/NAME`, for its user alone.
//!
//! `ROOT` may be shared by all nodes of a cluster. A directory whose log must not be used is set aside
//! under another name, never repaired and never deleted; its node joins anew under a new id.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest name of a node.
pub const MAX_NAME_BYTES: usize = 128;

/// How many directories of one name are set aside before somebody has to look.
pub const MAX_SET_ASIDE: u32 = 100;

/// What is written beside a log that was set aside.
const REASON_FILE: &str = "SET-ASIDE";

/// Where the number is that a node joins with.
const NONCE_FILE: &str = "NONCE";

/// What the name of a draft begins with, before the node's. No node's name begins with a dot.
pub(super) const DRAFT_PREFIX: &str = ".recovery~";

/// A node's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The name cannot be a directory's.
    #[error(
        "{name:?} cannot name a node: 1 to {MAX_NAME_BYTES} letters, digits, `.`, `-` and `_` of ASCII can, the first no `.`"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// Too many logs were set aside already.
    #[error("{MAX_SET_ASIDE} directories like {} are set aside already: look at them, then delete them", .path.display())]
    TooMany {
        /// The directory that is to be set aside.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot {action} {}: {error}", .path.display())]
    Failed {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// The directory of one node, which may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    nodes: PathBuf,
    name: String,
}

impl Directory {
    /// That of the node called `name` below `root`. Touches nothing.
    ///
    /// # Errors
    /// [`DirectoryError::Name`], for one with a slash or a tilde among others: a name never leaves
    /// `root` and is never that of a directory that was set aside.
    pub fn new(root: &Path, name: &str) -> Result<Self, DirectoryError> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty()
            || name.starts_with('.')
            || name.len() > MAX_NAME_BYTES
            || !name.bytes().all(is_plain)
        {
            return Err(DirectoryError::Name {
                name: name.chars().take(MAX_NAME_BYTES).collect(),
            });
        }
        Ok(Self {
            nodes: root.join("nodes"),
            name: name.to_owned(),
        })
    }

    /// `ROOT/nodes/NAME`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.nodes.join(&self.name)
    }

    /// Returns where the disk is opened.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// Makes it and the log's within, and what is above it, unless they are there. Others may not read
    /// it.
    ///
    /// # Errors
    /// [`DirectoryError::Failed`].
    pub fn create(&self) -> Result<(), DirectoryError> {
        let path = self.path();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.log())
            .and_then(|()| sync(&self.nodes))
            .and_then(|()| sync(&path))
            .map_err(failed("create", &path))
    }

    /// A number drawn once for this directory, so that a node which asks to join twice, because it did
    /// not hear the first answer, joins once. Never 0.
    ///
    /// # Errors
    /// [`DirectoryError::Failed`].
    pub fn nonce(&self) -> Result<u64, DirectoryError> {
        let path = self.path().join(NONCE_FILE);
        let drawn = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &path)(error)),
        };
        if let Some(nonce) = drawn {
            return Ok(nonce);
        }
        let nonce = fastrand::u64(1..);
        let written = File::create(&path).and_then(|mut file| {
            writeln!(file, "{nonce}")?;
            file.sync_all()
        });
        written
            .and_then(|()| sync(&self.path()))
            .map_err(failed("write", &path))?;
        Ok(nonce)
    }

    /// Deletes the log: one that was founded and never published, so that nobody has heard of it.
    ///
    /// # Errors
    /// [`DirectoryError::Failed`].
    pub fn discard(&self) -> Result<(), DirectoryError> {
        let log = self.log();
        std::fs::remove_dir_all(&log).map_err(failed("delete", &log))
    }

    /// Returns where a log is made that is to take this one's place: a name that no node has and that is not
    /// one of a directory that was set aside.
    pub(super) fn draft(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            name: format!("{DRAFT_PREFIX}{}", self.name),
        }
    }

    /// Deletes all of it, if it is there: a draft of which nobody has heard.
    pub(super) fn erase(&self) -> Result<(), DirectoryError> {
        let path = self.path();
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("delete", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Puts `draft`, whose log is closed, in this place, where nothing is.
    pub(super) fn adopt(&self, draft: &Self) -> Result<(), DirectoryError> {
        let path = self.path();
        std::fs::rename(draft.path(), &path)
            .and_then(|()| sync(&self.nodes))
            .map_err(failed("put a recovered log at", &path))
    }

    /// Renames it to `NAME~N`, the first that is free, and writes the reason into it. The log
    /// is closed. Returns the new path.
    ///
    /// # Errors
    /// [`DirectoryError::TooMany`], [`DirectoryError::Failed`].
    pub fn set_aside(&self, reason: &str) -> Result<PathBuf, DirectoryError> {
        let path = self.path();
        let aside = (1..=MAX_SET_ASIDE)
            .map(|n| self.nodes.join(format!("{}~{n}", self.name)))
            .find(|aside| aside.symlink_metadata().is_err())
            .ok_or_else(|| DirectoryError::TooMany { path: path.clone() })?;
        std::fs::rename(&path, &aside)
            .and_then(|()| sync(&self.nodes))
            .map_err(failed("set aside", &path))?;
        tracing::error!(path = %path.display(), aside = %aside.display(), reason, "set a log aside");
        // The rename is what counts; the note is for people who find the directory.
        if let Err(error) = note(&aside, reason) {
            tracing::warn!(aside = %aside.display(), %error, "cannot note why a log was set aside");
        }
        Ok(aside)
    }
}

/// A name in a directory outlives a loss of power only once the directory is synced.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn note(aside: &Path, reason: &str) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options
        .create(true)
        .append(true)
        .mode(0o600)
        .open(aside.join(REASON_FILE))?;
    writeln!(file, "{reason}")
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |error| DirectoryError::Failed {
        action,
        path,
        error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_name_stays_below_the_root() {
        let root = Path::new("/data");
        let directory = Directory::new(root, "node-1_A").unwrap();
        assert_eq!(directory.path(), Path::new("/data/nodes/node-1_A"));
        assert_eq!(directory.log(), Path::new("/data/nodes/node-1_A/log"));
        let long = "n".repeat(MAX_NAME_BYTES + 1);
        for name in [
            "", ".", "..", "a/b", "../a", ".a", "a~1", "a\0", "a b", "é", &long,
        ] {
            let refused = Directory::new(root, name);
            assert!(
                matches!(refused, Err(DirectoryError::Name { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn its_nonce_is_drawn_once() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::new(root.path(), "a").unwrap();
        assert!(directory.nonce().is_err());
        directory.create().unwrap();
        let nonce = directory.nonce().unwrap();
        directory.discard().unwrap();
        directory.create().unwrap();
        assert_eq!(directory.nonce().unwrap(), nonce);
        let other = Directory::new(root.path(), "b").unwrap();
        other.create().unwrap();
        assert_ne!(other.nonce().unwrap(), nonce);
    }

    #[test]
    fn it_is_made_for_its_user_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::new(&root.path().join("deep/root"), "a").unwrap();
        directory.create().unwrap();
        directory.create().unwrap();
        for path in [directory.path(), directory.log()] {
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn what_is_set_aside_is_kept_with_its_reason_and_never_replaced() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::new(root.path(), "a").unwrap();
        for n in 1..=3 {
            directory.create().unwrap();
            std::fs::write(directory.path().join("row"), [n]).unwrap();
            let aside = directory.set_aside("a wrong checksum").unwrap();
            assert!(aside.ends_with(format!("nodes/a~{n}")));
            assert!(!directory.path().exists());
        }
        let first = root.path().join("nodes/a~1");
        assert_eq!(std::fs::read(first.join("row")).unwrap(), [1]);
        let reason = std::fs::read_to_string(first.join(REASON_FILE)).unwrap();
        assert_eq!(reason, "a wrong checksum\n");
    }

    #[test]
    fn too_many_set_aside_and_nothing_to_set_aside_are_errors() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::new(root.path(), "a").unwrap();
        let missing = directory.set_aside("").unwrap_err();
        assert!(matches!(missing, DirectoryError::Failed { .. }));
        for n in 1..=MAX_SET_ASIDE {
            std::fs::create_dir_all(root.path().join(format!("nodes/a~{n}"))).unwrap();
        }
        directory.create().unwrap();
        let refused = directory.set_aside("").unwrap_err();
        assert!(matches!(refused, DirectoryError::TooMany { .. }));
        assert!(directory.path().exists());
    }
}
