//! A new cluster from the logs of one whose majority is gone for good: `gcache cluster recover`.
//!
//! Called by the command line, while no node of the data directory runs that has a log: a [`Survey`] opens every
//! log and holds its lock, a [`Plan`] says what would be done, and `work` does it, so that a crash at any
//! point leaves a directory on which the same command goes on.

mod error;
mod founder;
mod rating;
mod standing;
mod work;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::rating::{Rated, order};
use super::directory::{DRAFT_PREFIX, Directory};
use super::driver::orphan::Orphan;
use super::latch::Root;
use super::rocks::{RocksDisk, RocksError};
use crate::ids::{ClusterId, NodeId};
use crate::topology::state::State;
use crate::topology::state::recover::Recovery;

pub use self::error::RecoveryError;
pub use self::founder::Founder;

/// A node's log that lies in the data directory.
#[derive(Debug)]
pub struct Found {
    /// What its directory is called: the node's name, with `~N` behind it if it was set aside.
    pub directory: String,
    /// The log, or why it cannot be used.
    pub log: Result<Orphan<RocksDisk>, String>,
    /// Whether a node has it open: one that waits to join, and has written nothing yet.
    pub is_waiting: bool,
    /// Its place among the logs of the lost cluster: the first holds the most. None for others, and for those
    /// that hold nothing.
    pub rating: Option<usize>,
}

impl Found {
    /// The node whose log it is.
    #[must_use]
    pub fn node(&self) -> &str {
        let name = self.directory.split_once('~');
        name.map_or(&self.directory, |(name, _)| name)
    }

    /// Whether it was set aside by its node.
    #[must_use]
    pub fn is_aside(&self) -> bool {
        self.directory.contains('~')
    }
}

/// Every log of a data directory. While it is there, no node can open one of them.
#[derive(Debug)]
pub struct Survey {
    root: PathBuf,
    latched: Option<ClusterId>,
    found: Vec<Found>,
    unfinished: Option<(String, Orphan<RocksDisk>)>,
}

/// What would be done. It has no effect by itself.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The state that is continued.
    pub from: Arc<State>,
    /// What it is continued as. The founder's nonce is drawn with its directory.
    pub recovery: Recovery,
    /// Which log the state is of, as its directory is called; none if it is that of a file.
    pub log: Option<String>,
}

