//! A new cluster from the logs of one whose majority is gone for good: `gcache cluster recover`.
//!
//! Called by the command line, while no node of the data directory runs: a [`Survey`] opens every log
//! and holds its lock, a [`Plan`] says what would be done, and `work` does it, so that a crash at any
//! point leaves a directory on which the same command goes on.

mod error;
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
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::topology::commands::{Agreed, COMMAND_VERSION, Joiner};
use crate::topology::state::State;
use crate::topology::state::recover::Recovery;

pub use self::error::RecoveryError;

/// A node's log that lies in the data directory.
#[derive(Debug)]
pub struct Found {
    /// What its directory is called: the node's name, with `~N` behind it if it was set aside.
    pub directory: String,
    /// The log, or why it cannot be used.
    pub log: Result<Orphan<RocksDisk>, String>,
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
            let mut log = read(&directory, &nodes.join(&directory).join("log"))?;
            if let Some(founder) = directory.strip_prefix(DRAFT_PREFIX) {
                survey.take_draft(founder, log);
                continue;
            }
            let is_aside = directory.contains('~');
            if let (true, Ok(log)) = (is_aside, &mut log) {
                // No node opens it any more, and there may be hundreds.
                log.give_disk_back();
            }
            let rating = None;
            survey.found.push(Found {
                directory,
                log,
                rating,
            });
        }
        // Without a rating there is no plan either: that says why.
        for (rating, place) in survey.order().unwrap_or_default().into_iter().enumerate() {
            survey.found[place].rating = Some(rating + 1);
        }
        Ok(survey)
    }

    /// A draft counts from the moment that the latch names its cluster; before, nobody has heard of it.
    fn take_draft(&mut self, founder: &str, log: Result<Orphan<RocksDisk>, String>) {
        if let Ok(log) = log
            && Some(log.ident().cluster) == self.latched
        {
            self.unfinished = Some((founder.to_owned(), log));
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

    /// Returns what recovering would do: from the state `saved`, or from the most advanced log; with the
    /// member called `id` as the founder, or the one whose log is the most advanced.
    ///
    /// # Errors
    /// [`RecoveryError`]: nothing to recover from, or nobody to found the cluster.
    pub fn plan(&self, saved: Option<State>, id: Option<&str>) -> Result<Plan, RecoveryError> {
        let best = self.best();
        let node = best.as_ref().ok().map(|(found, _)| found.node().to_owned());
        let (from, log) = match saved {
            Some(state) => (Arc::new(state), None),
            None => {
                let (found, log) = best?;
                (Arc::clone(log.state()), Some(found.directory.clone()))
            }
        };
        let known = || known(&from);
        let founder = match (id, node) {
            (Some(id), _) => id.to_owned(),
            (None, Some(node)) => node,
            (None, None) => return Err(RecoveryError::NoFounder { known: known() }),
        };
        let founder = joiner(&from, &founder).ok_or_else(|| RecoveryError::NoMember {
            name: founder,
            known: known(),
        })?;
        let recovery = Recovery {
            cluster: ClusterId(uuid::Uuid::new_v4().as_u128()),
            latched: self.latched,
            founder,
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

/// The member of this name as one that founds a cluster where it was; its next start says where it is.
fn joiner(state: &State, name: &str) -> Option<Joiner> {
    let members = || state.members().filter(|member| *member.name == *name);
    let member = members()
        .find(|member| member.replaced_by.is_none())
        .or_else(|| members().next())?;
    Some(Joiner {
        name: member.name.clone(),
        host: member.host.clone(),
        raft_port: member.raft_port,
        grpc_port: member.grpc_port,
        admin_port: member.admin_port,
        zone: member.zone.clone(),
        weight: member.weight,
        incarnation: Incarnation(0),
        version: COMMAND_VERSION,
        settings: Agreed::ours(),
        nonce: 0,
        leaves_on_term: false,
    })
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

/// The log at `path`, or why it cannot be used.
fn read(directory: &str, path: &Path) -> Result<Result<Orphan<RocksDisk>, String>, RecoveryError> {
    // Opening would make one.
    if !path.join("CURRENT").exists() {
        return Ok(Err("there is no log in it".into()));
    }
    match RocksDisk::open_now(path) {
        Ok(disk) => Ok(Orphan::read(disk).map_err(|error| error.to_string())),
        Err(RocksError::Held { path, .. }) => Err(RecoveryError::Running {
            node: directory.trim_start_matches(DRAFT_PREFIX).to_owned(),
            path,
        }),
        Err(error) => Ok(Err(error.to_string())),
    }
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
