//! How an operator's command reaches the cluster: any node may be asked, and says which node leads.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::args;
use super::failure::Failure;
use crate::config::{SEEDS_VARIABLE, read_seeds};
use crate::ids::{Epoch, NodeId};
use crate::membership::obstacle::listed;
use crate::rpc::control::{self, Unanswered};
use crate::rpc::control_proto::commit_reply::Outcome;
use crate::rpc::control_proto::remove_reply::Outcome as Removal;
use crate::rpc::control_proto::{Committed, Redirect, Removed, StatusReply, WatchRequest};
use crate::rpc::leader::Search;
use crate::rpc::pipeline::Target;
use crate::topology::commands::Command;
use crate::topology::model::member::MemberStatus;
use crate::topology::state::State;

/// How long a command may take in all: longer than an election.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a leader may take to remove a member: several steps, each of them committed.
const REMOVE_PATIENCE: Duration = Duration::from_secs(9);

/// Members that are asked for their state beside the seeds.
const ASKED_MAX: usize = 64;

/// How long a node may take to say how it stands.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// The same for a question that must be over within a second together with another one.
const STAND_PATIENCE: Duration = Duration::from_millis(400);

/// How long the followers of one node may take to go by a new topology: it waits for a second.
const REACH_PATIENCE: Duration = Duration::from_millis(1_500);

/// Connections leave from whatever address the kernel chooses.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(200);

/// A cluster that can be asked.
pub(super) struct Cluster {
    seeds: Vec<Target>,
    /// The node that did last what only the leader can do: it is asked first.
    last: Mutex<Option<Target>>,
}

/// A state that was looked at.
pub(super) struct Look {
    pub(super) state: State,
    /// None if the leader has confirmed that the state is as new as everything that was acknowledged.
    pub(super) old: Option<Old>,
}

/// A state that no leader has confirmed.
pub(super) struct Old {
    epoch: Epoch,
    /// The name of the node that shows it.
    by: String,
}

impl fmt::Display for Old {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, by } = self;
        write!(
            f,
            "no leader: state as of epoch {epoch} at node {by}, may be old"
        )
    }
}

impl Look {
    /// What to write before a table: the mark of a state that may be old.
    pub(super) fn mark(&self) -> String {
        let old = self.old.as_ref();
        old.map_or_else(String::new, |old| format!("{old}\n\n"))
    }

    /// The same for a field of JSON: null if the state is confirmed.
    pub(super) fn json(&self) -> Value {
        self.old.as_ref().map(ToString::to_string).into()
    }
}

/// What a node that was asked for something that only the leader can do has to say.
enum Said<T> {
    Done(T),
    Ask(Redirect),
    /// Not yet, and why: asking again goes on from there.
    Wait(String),
    Never(String),
    Unknown(String),
}

