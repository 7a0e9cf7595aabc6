//! Checks whether this node's origin can load groups that an operator has not applied yet.
//!
//! The control service calls it for `group plan` and `group apply`. It runs one request at a time, because an
//! inspection takes a connection that loads could use.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::config::Config;
use crate::ids::{Epoch, Generation, GroupId};
use crate::origin::{Finding, Origin};
use crate::rpc::control_proto::{self, CheckGroupsReply, CheckedGroup};
use crate::topology::commands::Command;
use crate::topology::model::group::{Group, GroupSpec};
use crate::topology::model::rules::{MAX_GROUPS, is_group_name, wrong_field};

/// The most requests that wait for the running one; further ones are refused.
const MAX_QUEUED: usize = 8;

/// The id of a group while it is inspected. No group of a cluster ever gets it.
const NO_GROUP: GroupId = GroupId(0);

/// Inspects groups at the origin. Cheap to clone.
#[derive(Clone)]
pub(super) struct Inspector {
    origin: Arc<dyn Origin>,
    /// How long one group may take.
    patience: Duration,
    /// How long all groups of a request may take together.
    deadline: Duration,
    queue: Arc<Semaphore>,
    turn: Arc<Mutex<()>>,
}

/// The longest time for all groups of a request. The command line (`cli/findings`) waits half a minute for
/// the reply, and the findings must reach it by then.
const DEADLINE_MAX: Duration = Duration::from_secs(20);

impl Inspector {
    /// An inspector of `origin`. One group may take `origin.timeout`, and all groups of a request
    /// `node.max_deadline` or [`DEADLINE_MAX`], whichever is less.
    pub(super) fn new(origin: Arc<dyn Origin>, config: &Config) -> Self {
        Self {
            origin,
            patience: config.origin.timeout,
            deadline: config.node.max_deadline.min(DEADLINE_MAX),
            queue: Arc::new(Semaphore::new(1 + MAX_QUEUED)),
            turn: Arc::default(),
        }
    }

    /// Inspects the groups that an encoded `SetGroups` would set. A group that there is no time for is
    /// reported as unchecked. Cancel-safe.
    ///
    /// # Errors
    /// The bytes are no `SetGroups`, its groups break the rules, or too many requests are made at once.
    pub(super) async fn check(&self, command: &[u8]) -> Result<CheckGroupsReply, Status> {
        let groups = groups_of(command)?;
        let busy = || Status::resource_exhausted("too many group checks at once, try again");
        let _place = self.queue.try_acquire().map_err(|_| busy())?;
        let deadline = Instant::now() + self.deadline;
        let turn = timeout_at(deadline, self.turn.lock()).await;
        let _turn = turn.map_err(|_| busy())?;
        let mut checked = Vec::with_capacity(groups.len());
        for group in groups {
            let until = deadline.min(Instant::now() + self.patience);
            checked.push(self.check_one(&group, until).await);
        }
        Ok(CheckGroupsReply {
            origin: self.origin.describe(),
            groups: checked,
        })
    }

    async fn check_one(&self, group: &Group, until: Instant) -> CheckedGroup {
        let mut checked = CheckedGroup {
            group: group.name.to_string(),
            ..CheckedGroup::default()
        };
        if until <= Instant::now() {
            checked.unchecked = format!("no time was left of {:?} for all groups", self.deadline);
            return checked;
        }
        match timeout_at(until, self.origin.inspect(group)).await {
            Ok(Ok(findings)) => checked.findings = findings.into_iter().map(to_wire).collect(),
            Ok(Err(error)) => checked.unchecked = error.message,
            Err(_) => checked.unchecked = "the origin did not answer in time".into(),
        }
        checked
    }
}

fn to_wire(finding: Finding) -> control_proto::Finding {
    control_proto::Finding {
        is_error: finding.is_error,
        text: finding.text,
    }
}

/// The groups that a command would set. Their fields become parts of SQL statements, so a group that the log
/// would refuse is refused here too.
fn groups_of(command: &[u8]) -> Result<Vec<Group>, Status> {
    let command =
        Command::decode(command).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let Command::SetGroups(set) = command else {
        return Err(Status::invalid_argument("only groups can be checked"));
    };
    if set.upserts.len() > MAX_GROUPS {
        let message = format!(
            "{} groups; {MAX_GROUPS} are the most a cluster has",
            set.upserts.len()
        );
        return Err(Status::invalid_argument(message));
    }
    set.upserts.into_iter().map(group_of).collect()
}

fn group_of((name, spec): (Arc<str>, GroupSpec)) -> Result<Group, Status> {
    if !is_group_name(&name) {
        return Err(Status::invalid_argument(format!(
            "{name:?} cannot name a group"
        )));
    }
    if let Some(field) = wrong_field(&spec) {
        return Err(Status::invalid_argument(format!(
            "group {name}: {field} is not valid"
        )));
    }
    Ok(Group {
        id: NO_GROUP,
        name,
        generation: Generation(0),
        copies_since: Epoch(0),
        spec,
    })
}
