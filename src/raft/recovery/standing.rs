//! Whether there is anything to recover: nodes whose logs are all there need only be started.

use std::sync::Arc;

use super::{Found, Recovered, RecoveryError, Survey};
use crate::ids::{Incarnation, NodeId};
use crate::raft::driver::orphan::Orphan;
use crate::raft::rocks::RocksDisk;

impl Survey {
    /// What an earlier recovery has founded here, if its founder has not started since, and nothing else
    /// happened: to recover once more would found a second cluster for nothing.
    #[must_use]
    pub fn done(&self) -> Option<(&str, Recovered)> {
        let (found, log) = self.best().ok()?;
        let state = log.state();
        let members: Vec<_> = state.members().map(|member| member.id).collect();
        let is_done = !found.is_aside()
            && self.latched == Some(log.ident().cluster)
            && log.ident().incarnation == Incarnation(0)
            && !state.supersedes().is_empty()
            && members == [log.ident().node];
        let recovered = Recovered {
            state: state.as_ref().clone(),
            founder: log.ident().node,
            aside: None,
        };
        is_done.then(|| (found.node(), recovered))
    }

    /// The state of this node's log, if that is in its place and of the directory's cluster: then the node only has
    /// to be started.
    #[must_use]
    pub fn member(&self, node: &str) -> Option<Recovered> {
        let found = self.found.iter().find(|found| found.directory == node)?;
        let log = found.log.as_ref().ok()?;
        let ident = log.ident();
        (Some(ident.cluster) == self.latched).then(|| Recovered {
            state: log.state().as_ref().clone(),
            founder: ident.node,
            aside: None,
        })
    }

    /// Checks that the cluster is lost, as far as its logs show.
    ///
    /// # Errors
    /// [`RecoveryError::Intact`], and [`RecoveryError::NotStarted`] after a recovery. Both mean that nodes have to
    /// be started, which an operator may know to be impossible.
    pub fn check_loss(&self) -> Result<(), RecoveryError> {
        if let Some((founder, _)) = self.done() {
            let founder = founder.to_owned();
            return Err(RecoveryError::NotStarted { founder });
        }
        match self.intact() {
            Some(voters) => Err(RecoveryError::Intact { voters }),
            None => Ok(()),
        }
    }

    /// The names of the last known voters, if the log of each is intact and where its node looks for it.
    fn intact(&self) -> Option<Vec<Arc<str>>> {
        let (_, best) = self.best().ok()?;
        let (cluster, state) = (best.ident().cluster, best.state());
        if self.latched.is_some_and(|latched| latched != cluster) {
            return None;
        }
        let is_voters = |node: NodeId, found: &&Found| {
            let is_its = |log: &Orphan<RocksDisk>| {
                let ident = log.ident();
                (ident.cluster, ident.node) == (cluster, node) && log.end().index > 0
            };
            !found.is_aside() && found.log.as_ref().is_ok_and(is_its)
        };
        let quorum = state.quorum();
        let voters = quorum.voters.iter().chain(&quorum.outgoing);
        let mut names = voters
            .map(|voter| {
                let member = state.member(*voter)?;
                let mut found = self.found.iter();
                let log = found.find(|found| is_voters(*voter, found))?;
                (log.node() == &*member.name).then(|| member.name.clone())
            })
            .collect::<Option<Vec<_>>>()?;
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}