impl Cluster {
    /// The cluster at `--seeds` or `GCACHE_SEEDS`.
    pub(super) fn of(reach: &args::Reach) -> Result<Self, Failure> {
        let (name, text) = match &reach.seeds {
            Some(text) => ("--seeds", text.clone()),
            None => match std::env::var(SEEDS_VARIABLE) {
                Ok(text) => (SEEDS_VARIABLE, text),
                Err(_) => {
                    let reason = "no node is known: give --seeds HOST[:PORT],… or set GCACHE_SEEDS";
                    return Err(Failure::Usage(reason.into()));
                }
            },
        };
        let seeds = read_seeds(&text)
            .map_err(|expects| Failure::Usage(format!("{name} is {text:?}; expected {expects}")))?;
        let seeds = seeds.into_iter().map(|seed| Target::at(seed, FROM));
        Ok(Self {
            seeds: seeds.collect(),
            last: Mutex::new(None),
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

    /// Removes `member` for ever.
    pub(super) async fn remove(&self, member: NodeId) -> Result<Removed, Failure> {
        // Whatever was done before is not done again.
        self.ask(false, async |target| {
            let reply = control::remove(target, member, REMOVE_PATIENCE).await?;
            Ok(match reply.outcome {
                Some(Removal::Removed(removed)) => Said::Done(removed),
                Some(Removal::Redirect(redirect)) => Said::Ask(redirect),
                Some(Removal::Refused(why)) => Said::Never(why),
                Some(Removal::Unfinished(why)) => Said::Wait(why),
                None => Said::Wait("the answer cannot be read".into()),
            })
        })
        .await
    }

    /// The newest state that any node shows, with or without a quorum: first the seeds are asked, then
    /// the members that they know.
    pub(super) async fn newest(&self) -> Result<State, Failure> {
        let mut states = shown(&self.seeds).await;
        let members = states.iter().flat_map(State::members);
        let members = members.map(|member| target(&member.host, member.grpc_port));
        let mut others: Vec<Target> = members
            .filter(|member| !self.seeds.contains(member))
            .collect();
        others.dedup();
        others.truncate(ASKED_MAX);
        states.extend(shown(&others).await);
        newest(states).map_err(Failure::Failed)
    }

    /// The state as new as everything that was acknowledged; at once the newest that any node shows if none that
    /// answers knows a leader.
    pub(super) async fn look(&self) -> Result<Look, Failure> {
        let mut confirmed = std::pin::pin!(self.state());
        let (standings, failure) = loop {
            let standings = tokio::select! {
                state = &mut confirmed => match state {
                    Ok(state) => return Ok(Look { state, old: None }),
                    Err(failure) => break (self.standings().await, Some(failure)),
                },
                found = self.standings() => found,
            };
            if standings.iter().all(|(_, status)| status.leader == 0) {
                break (standings, None);
            }
            tokio::select! {
                state = &mut confirmed => match state {
                    Ok(state) => return Ok(Look { state, old: None }),
                    Err(failure) => break (standings, Some(failure)),
                },
                () = tokio::time::sleep(PAUSE) => {}
            }
        };
        let (state, by) = match self.newest_of(&standings).await {
            Ok(found) => found,
            Err(why) => return Err(failure.unwrap_or(Failure::Failed(format!("no leader: {why}")))),
        };
        let old = Some(Old {
            epoch: state.epoch(),
            by,
        });
        Ok(Look { state, old })
    }

    /// What the seeds, and the members that they know, say of themselves; those that do not answer are left out.
    async fn standings(&self) -> Vec<(Target, StatusReply)> {
        let mut answers = stand(self.seeds.clone()).await;
        let members = answers.iter().flat_map(|(_, status)| &status.members);
        let members = members.filter_map(|member| {
            let port = u16::try_from(member.grpc_port).ok()?;
            Some(target(&member.host, port))
        });
        let mut others: Vec<Target> = Vec::new();
        for member in members {
            if !self.seeds.contains(&member) && !others.contains(&member) {
                others.push(member);
            }
        }
        others.truncate(ASKED_MAX);
        answers.extend(stand(others).await);
        answers
    }

    /// The newest state that one of the nodes shows which answered, and the name of that node.
    async fn newest_of(
        &self,
        standings: &[(Target, StatusReply)],
    ) -> Result<(State, String), String> {
        let are_members = standings.iter().filter(|(_, status)| status.node != 0);
        let asked = are_members.map(async |(target, status)| {
            let state = control::shown(target, STATUS_PATIENCE).await.ok()?;
            Some((state, status.name.clone()))
        });
        let shown = futures_util::future::join_all(asked).await;
        let shown: Vec<_> = shown.into_iter().flatten().collect();
        let newest = newest(shown.iter().map(|(state, _)| state.clone()).collect());
        let newest = newest.map_err(|why| match standings.is_empty() {
            true => format!("no node answers at {}", listed(&self.named())),
            false if shown.is_empty() => {
                "the nodes that answer belong to no cluster yet".to_owned()
            }
            false => why,
        })?;
        let by = shown.into_iter().find(|(state, _)| *state == newest);
        let by = by.map(|(_, name)| name).unwrap_or_default();
        Ok((newest, by))
    }

    fn named(&self) -> Vec<String> {
        self.seeds.iter().map(ToString::to_string).collect()
    }

    /// Asks one node after the other, and the leader that they name, until it is done or the time is up.
    /// What changes something is not asked for again once it may have been done.
    async fn ask<T>(
        &self,
        is_change: bool,
        ask: impl AsyncFn(&Target) -> Result<Said<T>, Unanswered>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + DEADLINE;
        let (mut tried, mut is_led) = (Vec::new(), false);
        while Instant::now() < deadline {
            let mut targets = self.seeds.clone();
            // A change that is sent to a node which hangs is of unknown outcome, whichever node leads.
            targets.extend(self.last.lock().take());
            let before = (std::mem::take(&mut tried), is_led);
            is_led = false;
            let mut search = Search::new(targets, 3 * self.seeds.len(), FROM);
            while let Some(next) = search.next() {
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
                    Err(_) => {
                        // What the round before heard says more than a question that was cut off.
                        if !before.0.is_empty() {
                            (tried, is_led) = before;
                        }
                        break;
                    }
                };
                match said {
                    Said::Done(done) => {
                        *self.last.lock() = Some(next);
                        return Ok(done);
                    }
                    Said::Wait(why) => {
                        is_led = true;
                        tried.push(format!("{next}: {why}"));
                    }
                    Said::Never(why) => return Err(Failure::Failed(format!("refused: {why}"))),
                    Said::Unknown(why) => {
                        return Err(Failure::Failed(format!(
                            "outcome unknown: {why}; look before you try again"
                        )));
                    }
                    Said::Ask(redirect) => {
                        if !search.follow(&redirect) {
                            tried.push(format!("{next}: it knows no leader"));
                        }
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        let lacks = if is_led { "not done" } else { "no quorum" };
        Err(Failure::Failed(format!(
            "{lacks} within {DEADLINE:?}: {}",
            tried.join("; ")
        )))
    }
}

/// What these nodes say of themselves; those that do not answer are left out.
async fn stand(targets: Vec<Target>) -> Vec<(Target, StatusReply)> {
    let asked = targets.into_iter().map(async |target| {
        let status = control::status(&target, STAND_PATIENCE).await.ok()?;
        Some((target, status))
    });
    let answers = futures_util::future::join_all(asked).await;
    answers.into_iter().flatten().collect()
}

/// The states that nodes show by themselves, however old.
async fn shown(targets: &[Target]) -> Vec<State> {
    let asked = targets
        .iter()
        .map(|target| control::shown(target, STATUS_PATIENCE));
    let shown = futures_util::future::join_all(asked).await;
    shown.into_iter().flatten().collect()
}

/// The newest of states: of the cluster that supersedes all others that are shown.
fn newest(states: Vec<State>) -> Result<State, String> {
    let superseded = |state: &State| {
        let mut others = states.iter();
        others.any(|other| other.supersedes().contains(&state.cluster()))
    };
    let mut left: Vec<&State> = states.iter().filter(|state| !superseded(state)).collect();
    left.sort_by_key(|state| (state.cluster(), state.epoch()));
    let newest = left.last().ok_or("no node shows a state")?;
    let other = left
        .iter()
        .find(|state| state.cluster() != newest.cluster());
    if let Some(other) = other {
        return Err(format!(
            "the seeds are of the clusters {} and {}: give --seeds of one",
            other.cluster(),
            newest.cluster()
        ));
    }
    Ok(State::clone(newest))
}

/// A node to be connected to from whatever address the kernel chooses.
pub(super) fn target(host: &str, port: u16) -> Target {
    Target::new(host, port, FROM)
}

/// Asks how the node at `target` stands; none if it does not answer.
pub(super) async fn standing(target: &Target) -> Option<StatusReply> {
    control::status(target, STATUS_PATIENCE).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
    use crate::topology::commands::Agreed;
    use crate::topology::fixtures::named;
    use crate::topology::state::Founding;

    fn state(cluster: u128, supersedes: &[u128], members: u64) -> State {
        let mut state = State::found(Founding {
            cluster: ClusterId(cluster),
            supersedes: supersedes.iter().copied().map(ClusterId).collect(),
            settings: Agreed::ours(),
            first: named("n1"),
        });
        for n in 2..=members {
            state
                .apply(&Command::Join(named(&format!("n{n}"))))
                .unwrap();
        }
        state
    }

    #[test]
    fn the_newest_state_is_of_the_cluster_that_supersedes_the_others() {
        let (old, newer) = (state(1, &[], 3), state(1, &[], 5));
        let states = vec![old.clone(), newer.clone(), old.clone()];
        assert_eq!(newest(states), Ok(newer.clone()));
        let recovered = state(2, &[1], 1);
        assert_eq!(newest(vec![newer, recovered.clone()]), Ok(recovered));
        let reason = newest(vec![old, state(3, &[], 1)]).unwrap_err();
        assert!(reason.contains("give --seeds of one"), "{reason}");
        assert!(newest(Vec::new()).is_err());
    }
}
