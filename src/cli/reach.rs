//! How an operator's command reaches the cluster: any node will do, which says who leads.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::Failure;
use super::args;
use crate::config::read_seeds;
use crate::ids::{Epoch, NodeId};
use crate::rpc::control::{self, Unanswered};
use crate::rpc::control_proto::commit_reply::Outcome;
use crate::rpc::control_proto::{Committed, Redirect, StatusReply, WatchRequest};
use crate::rpc::pipeline::Target;
use crate::topology::command::Command;
use crate::topology::member::MemberStatus;
use crate::topology::state::State;

/// How long a command may take in all: longer than an election.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a node may take to say how it stands.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// How long the followers of one node may take to go by a new topology: it waits for a second.
const REACH_PATIENCE: Duration = Duration::from_millis(1_500);

/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(200);

/// A cluster that can be asked.
pub(super) struct Cluster {
    seeds: Vec<Target>,
}

/// What a node that was asked for something that only the leader can do has to say.
enum Said<T> {
    Done(T),
    Ask(Redirect),
    /// Not yet, and why.
    Wait(String),
    Never(String),
    Unknown(String),
}

impl Cluster {
    /// The cluster at `--seeds` or `GCACHE_SEEDS`.
    pub(super) fn of(reach: &args::Reach) -> Result<Self, Failure> {
        let (name, text) = match &reach.seeds {
            Some(text) => ("--seeds", text.clone()),
            None => match std::env::var("GCACHE_SEEDS") {
                Ok(text) => ("GCACHE_SEEDS", text),
                Err(_) => {
                    let told = "no node is known: give --seeds HOST[:PORT],… or set GCACHE_SEEDS";
                    return Err(Failure::Usage(told.into()));
                }
            },
        };
        let seeds = read_seeds(&text)
            .map_err(|expects| Failure::Usage(format!("{name} is {text:?}; expected {expects}")))?;
        let target = |seed: crate::config::Seed| target(&seed.host, seed.port);
        Ok(Self {
            seeds: seeds.into_iter().map(target).collect(),
        })
    }

    /// The nodes that were named, one of which must answer.
    pub(super) fn seeds(&self) -> &[Target] {
        &self.seeds
    }

    /// The state, as new as everything that was acknowledged.
    pub(super) async fn state(&self) -> Result<State, Failure> {
        self.ask(false, async |target| {
            let request = WatchRequest {
                epoch: 0,
                linearizable: true,
            };
            let mut topologies = control::watch(target, request, PATIENCE).await?;
            let first = topologies.message().await;
            let first = first.map_err(|status| Unanswered::new(target, status.message()))?;
            let first = first.ok_or_else(|| Unanswered::new(target, "it sends nothing"))?;
            if let Some(redirect) = first.redirect {
                return Ok(Said::Ask(redirect));
            }
            Ok(match State::decode(&first.state) {
                Ok(state) => Said::Done(state),
                Err(error) => Said::Never(error.to_string()),
            })
        })
        .await
    }

    /// Commits a command.
    pub(super) async fn commit(&self, command: &Command) -> Result<Committed, Failure> {
        let command: Bytes = command.encode();
        self.ask(true, async |target| {
            let reply = control::commit(target, command.clone(), PATIENCE).await?;
            Ok(match reply.outcome {
                Some(Outcome::Committed(committed)) => Said::Done(committed),
                Some(Outcome::Redirect(redirect)) => Said::Ask(redirect),
                Some(Outcome::Refused(why)) => Said::Never(why),
                Some(Outcome::Unknown(why)) => Said::Unknown(why),
                None => Said::Unknown("the answer cannot be read".into()),
            })
        })
        .await
    }

    /// Hands the leadership to `to`.
    pub(super) async fn transfer(&self, to: NodeId) -> Result<(), Failure> {
        self.ask(true, async |target| {
            let reply = control::transfer(target, to, PATIENCE).await?;
            Ok(match reply.redirect {
                Some(redirect) => Said::Ask(redirect),
                None if reply.refused.is_empty() => Said::Done(()),
                None => Said::Never(reply.refused),
            })
        })
        .await
    }

