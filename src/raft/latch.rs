//! The latch: which cluster a data directory belongs to, decided once and for all nodes that share it.
//!
//! `ROOT/CLUSTER` names the cluster. It appears whole or not at all, and only once, until an operator
//! recovers the cluster under another id: a founder writes it
//! under another name, syncs it, and links it into place (link(2) fails where a name is taken, also on
//! NFS). `ROOT/ROOT` is a random number by which nodes know that they share a directory. `ROOT/FOUNDER` is where
//! the cluster's only voter was when it started last: nodes that join ask there too, since it may be in nobody's
//! seeds. It is a hint, and a file of its own: earlier executables read `ROOT/CLUSTER` as an id and nothing else.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::ids::ClusterId;

/// Where the cluster's id is.
const LATCH_FILE: &str = "CLUSTER";

/// Where the only voter's address is.
const FOUNDER_FILE: &str = "FOUNDER";

/// The longest address that is read there: a DNS name and a port have less.
const MAX_ADDRESS_BYTES: usize = 300;

/// A data directory that says which cluster it belongs to.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    id: u128,
}

/// A data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
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
    /// A file holds something else.
    #[error("{} holds no id: it is not a data directory of gcache, or it is damaged", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// What became of publishing a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The directory belongs to it from now on.
    Won,
    /// It belongs to this one already.
    Lost(ClusterId),
}

impl Root {
    /// The data directory at `path`, made if it is not there.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn open(path: &Path) -> Result<Self, RootError> {
        std::fs::create_dir_all(path).map_err(failed("create", path))?;
        let own = path.join("ROOT");
        if read_id(&own)?.is_none() {
            // Another process may be first: then its number counts.
            publish(path, &own, Uuid::new_v4())?;
        }
        let id = read_id(&own)?.ok_or_else(|| RootError::Foreign { path: own.clone() })?;
        Ok(Self {
            path: path.to_owned(),
            id,
        })
    }

    /// The cluster that the data directory at `path` belongs to, if it is one and says so. Makes nothing.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn peek(path: &Path) -> Result<Option<ClusterId>, RootError> {
        Ok(read_id(&path.join(LATCH_FILE))?.map(ClusterId))
    }

    /// Returns the directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number that all nodes which share it know it by.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.id
    }

    /// The cluster that it belongs to, if one was founded.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn cluster(&self) -> Result<Option<ClusterId>, RootError> {
        Ok(read_id(&self.latch())?.map(ClusterId))
    }

    /// Says that it belongs to `cluster`, unless it belongs to one.
    ///
    /// # Errors
    /// [`RootError`]; then it is unknown whether it was said.
    pub fn publish(&self, cluster: ClusterId) -> Result<Published, RootError> {
        let latch = self.latch();
        publish(&self.path, &latch, Uuid::from_u128(cluster.0))?;
        match read_id(&latch)? {
            Some(id) if id == cluster.0 => Ok(Published::Won),
            Some(id) => Ok(Published::Lost(ClusterId(id))),
            None => Err(RootError::Foreign { path: latch }),
        }
    }

    /// Says that it belongs to `cluster`, whichever it belonged to: for the recovery of a cluster that is
    /// lost, and for nodes that follow one. After a crash it says the one or the other, never neither.
    ///
    /// # Errors
    /// [`RootError`]; then it is unknown whether it was said.
    pub fn replace(&self, cluster: ClusterId) -> Result<(), RootError> {
        let latch = self.latch();
        let draft = draft(&self.path, &id_text(Uuid::from_u128(cluster.0)));
        draft
            .and_then(|draft| std::fs::rename(draft, &latch))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(failed("replace", &latch))
    }

    /// Says where the only voter of the directory's cluster is: whole or not at all, whatever was said before.
    ///
    /// # Errors
    /// [`RootError`]; then it is unknown whether it was said.
    pub fn name_founder(&self, address: &str) -> Result<(), RootError> {
        let path = self.path.join(FOUNDER_FILE);
        let draft = draft(&self.path, address);
        draft
            .and_then(|draft| std::fs::rename(draft, &path))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(failed("replace", &path))
    }

    /// Returns where the only voter was, if there was one. It may have moved, or be gone.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn founder(&self) -> Result<Option<String>, RootError> {
        let path = self.path.join(FOUNDER_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) if text.len() <= MAX_ADDRESS_BYTES => Ok(Some(text.trim().to_owned())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    fn latch(&self) -> PathBuf {
        self.path.join(LATCH_FILE)
    }
}

