//! What becomes of the log that a node finds in its data directory. Pure.
//!
//! A log is run only by the member whose log it is, and only while its cluster still has that member. A log
//! that must not be used is set aside and never repaired; then the node looks again, finds none, and begins
//! as one that never had a log.

use std::path::Path;
use std::sync::Arc;

use super::Reason;
use crate::ids::{ClusterId, NodeId};

/// What a node finds where its log should be. `L` is the open log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<L> {
    /// No log: nothing was founded or joined here.
    Nothing,
    /// What is there is not what was written.
    Corrupt(Reason),
    /// It cannot be opened, for a reason that says nothing against what is there: a later version wrote it,
    /// for example.
    Unusable(Reason),
    /// A log that can be run.
    Log(FoundLog<L>),
}

/// A log that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog<L> {
    /// The log itself.
    pub log: L,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The cluster that the data directory belongs to, after this log's was published there: a founder may
    /// have crashed before it could publish.
    pub latched: ClusterId,
    /// The member whose log it is.
    pub node: NodeId,
    /// That member's name in the log's state. A member that has no snapshot yet does not know it.
    pub name: Option<Arc<str>>,
}

/// What a node does about what it found. Only one that may run the log still has it open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening<L> {
    /// It founds a cluster or joins one: see [`super::joining`].
    Begin,
    /// It sets the directory aside for this reason, and looks again.
    SetAside(Reason),
    /// It touches nothing, and its control plane ends for this reason.
    Refuse(Reason),
    /// It asks the seeds for this member's [`Fate`](super::superseded::Fate). If that is none it runs the
    /// log; else it gives the directory to the fate's successor, sets the log aside, and looks again.
    AskFate(L),
}

/// Decides what the node called `name`, whose directory is `directory`, does about what it `found` there.
#[must_use]
pub fn open<L>(found: Found<L>, name: &str, directory: &Path) -> Opening<L> {
    match found {
        Found::Nothing => Opening::Begin,
        Found::Corrupt(reason) => Opening::SetAside(reason),
        Found::Unusable(reason) => Opening::Refuse(reason),
        Found::Log(found) if found.cluster != found.latched => Opening::SetAside(format!(
            "the log is of cluster {}, the directory of another",
            found.cluster
        )),
        // Of two nodes whose directories were swapped, each would act as the other, and peers would look for
        // it at the other's address.
        Found::Log(found) => match found.name {
            Some(other) if *other != *name => Opening::Refuse(format!(
                "{} is the directory of member {}, \"{other}\", and not of \"{name}\": put back what was moved",
                directory.display(),
                found.node,
            )),
            _ => Opening::AskFate(found.log),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_intact_log_of_this_member_and_this_cluster_is_run() {
        let own = FoundLog {
            log: (),
            cluster: ClusterId(1),
            latched: ClusterId(1),
            node: NodeId(4),
            name: Some("a".into()),
        };
        let with = |change: fn(&mut FoundLog<()>)| {
            let mut log = own.clone();
            change(&mut log);
            Found::Log(log)
        };
        let newer = "the snapshot cannot be used: version 9 is in use";
        let mine = with(|_| {});
        let young = with(|log| log.name = None);
        let swapped = with(|log| log.name = Some("b".into()));
        let foreign = with(|log| log.latched = ClusterId(2));
        let both = with(|log| {
            log.latched = ClusterId(2);
            log.name = Some("b".into());
        });
        for (found, does, reason) in [
            (Found::Nothing, "begin", ""),
            (
                Found::Corrupt("a wrong sum".into()),
                "set aside",
                "a wrong sum",
            ),
            // After a rollback the log is sound.
            (Found::Unusable(newer.into()), "refuse", newer),
            (Found::Unusable("no space".into()), "refuse", "no space"),
            (mine, "ask", ""),
            (young, "ask", ""),
            (foreign, "set aside", "the directory of another"),
            (both, "set aside", "the directory of another"),
            (
                swapped,
                "refuse",
                "/data/nodes/a is the directory of member 4, \"b\"",
            ),
        ] {
            let text = format!("{found:?}");
            let (does_it, why) = match open(found, "a", Path::new("/data/nodes/a")) {
                Opening::Begin => ("begin", String::new()),
                Opening::SetAside(why) => ("set aside", why),
                Opening::Refuse(why) => ("refuse", why),
                Opening::AskFate(()) => ("ask", String::new()),
            };
            assert_eq!(does_it, does, "{text}");
            assert!(why.contains(reason), "{text}: {why}");
        }
    }
}