    /// Waits until all nodes that may answer have applied `epoch`, which is committed. While a leader is
    /// new that takes some seconds.
    pub(super) async fn settle(&self, epoch: Epoch) -> Result<(), Failure> {
        let asked = self.ask(false, async |target| {
            let reply = control::settle(target, epoch, PATIENCE).await?;
            Ok(match reply.redirect {
                Some(redirect) => Said::Ask(redirect),
                None if reply.is_settled => Said::Done(()),
                None => Said::Wait(format!("not applied yet by {}", reply.behind.join(", "))),
            })
        });
        asked.await.map_err(|failure| match failure {
            Failure::Failed(why) => Failure::Failed(format!(
                "committed as epoch {epoch}, but whether all nodes have applied it is unknown: {why}"
            )),
            usage @ Failure::Usage(_) => usage,
        })
    }

    /// Waits a moment until all frontends that follow these members go by `epoch`. How many did, and how
    /// many did not in time.
    pub(super) async fn reach(&self, state: &State, epoch: Epoch) -> (u64, u64) {
        let up = state
            .members()
            .filter(|member| member.status != MemberStatus::Down);
        let asked = up.map(async |member| {
            let target = target(&member.host, member.grpc_port);
            control::reach(&target, epoch, REACH_PATIENCE).await.ok()
        });
        let answers = futures_util::future::join_all(asked).await;
        let answers = answers.into_iter().flatten();
        answers.fold((0, 0), |(reached, behind), answer| {
            (reached + answer.reached, behind + answer.behind)
        })
    }

    /// How the first node that answers stands.
    pub(super) async fn status(&self) -> Result<StatusReply, Failure> {
        let mut tried = Vec::new();
        for target in &self.seeds {
            match control::status(target, STATUS_PATIENCE).await {
                Ok(status) => return Ok(status),
                Err(error) => tried.push(error.to_string()),
            }
        }
        Err(Failure::Failed(format!(
            "no node answers: {}",
            tried.join("; ")
        )))
    }

    /// Asks one node after the other, and whoever they say leads, until it is done or the time is up.
    /// What changes something is not asked for again once it may have been done.
    async fn ask<T>(
        &self,
        is_change: bool,
        ask: impl AsyncFn(&Target) -> Result<Said<T>, Unanswered>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + DEADLINE;
        let mut tried = Vec::new();
        while Instant::now() < deadline {
            let mut targets = self.seeds.clone();
            tried.clear();
            // Each may send us on once, in the worst case to somebody who sends us on.
            for _ in 0..3 * self.seeds.len() {
                let Some(next) = targets.pop() else {
                    break;
                };
                let said = match timeout_at(deadline, ask(&next)).await {
                    Ok(Ok(said)) => said,
                    Ok(Err(error)) if is_change && error.is_sent => {
                        Said::Unknown(error.to_string())
                    }
                    Ok(Err(error)) => {
                        tried.push(error.to_string());
                        continue;
                    }
                    Err(_) if is_change => Said::Unknown(format!("no answer within {DEADLINE:?}")),
                    Err(_) => break,
                };
                match said {
                    Said::Done(done) => return Ok(done),
                    Said::Wait(why) => tried.push(format!("{next}: {why}")),
                    Said::Never(why) => return Err(Failure::Failed(format!("refused: {why}"))),
                    Said::Unknown(why) => {
                        return Err(Failure::Failed(format!(
                            "outcome unknown: {why}; look before you try again"
                        )));
                    }
                    Said::Ask(redirect) => {
                        let leader = Target::parse(&redirect.leader, Ipv4Addr::UNSPECIFIED.into());
                        if leader.is_none() {
                            tried.push(format!("{next}: it knows no leader"));
                        }
                        targets.extend(leader);
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(Failure::Failed(format!(
            "no quorum within {DEADLINE:?}: {}",
            tried.join("; ")
        )))
    }
}

/// A node to be connected to from whatever address the kernel chooses.
pub(super) fn target(host: &str, port: u16) -> Target {
    Target {
        host: host.to_owned(),
        port,
        from: Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// How far the node at `target` has applied the log; none if it does not answer.
pub(super) async fn applied(target: &Target) -> Option<u64> {
    let status = control::status(target, STATUS_PATIENCE).await.ok()?;
    Some(status.applied)
}