/// Makes the file `path` of `id` in the directory `root`, unless it is there. Whole and synced.
fn publish(root: &Path, path: &Path, id: Uuid) -> Result<(), RootError> {
    let written = draft(root, &id_text(id)).and_then(|draft| {
        let linked = match std::fs::hard_link(&draft, path) {
            // An answer of NFS may be lost and the link made all the same: the file shows it.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => File::open(root)?.sync_all(),
        };
        // A draft that stays is harmless.
        let _left = std::fs::remove_file(&draft);
        linked
    });
    written.map_err(failed("write", path))
}

fn id_text(id: Uuid) -> String {
    id.hyphenated().to_string()
}

/// A file with this line under a name that nobody else has, whole and synced.
fn draft(root: &Path, line: &str) -> io::Result<PathBuf> {
    let draft = root.join(format!(".draft-{}", Uuid::new_v4().simple()));
    let mut file = File::options().write(true).create_new(true).open(&draft)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()?;
    Ok(draft)
}

fn read_id(path: &Path) -> Result<Option<u128>, RootError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let id = Uuid::try_parse_ascii(text.trim_ascii()).map_err(|_| RootError::Foreign {
        path: path.to_owned(),
    })?;
    Ok(Some(id.as_u128()))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RootError {
    let path = path.to_owned();
    move |error| RootError::Failed {
        action,
        path,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_one_cluster_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/root");
        let root = Root::open(&path).unwrap();
        assert_eq!(root.cluster().unwrap(), None);
        assert_eq!(root.publish(ClusterId(5)).unwrap(), Published::Won);
        assert_eq!(root.publish(ClusterId(5)).unwrap(), Published::Won);
        let other = Root::open(&path).unwrap();
        assert_eq!(other.id(), root.id());
        let lost = Published::Lost(ClusterId(5));
        assert_eq!(other.publish(ClusterId(6)).unwrap(), lost);
        assert_eq!(other.cluster().unwrap(), Some(ClusterId(5)));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
    }

    #[test]
    fn only_a_recovery_makes_it_another_clusters() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        // Also where nobody had said anything: the latch may be what was lost.
        for id in [5, 6, 6] {
            root.replace(ClusterId(id)).unwrap();
            assert_eq!(root.cluster().unwrap(), Some(ClusterId(id)));
        }
        let lost = Published::Lost(ClusterId(6));
        assert_eq!(root.publish(ClusterId(5)).unwrap(), lost);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn where_the_founder_is_is_said_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert_eq!(root.founder().unwrap(), None);
        for address in ["10.0.0.7:8001", "[::1]:8001"] {
            root.name_founder(address).unwrap();
            assert_eq!(root.founder().unwrap().as_deref(), Some(address));
        }
        let long = "a".repeat(MAX_ADDRESS_BYTES);
        root.name_founder(&long).unwrap();
        assert_eq!(root.founder().unwrap(), None);
        assert_eq!(root.cluster().unwrap(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn of_many_founders_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let won: Vec<_> = std::thread::scope(|scope| {
            let found = |id| {
                let path = folder.path();
                scope.spawn(move || {
                    let root = Root::open(path).unwrap();
                    (root.id(), root.publish(ClusterId(id)).unwrap())
                })
            };
            let founders: Vec<_> = (1..=8).map(found).collect();
            founders.into_iter().map(|f| f.join().unwrap()).collect()
        });
        let winners = won
            .iter()
            .filter(|(_, published)| *published == Published::Won);
        assert_eq!(winners.count(), 1);
        assert!(won.iter().all(|(id, _)| *id == won[0].0));
    }

    #[test]
    fn another_content_is_reported_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let latch = folder.path().join("CLUSTER");
        for content in [&b"production"[..], b"\xff\x00"] {
            std::fs::write(&latch, content).unwrap();
            assert!(matches!(root.cluster(), Err(RootError::Foreign { .. })));
            assert!(matches!(
                root.publish(ClusterId(1)),
                Err(RootError::Foreign { .. })
            ));
            assert_eq!(std::fs::read(&latch).unwrap(), content);
        }
    }
}
