//! Identity: what a task on ECS learns about itself, from its metadata endpoint (version 4).
//!
//! `cli` asks, before a role starts, for whatever the settings leave to it: the name, the zone, the
//! address. Only what is used is read, and only that must be right: AWS adds fields as it likes.

use std::net::IpAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::sleep;

use crate::client::{Bounds, ClientError, ask_within};

/// The variable in which ECS says where a container's metadata is.
pub const VARIABLE: &str = "ECS_CONTAINER_METADATA_URI_V4";

/// How often the endpoint is asked before that is an error: it may fail while a task starts.
const ATTEMPTS: u32 = 5;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(300);

/// What one attempt may take. The endpoint is on the same machine, and an answer has a few KiB.
const BOUNDS: Bounds = Bounds {
    deadline: Duration::from_secs(1),
    body_bytes: 1 << 20,
};

/// Why a process cannot learn its own name, zone or address.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The variable holds no URL that can be asked.
    #[error("{VARIABLE}: {0}")]
    Variable(ClientError),
    /// The endpoint does not answer, or with an error.
    #[error("the task metadata cannot be read, tried {ATTEMPTS} times: {0}")]
    Unreachable(String),
    /// It answers, and what is needed is not there.
    #[error("the task metadata at {url} has no {lacks}")]
    Lacks {
        /// What was asked.
        url: String,
        /// What is missing, with what would help.
        lacks: String,
    },
}

/// A task, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id: the last part of its ARN.
    pub name: String,
    /// Its availability zone, which some launch types do not give.
    pub zone: Option<String>,
}

/// Asks `endpoint` for the task that this process is part of.
///
/// # Errors
/// [`IdentityError`]; it was asked again where that could help.
pub async fn task(endpoint: &str) -> Result<Task, IdentityError> {
    let url = format!("{}/task", endpoint.trim_end_matches('/'));
    let answer: TaskAnswer = get(&url).await?;
    answer.read().map_err(|lacks| IdentityError::Lacks {
        url,
        lacks: lacks.into(),
    })
}

/// Asks `endpoint` for the address of the container that this process runs in, by which other tasks
/// reach it.
///
/// # Errors
/// [`IdentityError`]; it was asked again where that could help.
pub async fn address(endpoint: &str) -> Result<IpAddr, IdentityError> {
    let url = endpoint.trim_end_matches('/').to_owned();
    // The task's list of containers would not do: this is one of several, and it does not say which.
    let answer: ContainerAnswer = get(&url).await?;
    answer
        .read()
        .map_err(|lacks| IdentityError::Lacks { url, lacks })
}

async fn get<T: for<'a> Deserialize<'a>>(url: &str) -> Result<T, IdentityError> {
    let mut failure = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            sleep(PAUSE).await;
        }
        failure = match ask_within(Method::GET, url, BOUNDS).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                match serde_json::from_slice(&answer.body) {
                    Ok(read) => return Ok(read),
                    Err(error) => format!("{url} answers what cannot be read: {error}"),
                }
            }
            Ok(answer) => format!("{url} answers {}", answer.status),
            Err(error @ ClientError::Url { .. }) => return Err(IdentityError::Variable(error)),
            Err(error) => error.to_string(),
        };
        tracing::debug!(attempt, failure, "task metadata not read");
    }
    Err(IdentityError::Unreachable(failure))
}

/// What `/task` answers.
#[derive(Deserialize)]
struct TaskAnswer {
    #[serde(rename = "TaskARN", default)]
    arn: Option<String>,
    #[serde(rename = "AvailabilityZone", default)]
    zone: Option<String>,
}

impl TaskAnswer {
    fn read(self) -> Result<Task, &'static str> {
        // arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID, and without the cluster on old accounts.
        let name = self.arn.as_deref().and_then(|arn| arn.rsplit_once('/'));
        let name = name.map(|(_, name)| name).filter(|name| !name.is_empty());
        Ok(Task {
            name: name.ok_or("TaskARN that ends in /ID")?.to_owned(),
            zone: self.zone.filter(|zone| !zone.is_empty()),
        })
    }
}

/// What the endpoint itself answers, of one container.
#[derive(Deserialize)]
struct ContainerAnswer {
    #[serde(rename = "Networks", default)]
    networks: Option<Vec<Network>>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(rename = "NetworkMode", default)]
    mode: Option<String>,
    #[serde(rename = "IPv4Addresses", default)]
    v4: Option<Vec<String>>,
    #[serde(rename = "IPv6Addresses", default)]
    v6: Option<Vec<String>>,
}

