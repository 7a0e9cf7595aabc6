//! Doing what a recovery planned, in stages of which each leaves a directory that can be gone on with.
//!
//! The new log is complete in a draft before the latch names its cluster; that is the moment from which
//! the new cluster is there. A crash before it has changed nothing: the next run begins anew. After it,
//! nodes that start set their logs aside and wait, and the next run puts the draft in its place.

use std::path::PathBuf;

use super::{Plan, Recovered, RecoveryError, Survey};
use crate::ids::{ClusterId, NodeId};
use crate::raft::directory::{DRAFT_PREFIX, Directory};
use crate::raft::driver::Driver;
use crate::raft::latch::Root;
use crate::raft::rocks::RocksDisk;
use crate::topology::state::State;

/// One stage.
pub(super) type Stage = fn(&mut Work) -> Result<(), RecoveryError>;

/// All of them, in order.
pub(super) const STAGES: [Stage; 5] = [
    Work::clear,
    Work::draft,
    Work::latch,
    Work::set_aside,
    Work::adopt,
];

/// Those that are left once the latch names the draft's cluster.
const LEFT: usize = 3;

/// A recovery under way. It holds the locks of all logs.
pub(super) struct Work {
    survey: Survey,
    founder: Directory,
    plan: Option<Plan>,
    state: Option<State>,
    aside: Option<PathBuf>,
}

impl Survey {
    /// Does what `plan` says, or [finishes](Survey::unfinished) what was begun. Blocks. After a crash or
    /// an error at any point it can be done again, with a new survey.
    ///
    /// # Errors
    /// [`RecoveryError`]: the file system refuses.
    pub fn recover(self, plan: Plan) -> Result<Recovered, RecoveryError> {
        let mut work = Work::begin(self, plan)?;
        for stage in STAGES {
            stage(&mut work)?;
        }
        Ok(work.end())
    }

    /// Finishes a recovery that was begun. None if there is none. `id` is whom the operator wants as
    /// its founder, if anybody.
    ///
    /// # Errors
    /// As [`recover`](Self::recover)'s, and [`RecoveryError::Begun`] if the founder is another.
    pub fn finish(self, id: Option<&str>) -> Result<Option<Recovered>, RecoveryError> {
        let Some(mut work) = Work::resume(self, id)? else {
            return Ok(None);
        };
        for stage in &STAGES[LEFT..] {
            stage(&mut work)?;
        }
        Ok(Some(work.end()))
    }
}

impl Work {
    pub(super) fn begin(survey: Survey, plan: Plan) -> Result<Self, RecoveryError> {
        if let Some((founder, _)) = &survey.unfinished {
            let founder = founder.clone();
            return Err(RecoveryError::Begun { founder });
        }
        Ok(Self {
            founder: Directory::new(&survey.root, &plan.recovery.founder.name)?,
            survey,
            plan: Some(plan),
            state: None,
            aside: None,
        })
    }

    fn resume(mut survey: Survey, id: Option<&str>) -> Result<Option<Self>, RecoveryError> {
        let Some((founder, log)) = survey.unfinished.take() else {
            return Ok(None);
        };
        if id.is_some_and(|id| id != founder) {
            return Err(RecoveryError::Begun { founder });
        }
        Ok(Some(Self {
            founder: Directory::new(&survey.root, &founder)?,
            survey,
            plan: None,
            state: Some(State::clone(log.state())),
            aside: None,
        }))
    }

    /// Deletes drafts of which nobody has heard.
    fn clear(&mut self) -> Result<(), RecoveryError> {
        let nodes = self.survey.root.join("nodes");
        let Ok(entries) = std::fs::read_dir(nodes) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(founder) = name.strip_prefix(DRAFT_PREFIX) {
                Directory::new(&self.survey.root, founder)?
                    .draft()
                    .erase()?;
            }
        }
        Ok(())
    }

    /// Founds the new cluster completely, where no node looks.
    fn draft(&mut self) -> Result<(), RecoveryError> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        let draft = self.founder.draft();
        draft.create()?;
        let mut recovery = plan.recovery.clone();
        recovery.founder.nonce = draft.nonce()?;
        let cluster = recovery.cluster;
        let state = plan.from.recover(recovery)?;
        let mut disk = RocksDisk::open_now(&draft.log())?;
        Driver::found(&mut disk, cluster, founder(&state), &state)?;
        self.state = Some(state);
        Ok(())
    }

    /// The new cluster is there from here on.
    fn latch(&mut self) -> Result<(), RecoveryError> {
        Ok(Root::open(&self.survey.root)?.replace(self.cluster())?)
    }

    /// Sets the founder's earlier log aside, or what it made in the place of it since.
    fn set_aside(&mut self) -> Result<(), RecoveryError> {
        // Its lock is given back: from here on nothing of it is needed.
        let founder = self.founder.path();
        let name = founder.file_name().map(|name| name.to_string_lossy());
        let name = name.unwrap_or_default().into_owned();
        self.survey.found.retain(|found| found.directory != name);
        if founder.symlink_metadata().is_ok() {
            let reason = format!("the cluster was recovered as {}", self.cluster());
            self.aside = Some(self.founder.set_aside(&reason)?);
        }
        Ok(())
    }

    /// Puts the founder's new log in its place.
    fn adopt(&mut self) -> Result<(), RecoveryError> {
        Ok(self.founder.adopt(&self.founder.draft())?)
    }

    fn cluster(&self) -> ClusterId {
        let state = self.state.as_ref();
        state.expect("the draft is made first").cluster()
    }

    fn end(self) -> Recovered {
        let state = self.state.expect("the draft is made first");
        Recovered {
            founder: founder(&state),
            state,
            aside: self.aside,
        }
    }
}

/// The only member.
fn founder(state: &State) -> NodeId {
    let founder = state.members().next().map(|member| member.id);
    founder.expect("a recovered cluster has one member")
}
