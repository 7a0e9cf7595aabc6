//! Nodes that form one Raft cluster, by themselves: started, stopped and looked at one by one.
//!
//! All share one data directory unless told otherwise. Nothing here starts a frontend: the control plane
//! is looked at through its own service, `/readyz`, `/metrics` and the log.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Duration;

use gcache::ids::Incarnation;
use gcache::rpc::control;
use gcache::rpc::control_proto::enter_reply::Outcome;
use gcache::rpc::control_proto::{EnterRequest, Member, StatusReply};
use gcache::topology::commands::{Agreed, COMMAND_VERSION, Command, Joiner, Resume};
use gcache::topology::model::member::Zone;

use crate::harness::metrics;
use crate::harness::setup::Setup;
use crate::testkit::address::{ADMIN, GRPC, RAFT};
use crate::testkit::http::{get, try_ask};
use crate::testkit::place::Place;
use crate::testkit::process::Process;
use crate::testkit::processes::{Processes, name};
use crate::testkit::wait::until;

/// How long a node may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// The name of the member that exists in the log alone.
const ABSENT: &str = "absent";

/// Voters that a cluster has once it is large enough.
const VOTERS: usize = 3;

/// The processes.
pub(crate) struct Controlled(Processes);

impl Deref for Controlled {
    type Target = Processes;

    fn deref(&self) -> &Processes {
        &self.0
    }
}

impl DerefMut for Controlled {
    fn deref_mut(&mut self) -> &mut Processes {
        &mut self.0
    }
}

/// A member of which there is no process: whatever the log says of it is what somebody committed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Absent {
    id: u64,
    /// The last incarnation whose commit was acknowledged.
    incarnation: u64,
    /// The leader's commit index after that.
    pub(crate) index: u64,
}

impl Controlled {
    /// The files for this many nodes, none of which is started.
    pub(crate) fn new(nodes: usize, set: &[&str]) -> Self {
        let mut controlled = Self(Processes::new(Place::loopback(), nodes));
        controlled.set = set.iter().map(|&set| set.to_owned()).collect();
        controlled.write("rows.jsonl", &Setup::default().all_rows());
        controlled
    }

    /// This many nodes that have become one cluster.
    pub(crate) async fn start(nodes: usize, set: &[&str]) -> Self {
        let mut controlled = Self::new(nodes, set);
        controlled.run_all();
        controlled.settled().await;
        // The last thing that a leader does for a new cluster: from here on nothing changes by itself.
        until("the partitions are shared out", async || {
            let state = controlled.applied(0, PATIENCE).await?;
            match state.plan_assign() {
                None => Ok(()),
                Some(_) => Err(state.epoch().to_string()),
            }
        })
        .await;
        controlled
    }

    /// The directory of a node's own within its data directory.
    pub(crate) fn own(&self, node: usize) -> PathBuf {
        self.data[node].join(format!("nodes/{}", name(node)))
    }

