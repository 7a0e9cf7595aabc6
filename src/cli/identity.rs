//! The name, zone and address of a process whose settings leave them to the metadata of its ECS task.

use std::net::IpAddr;

use super::failure::Failure;
use super::setup::Configured;
use crate::config::{DEFAULT_ZONE, Host, ProcessId, ProcessZone};
use crate::identity::{self, IdentityError, VARIABLE};

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Variable(_) => Self::Usage(error.to_string()),
            IdentityError::Unreachable(_) | IdentityError::Lacks { .. } => {
                Self::Failed(error.to_string())
            }
        }
    }
}

/// Completes the settings with the name, the zone and the address of the task where they leave that to its
/// metadata. Asks for nothing if nothing was.
pub(super) async fn complete(mut configured: Configured) -> Result<Configured, Failure> {
    let process = &mut configured.config.process;
    let left = [
        ("process.id", process.id == ProcessId::FromTaskMetadata),
        ("process.host", process.host == Host::FromTaskMetadata),
        (
            "process.zone",
            process.zone == ProcessZone::FromTaskMetadata,
        ),
    ];
    let Some((setting, _)) = left.into_iter().find(|(_, is_left)| *is_left) else {
        return Ok(configured);
    };
    let endpoint = endpoint(setting)?;
    let task = identity::task(&endpoint).await?;
    if process.id == ProcessId::FromTaskMetadata {
        process.id = ProcessId::Literal(task.name.clone());
    }
    if process.host == Host::FromTaskMetadata {
        process.host = Host::Literal(identity::address(&endpoint).await?);
    }
    process.zone = match (&process.zone, task.zone) {
        (ProcessZone::Literal(given), _) => ProcessZone::Literal(given.clone()),
        (_, Some(zone)) => ProcessZone::Literal(zone),
        (ProcessZone::Unset, None) => {
            tracing::warn!(zone = DEFAULT_ZONE, "task metadata have no zone");
            ProcessZone::Unset
        }
        (ProcessZone::FromTaskMetadata, None) => {
            return Err(Failure::Failed(
                "the task metadata have no AvailabilityZone: give --zone NAME".into(),
            ));
        }
    };
    tracing::info!(
        task = task.name,
        address = %process.address(),
        zone = process.zone(),
        "task metadata read"
    );
    Ok(configured)
}

/// The address that a process with this `--host` listens on.
pub(super) async fn address(host: Host) -> Result<IpAddr, Failure> {
    match host {
        Host::Literal(address) => Ok(address),
        Host::FromTaskMetadata => Ok(identity::address(&endpoint("--host")?).await?),
    }
}

/// Returns where the metadata are that `setting` needs.
pub(super) fn endpoint(setting: &str) -> Result<String, Failure> {
    std::env::var(VARIABLE).map_err(|_| {
        Failure::Usage(format!(
            "{setting} is \"from-task-metadata\", and {VARIABLE} is not set: ECS sets it in a task's \
             containers; elsewhere give a value"
        ))
    })
}
