//! `gcache cluster finalize`: takes the newest version that every member knows into use.

use serde_json::json;

use super::args::Reach;
use super::cluster_client::Cluster;
use super::failure::Failure;
use super::print::{print_json, write};
use crate::topology::commands::{COMMAND_VERSION, Command, UNFINALIZED_VERSION};
use crate::topology::state::State;

/// Takes the version of this executable into use, or only reports what that would do. What is so already is no
/// failure.
pub(super) async fn finalize(is_dry_run: bool, reach: &Reach) -> Result<(), Failure> {
    let cluster = Cluster::of(reach)?;
    let state = cluster.state().await?;
    let plan = plan(&state, COMMAND_VERSION).map_err(Failure::Failed)?;
    if let (Some(version), false) = (plan, is_dry_run) {
        cluster.commit(&Command::Finalize(version)).await?;
    }
    if reach.json {
        return print_json(&json!({
            "version": COMMAND_VERSION,
            "before": state.version(),
            "dry_run": is_dry_run,
            "was_so": plan.is_none(),
        }));
    }
    let text = describe(plan, state.version(), is_dry_run);
    write(format!("{text}\n").as_bytes(), false)
}

/// The version to take into use; none if it is in use. `own` is the highest that this executable knows.
fn plan(state: &State, own: u32) -> Result<Option<u32>, String> {
    let in_use = state.version();
    if in_use > own {
        return Err(format!(
            "version {in_use} is in use, and this executable knows versions up to {own}: run a later one"
        ));
    }
    if in_use == own || own <= UNFINALIZED_VERSION {
        return Ok(None);
    }
    let older = state.members().filter(|member| member.version < own);
    let older: Vec<String> = older
        .map(|member| format!("{} knows up to {}", member.name, member.version))
        .collect();
    match older.is_empty() {
        true => Ok(Some(own)),
        false => Err(format!(
            "not every member knows version {own}: {}; upgrade these nodes, or remove those that are gone, first",
            older.join(", ")
        )),
    }
}

fn describe(plan: Option<u32>, in_use: u32, is_dry_run: bool) -> String {
    match (plan, is_dry_run) {
        (None, _) => format!("version {in_use} is in use already"),
        (Some(version), true) => format!(
            "every member knows version {version}: finalize would take it into use in place of {in_use}, and older \
             executables would be refused from then on"
        ),
        (Some(version), false) => {
            format!("version {version} is in use: older executables are refused from now on")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Incarnation, NodeId};
    use crate::topology::commands::{Joiner, Resume};
    use crate::topology::fixtures::named;
    use crate::topology::state::Founding;

    /// A cluster at version 2 whose second member knows `version`.
    fn state(version: u32) -> State {
        let first = Joiner {
            version: 2,
            ..named("a")
        };
        let mut state = State::found(Founding {
            cluster: ClusterId(1),
            supersedes: Vec::new(),
            settings: first.settings.clone(),
            first: first.clone(),
        });
        for (name, version) in [("b", version), ("c", version)] {
            let joiner = Joiner {
                version,
                ..named(name)
            };
            state.apply(&Command::Join(joiner)).unwrap();
        }
        state
    }

    #[test]
    fn a_version_is_taken_into_use_once_every_member_knows_it() {
        let old = plan(&state(2), 3).unwrap_err();
        assert!(old.contains("a knows up to 2, b knows up to 2"), "{old}");
        assert_eq!(plan(&state(2), 2), Ok(None));
        let mut upgraded = state(3);
        let a = Joiner {
            incarnation: Incarnation(2),
            ..named("a")
        };
        let id = NodeId(1);
        upgraded
            .apply(&Command::Resume(Resume { id, node: a }))
            .unwrap();
        assert_eq!(plan(&upgraded, 3), Ok(Some(3)));
        upgraded.apply(&Command::Finalize(3)).unwrap();
        assert_eq!(plan(&upgraded, 3), Ok(None));
        let later = plan(&state(3), 1).unwrap_err();
        assert!(later.contains("run a later one"), "{later}");
    }

    #[test]
    fn what_is_done_is_described() {
        assert_eq!(describe(None, 3, true), "version 3 is in use already");
        assert!(describe(Some(3), 2, true).contains("would be refused"));
        assert!(describe(Some(3), 2, false).contains("are refused from now on"));
    }
}