impl Survey {
    /// Opens and reads every log below `root`. Blocks; writes nothing but what opening a log takes.
    ///
    /// `is_needed` is whether there must be logs: without it a directory that is not there is an empty
    /// one.
    ///
    /// # Errors
    /// [`RecoveryError::Running`] if one is in use, [`RecoveryError::NoDirectory`], and what the file
    /// system refuses. A log that is damaged is no error, but [reported](Found::log).
    pub fn take(root: &Path, is_needed: bool) -> Result<Self, RecoveryError> {
        let latched = Root::peek(root)?;
        let nodes = root.join("nodes");
        let mut names = match std::fs::read_dir(&nodes) {
            Ok(entries) => names(entries, &nodes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_needed => {
                let path = root.to_owned();
                return Err(RecoveryError::NoDirectory { path });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(RecoveryError::Failed { path: nodes, error }),
        };
        names.sort_unstable();
        let mut survey = Self {
            root: root.to_owned(),
            latched,
            found: Vec::new(),
            unfinished: None,
        };
        for directory in names {
            let mut found = read(directory, &nodes)?;
            if let Some(founder) = found.directory.strip_prefix(DRAFT_PREFIX) {
                let founder = founder.to_owned();
                survey.take_draft(founder, found.log);
                continue;
            }
            if let (true, Ok(log)) = (found.is_aside(), &mut found.log) {
                // No node opens it any more, and there may be hundreds.
                log.give_disk_back();
            }
            survey.found.push(found);
        }
        // Without a rating there is no plan either: that says why.
        for (rating, place) in survey.order().unwrap_or_default().into_iter().enumerate() {
            survey.found[place].rating = Some(rating + 1);
        }
        Ok(survey)
    }

    /// A draft counts from the moment that the latch names its cluster; before, nobody has heard of it.
    fn take_draft(&mut self, founder: String, log: Result<Orphan<RocksDisk>, String>) {
        if let Ok(log) = log
            && Some(log.ident().cluster) == self.latched
        {
            self.unfinished = Some((founder, log));
        }
    }

    /// The cluster that the data directory belongs to, if it says so.
    #[must_use]
    pub fn latched(&self) -> Option<ClusterId> {
        self.latched
    }

    /// Every log, in the order of the directories' names, those that were set aside among them.
    #[must_use]
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// The founder of a recovery that was begun and did not end, and what it founded.
    #[must_use]
    pub fn unfinished(&self) -> Option<(&str, &State)> {
        let (founder, log) = self.unfinished.as_ref()?;
        Some((founder, log.state()))
    }

    /// Returns what recovering would do: from the state `saved`, or from the most advanced log; with this
    /// founder, or the node whose log is the most advanced.
    ///
    /// # Errors
    /// [`RecoveryError`]: nothing to recover from, or no node that could found the cluster.
    pub fn plan(
        &self,
        saved: Option<State>,
        founder: Option<&Founder>,
    ) -> Result<Plan, RecoveryError> {
        let best = self.best();
        let node = best
            .as_ref()
            .ok()
            .map(|(found, _)| Founder::from(found.node()));
        let (from, log) = match saved {
            Some(state) => (Arc::new(state), None),
            None => {
                let (found, log) = best?;
                (Arc::clone(log.state()), Some(found.directory.clone()))
            }
        };
        let founder = founder.cloned().or(node);
        let founder = founder.ok_or_else(|| RecoveryError::NoFounder {
            known: known(&from),
        })?;
        let mut waiting = self.found.iter().filter(|found| found.is_waiting);
        if let Some(found) = waiting.find(|found| found.directory == founder.name) {
            return Err(RecoveryError::Running {
                node: founder.name,
                path: self.root.join("nodes").join(&found.directory),
            });
        }
        let recovery = Recovery {
            cluster: ClusterId(uuid::Uuid::new_v4().as_u128()),
            latched: self.latched,
            founder: founder.joiner(&from),
        };
        // Said now, before anything is done.
        from.recover(recovery.clone())?;
        Ok(Plan {
            from,
            recovery,
            log,
        })
    }

    /// The log that holds the most.
    fn best(&self) -> Result<(&Found, &Orphan<RocksDisk>), RecoveryError> {
        let places = self.order().map_err(RecoveryError::Several)?;
        let best = places.first().map(|place| &self.found[*place]);
        best.and_then(|found| Some((found, found.log.as_ref().ok()?)))
            .ok_or_else(|| RecoveryError::NoLog {
                reasons: self.unfit(),
            })
    }

    /// The places of the lost cluster's logs, the one that holds the most first.
    fn order(&self) -> Result<Vec<usize>, Vec<ClusterId>> {
        let logs = self.found.iter().enumerate();
        let (places, rated): (Vec<_>, Vec<_>) = logs
            .filter_map(|(place, found)| {
                let log = found.log.as_ref().ok()?;
                let rated = Rated {
                    cluster: log.ident().cluster,
                    supersedes: log.state().supersedes().to_vec(),
                    end: log.end(),
                    is_aside: found.is_aside(),
                };
                (rated.end.index > 0).then_some((place, rated))
            })
            .unzip();
        let order = order(self.latched, &rated)?;
        Ok(order.into_iter().map(|rated| places[rated]).collect())
    }

    /// Says why no log can be used.
    fn unfit(&self) -> String {
        let reasons = self.found.iter().map(|found| match &found.log {
            Ok(_) => format!("{}: its node had heard nothing yet", found.directory),
            Err(why) => format!("{}: {why}", found.directory),
        });
        let reasons: Vec<_> = reasons.collect();
        if reasons.is_empty() {
            return "there is none".into();
        }
        reasons.join("; ")
    }
}

fn known(state: &State) -> Vec<Arc<str>> {
    let members = state.members();
    let mut known: Vec<_> = members.map(|member| member.name.clone()).collect();
    known.sort_unstable();
    known.dedup();
    known
}

/// The names of directories that are a node's, were one's, or are drafts.
fn names(entries: std::fs::ReadDir, nodes: &Path) -> Result<Vec<String>, RecoveryError> {
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| RecoveryError::Failed {
            path: nodes.to_owned(),
            error,
        })?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let own = name.strip_prefix(DRAFT_PREFIX).unwrap_or(&name);
        let own = own.split_once('~').map_or(own, |(own, _)| own);
        if Directory::new(nodes, own).is_ok() && entry.path().is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Reads the log of a directory below `nodes`.
fn read(directory: String, nodes: &Path) -> Result<Found, RecoveryError> {
    let path = nodes.join(&directory).join("log");
    let (log, is_waiting) = match path.join("CURRENT").exists() {
        // Opening would make one.
        false => (Err("there is no log in it".into()), false),
        true => match RocksDisk::open_now(&path) {
            Ok(disk) => (Orphan::read(disk).map_err(|error| error.to_string()), false),
            // It can begin a log only in a cluster that still has a leader; and not any more, once the latch
            // names another.
            Err(RocksError::Held { path, .. }) if RocksDisk::is_unwritten(&path) => {
                (Err("its node waits to join".into()), true)
            }
            Err(RocksError::Held { path, .. }) => {
                let node = directory.trim_start_matches(DRAFT_PREFIX).to_owned();
                return Err(RecoveryError::Running { node, path });
            }
            Err(error) => (Err(error.to_string()), false),
        },
    };
    Ok(Found {
        directory,
        log,
        is_waiting,
        rating: None,
    })
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The first state of the new cluster.
    pub state: State,
    /// The founder's id in it.
    pub founder: NodeId,
    /// Where the founder's earlier directory is now, if there was one.
    pub aside: Option<PathBuf>,
}