    /// From the next start on, all nodes are elsewhere.
    pub(crate) fn move_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.hosts[node] = self.place.moved(node);
        }
    }

    pub(crate) fn run_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.run(node);
        }
    }

    /// What a node says of itself.
    pub(crate) async fn status(&self, node: usize) -> Result<StatusReply, String> {
        self.0.status(node, PATIENCE).await
    }

    /// Asks a node for what its service can commit.
    pub(crate) async fn enter(
        &self,
        node: usize,
        cluster: &[u8],
        command: Vec<u8>,
    ) -> Result<Outcome, String> {
        let request = EnterRequest {
            cluster: cluster.to_vec().into(),
            command: command.into(),
        };
        let answer = control::enter(&self.target(node), request, PATIENCE).await;
        let answer = answer.map_err(|error| error.to_string())?;
        answer.outcome.ok_or_else(|| "no outcome".to_owned())
    }

    /// Waits until all that run are one cluster at rest: one leader, the same state, everybody up and
    /// enough voters. Gives what they said, in the order of [`Controlled::running`].
    pub(crate) async fn settled(&self) -> Vec<StatusReply> {
        let running = self.running();
        let claim = format!("nodes {running:?} are one cluster at rest");
        until(&claim, async || {
            let mut said = Vec::new();
            for &node in &running {
                said.push(self.status(node).await?);
            }
            match unsettled(&said, self.nodes.len()) {
                None => Ok(said),
                Some(why) => Err(format!("{why}: {said:#?}")),
            }
        })
        .await
    }

    /// The index of the node that all that run agree leads.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_among(&self.running()).await
    }

    /// The index of the one of these nodes that they agree leads.
    pub(crate) async fn leader_among(&self, nodes: &[usize]) -> usize {
        until(&format!("one of {nodes:?} leads"), async || {
            let mut said = Vec::new();
            for &node in nodes {
                said.push(self.status(node).await?);
            }
            let leader = said[0].leader;
            let at = said.iter().position(|status| status.node == leader);
            let is_agreed = said.iter().all(|status| {
                (status.leader, status.term) == (leader, said[0].term) && status.ended.is_empty()
            });
            match at {
                Some(at) if is_agreed && leader != 0 => Ok(nodes[at]),
                _ => Err(format!("{said:#?}")),
            }
        })
        .await
    }

    /// Commits one command through whichever of these nodes leads, and remembers what was acknowledged.
    pub(crate) async fn commit_at(&self, nodes: &[usize], absent: &mut Absent) {
        let wanted = absent.incarnation + 1;
        until("a command commits", async || {
            for &node in nodes {
                match self.enter(node, &[], absent.command(wanted)).await? {
                    Outcome::Entered(entered) => {
                        absent.id = entered.node;
                        absent.incarnation = wanted;
                        absent.index = self.status(node).await?.commit;
                        return Ok(());
                    }
                    // An earlier attempt, whose answer was lost, did it.
                    Outcome::Refused(why) if why.contains("is at start") => {
                        absent.incarnation = wanted;
                        return Ok(());
                    }
                    Outcome::Redirect(_) => {}
                    other => return Err(format!("{other:?}")),
                }
            }
            Err("nobody leads".to_owned())
        })
        .await;
    }

    /// Commits one command.
    pub(crate) async fn commit(&self, absent: &mut Absent) {
        self.commit_at(&self.running(), absent).await;
    }

    /// Asserts that nothing that was acknowledged is lost.
    pub(crate) fn assert_kept(said: &[StatusReply], absent: &Absent) {
        for status in said {
            assert!(status.commit >= absent.index, "{absent:?}, {status:#?}");
            let known = status.members.iter().find(|member| member.name == ABSENT);
            let known = known.map(|member| (member.id, member.incarnation));
            assert_eq!(known, Some((absent.id, absent.incarnation)), "{status:#?}");
        }
    }

    /// The line on Raft of `/readyz?verbose`.
    pub(crate) async fn told(&self, node: usize) -> String {
        let text = match try_ask(self.node_admin(node), "GET", "/readyz?verbose").await {
            Ok(answer) => answer.text(),
            Err(error) => error.to_string(),
        };
        let line = text.lines().find(|line| line.contains("raft:"));
        line.map_or_else(|| text.clone(), str::to_owned)
    }

    /// Waits until `/readyz?verbose` says this of Raft.
    pub(crate) async fn tells(&self, node: usize, words: &str) {
        until(&format!("n{} tells {words:?}", node + 1), async || {
            let told = self.told(node).await;
            told.contains(words).then_some(()).ok_or(told)
        })
        .await;
    }

    /// Waits until the log of a node says this.
    pub(crate) async fn logs(&self, node: usize, words: &str) {
        logs(self.process(node), words).await;
    }

    /// Asserts that a node is ready: its data plane answers.
    pub(crate) async fn assert_serving(&self, node: usize) {
        let answer = get(self.node_admin(node), "/readyz").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let channel = tonic::transport::Channel::from_shared(format!("http://{}", self.grpc(node)));
        let channel = channel.expect("an address is a URL").connect().await;
        channel.expect("the node listens");
    }

    /// Asserts that a node is alive and not ready: nobody may be stopped in its favour.
    pub(crate) async fn assert_unready(&self, node: usize) {
        let answer = get(self.node_admin(node), "/readyz").await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }

    /// A metric of one node.
    pub(crate) async fn metric(&self, node: usize, name: &str) -> f64 {
        metrics::sum(self.node_admin(node), name, &[]).await
    }
}

/// Waits until the log of a process says this.
pub(crate) async fn logs(process: &Process, words: &str) {
    until(&format!("{} logs {words:?}", process.name()), async || {
        let log = process.stderr();
        log.contains(words).then_some(()).ok_or(log)
    })
    .await;
}

/// Who is a member and runs, or should.
pub(crate) fn present(status: &StatusReply) -> Vec<&Member> {
    let members = status.members.iter();
    members.filter(|member| member.name != ABSENT).collect()
}

/// Why these are not one cluster of `nodes` members at rest.
fn unsettled(said: &[StatusReply], nodes: usize) -> Option<&'static str> {
    let first = &said[0];
    let same = |status: &StatusReply| {
        (status.term, status.leader, status.epoch, status.applied)
            == (first.term, first.leader, first.epoch, first.applied)
            && status.applied == status.commit
    };
    let members = present(first);
    let voters = members.iter().filter(|member| member.role == "voter");
    let is_up = |status: &StatusReply| {
        members.iter().all(|member| member.status == "up")
            && members
                .iter()
                .filter(|member| member.id == status.node)
                .all(|member| member.incarnation == status.incarnation)
    };
    if said.iter().any(|status| status.cluster.is_empty()) {
        Some("somebody has no cluster")
    } else if said
        .iter()
        .any(|status| status.cluster != first.cluster || !status.ended.is_empty())
    {
        Some("not one cluster")
    } else if first.leader == 0 || !said.iter().all(same) {
        Some("not at rest")
    } else if members.len() != nodes || !said.iter().all(is_up) {
        Some("not everybody is up")
    } else if voters.count() != VOTERS.min(nodes) {
        Some("not enough voters")
    } else {
        None
    }
}

impl Absent {
    /// The command that [`Controlled::commit`] would commit next.
    pub(crate) fn next(&self) -> Vec<u8> {
        self.command(self.incarnation + 1)
    }

    /// The command that gives it this incarnation; its joining is the first.
    pub(crate) fn command(&self, incarnation: u64) -> Vec<u8> {
        let node = Joiner {
            name: ABSENT.into(),
            // Reserved for documentation: nobody answers there.
            host: "192.0.2.1".into(),
            raft_port: RAFT,
            grpc_port: GRPC,
            admin_port: ADMIN,
            zone: Zone::new("default"),
            weight: 1,
            incarnation: Incarnation(incarnation),
            version: COMMAND_VERSION,
            settings: Agreed::ours(),
            nonce: 7,
            leaves_on_term: false,
        };
        let command = if self.id == 0 {
            Command::Join(node)
        } else {
            let id = gcache::ids::NodeId(self.id);
            Command::Resume(Resume { id, node })
        };
        command.encode().to_vec()
    }
}