impl ContainerAnswer {
    fn read(self) -> Result<IpAddr, String> {
        let networks = self.networks.unwrap_or_default();
        // Every other mode has an address that only its own machine knows.
        let is_own = |network: &&Network| network.mode.as_deref().is_none_or(|m| m == "awsvpc");
        let modes: Vec<_> = networks.iter().filter_map(|n| n.mode.as_deref()).collect();
        let own: Vec<_> = networks.iter().filter(is_own).collect();
        let first = |texts: &Option<Vec<String>>| {
            let texts = texts.iter().flatten();
            texts.filter_map(|text| text.parse::<IpAddr>().ok()).next()
        };
        let v4 = own.iter().find_map(|network| first(&network.v4));
        let any = v4.or_else(|| own.iter().find_map(|network| first(&network.v6)));
        any.ok_or_else(|| {
            format!(
                "address of this container in a network of mode awsvpc (its modes: {modes:?}): \
                 give --host IP"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the documentation of AWS for Fargate, shortened.
    const TASK: &str = r#"{
        "Cluster": "arn:aws:ecs:us-west-2:111122223333:cluster/default",
        "TaskARN": "arn:aws:ecs:us-west-2:111122223333:task/default/e9028f8d5d8e4f258373e7b93ce9a3c3",
        "Family": "curltest", "Revision": "3", "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING",
        "Limits": {"CPU": 0.25, "Memory": 512},
        "PullStartedAt": "2020-10-08T20:47:16.053330955Z",
        "AvailabilityZone": "us-west-2a", "LaunchType": "FARGATE",
        "Containers": [{"DockerId": "e9028f8d5d8e4f258373e7b93ce9a3c3-2495160603",
            "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": ["192.0.2.3"]}]}],
        "ClockDrift": {"ClockErrorBound": 0.5458234999999999, "ClockSynchronizationStatus": "SYNCHRONIZED"}
    }"#;

    const CONTAINER: &str = r#"{
        "DockerId": "cd189a933e5849daa93386466019ab50-2495160603", "Name": "curl",
        "Limits": {"CPU": 10, "Memory": 128},
        "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": ["192.0.2.3"], "AttachmentIndex": 0,
            "MACAddress": "0a:de:f6:10:51:e5", "IPv4SubnetCIDRBlock": "192.0.2.0/24",
            "PrivateDNSName": "ip-192-0-2-3.us-west-2.compute.internal"}],
        "Snapshotter": "overlayfs"
    }"#;

    fn task(json: &str) -> Result<Task, &'static str> {
        serde_json::from_str::<TaskAnswer>(json).unwrap().read()
    }

    fn container(json: &str) -> Result<IpAddr, String> {
        serde_json::from_str::<ContainerAnswer>(json)
            .unwrap()
            .read()
    }

    #[test]
    fn a_fargate_task_is_understood() {
        let read = task(TASK).unwrap();
        assert_eq!(read.name, "e9028f8d5d8e4f258373e7b93ce9a3c3");
        assert_eq!(read.zone.as_deref(), Some("us-west-2a"));
        let address = container(CONTAINER).unwrap();
        assert_eq!(address.to_string(), "192.0.2.3");
    }

    #[test]
    fn a_short_arn_and_a_missing_zone_are_understood() {
        let read = task(
            r#"{"TaskARN": "arn:aws:ecs:us-east-1:012345678910:task/9781c248-0edd-4cdb-9a93-f63cb662a5d3",
                "AvailabilityZone": null, "Novel": [{}]}"#,
        );
        let read = read.unwrap();
        assert_eq!(read.name, "9781c248-0edd-4cdb-9a93-f63cb662a5d3");
        assert_eq!(read.zone, None);
    }

    #[test]
    fn a_task_without_a_name_is_refused() {
        for json in ["{}", r#"{"TaskARN": "short"}"#, r#"{"TaskARN": "arn/"}"#] {
            assert!(task(json).unwrap_err().contains("TaskARN"), "{json}");
        }
    }

    #[test]
    fn an_address_of_either_family_is_found_and_the_fourth_is_preferred() {
        let only = r#"{"Networks": [{"NetworkMode": "awsvpc", "IPv6Addresses": ["2001:db8::4"]}]}"#;
        assert_eq!(container(only).unwrap().to_string(), "2001:db8::4");
        let both =
            r#"{"Networks": [{"IPv6Addresses": ["2001:db8::4"], "IPv4Addresses": ["10.0.0.4"]}]}"#;
        assert_eq!(container(both).unwrap().to_string(), "10.0.0.4");
    }

    #[test]
    fn an_address_that_others_cannot_reach_is_refused() {
        let bridged =
            r#"{"Networks": [{"NetworkMode": "bridge", "IPv4Addresses": ["172.17.0.2"]}]}"#;
        for json in ["{}", bridged, r#"{"Networks": []}"#] {
            let reason = container(json).unwrap_err();
            assert!(
                reason.contains("awsvpc") && reason.contains("--host"),
                "{reason}"
            );
        }
    }
}
