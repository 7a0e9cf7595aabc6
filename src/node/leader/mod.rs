//! The shell of a node's leader: it waits, asks Raft, and answers. What is decided is in
//! [`crate::topology::leader`], which this module connects to the clock, the network and Raft.

pub(super) mod handle;
pub(super) mod step_down;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use self::handle::{Asked, LeaderHandle};
use crate::clock::Clock;
use crate::discovery::{Discovery, Listed};
use crate::ids::NodeId;
use crate::raft::thread::Handle;
use crate::shutdown::Shutdown;
use crate::topology::leader::decide::Step;
use crate::topology::leader::event::{Answer, Outcome, Question, Removal, Report, Settled};
use crate::topology::leader::{Around, Caller, Effect, Event, Leader as Core, Settings, Standing};
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::state::State;

/// How often a leader looks for a step to take.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a quorum may take to confirm that this node leads.
const QUESTION_PATIENCE: Duration = Duration::from_secs(2);

/// How long one step may take to be committed before its outcome is unknown.
const STEP_PATIENCE: Duration = Duration::from_secs(3);

/// A question or a step under way, which ends with an event.
type UnderWay = Pin<Box<dyn Future<Output = Event> + Send>>;

/// The leader of one node. It works while the node leads.
pub(in crate::node) struct Leader {
    core: Core,
    raft: Handle,
    clock: Clock,
    asks: mpsc::Receiver<Asked>,
    settled: watch::Sender<Settled>,
    discovery: Discovery,
    /// The term that this node leads, if it leads.
    leads: Option<u64>,
    /// The number of the next caller.
    next: u64,
    renewing: BTreeMap<Caller, oneshot::Sender<Answer>>,
    removing: BTreeMap<Caller, oneshot::Sender<Removal>>,
    /// A term has at most one round, one step, and a question for each removal.
    under_way: FuturesUnordered<UnderWay>,
}

impl Leader {
    /// The leader of member `me`, and how to reach it.
    pub(in crate::node) fn new(
        me: NodeId,
        raft: Handle,
        clock: Clock,
        settings: Settings,
        discovery: Discovery,
    ) -> (Self, LeaderHandle) {
        let (handle, asks, settled) = LeaderHandle::new();
        let leader = Self {
            core: Core::new(me, settings),
            raft,
            clock,
            asks,
            settled,
            discovery,
            leads: None,
            next: 0,
            renewing: BTreeMap::new(),
            removing: BTreeMap::new(),
            under_way: FuturesUnordered::new(),
        };
        (leader, handle)
    }

    /// Works whenever this node leads, until shutdown or the end of its Raft.
    pub(in crate::node) async fn run(mut self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut standings = self.raft.standing();
        loop {
            let event = tokio::select! {
                _ = ticks.tick() => Event::Look(self.unlisted()),
                Some(asked) = self.asks.recv() => self.number(asked),
                Some(event) = self.under_way.next() => event,
                changed = standings.changed() => match changed {
                    Ok(()) => Event::Changed,
                    // The Raft thread is gone: this node leads no more.
                    Err(_) => return shutdown.begun().await,
                },
                () = shutdown.begun() => return,
            };
            let standing = standings.borrow_and_update().leading();
            if standing.leads != self.leads {
                // What was asked or begun in another term is of no use.
                self.under_way.clear();
                self.leads = standing.leads;
            }
            for event in self.left().into_iter().chain([event]) {
                self.turn(event, &standing);
            }
        }
    }

    fn turn(&mut self, event: Event, standing: &Standing) {
        let state = self.raft.state().borrow().clone();
        let around = Around {
            now: self.clock.now(),
            state: &state,
            standing,
        };
        for effect in self.core.turn(&around, event) {
            self.carry_out(effect, &state);
        }
    }

    /// The callers that wait for the end of their removal no more.
    fn left(&mut self) -> Vec<Event> {
        let closed = self
            .removing
            .extract_if(.., |_, channel| channel.is_closed());
        closed.map(|(caller, _)| Event::Left(caller)).collect()
    }

    /// Keeps the channel for the answer of a request under a number.
    fn number(&mut self, asked: Asked) -> Event {
        let caller = Caller(self.next);
        self.next += 1;
        match asked {
            Asked::Renew(renewal, answer) => {
                self.renewing.insert(caller, answer);
                Event::Renew(caller, renewal)
            }
            Asked::Remove(member, answer) => {
                self.removing.insert(caller, answer);
                Event::Remove(caller, member)
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, state: &State) {
        match effect {
            Effect::Answer(caller, answer) => {
                if let Some(channel) = self.renewing.remove(&caller) {
                    // The caller may have left.
                    let _left = channel.send(answer);
                }
            }
            Effect::Removal(caller, removal) => {
                if let Some(channel) = self.removing.remove(&caller) {
                    let _left = channel.send(removal);
                }
            }
            Effect::Ask(question) => self.under_way.push(ask(self.raft.clone(), question)),
            Effect::Take(term, step) => self.under_way.push(take(self.raft.clone(), term, step)),
            Effect::Publish(settled) => {
                self.settled.send_if_modified(|known| {
                    let is_new = *known != settled;
                    *known = settled;
                    is_new
                });
            }
            Effect::Report(report) => log(&report, state),
        }
    }

    /// The members that are down and that discovery lists no more.
    fn unlisted(&self) -> BTreeSet<NodeId> {
        if !self.raft.standing().borrow().role.is_leader {
            return BTreeSet::new();
        }
        let is_unlisted = |member: &&MemberRecord| {
            member.status == MemberStatus::Down
                && self.discovery.lists(&member.host, member.grpc_port) == Listed::No
        };
        let state = self.raft.state().borrow().clone();
        let unlisted = state.members().filter(is_unlisted);
        unlisted.map(|member| member.id).collect()
    }
}

/// Asks the quorum whether this node leads.
fn ask(raft: Handle, question: Question) -> UnderWay {
    Box::pin(async move {
        let outcome = raft.read(QUESTION_PATIENCE).await.of_question();
        Event::Answered { question, outcome }
    })
}

/// Takes a step.
fn take(raft: Handle, term: u64, step: Step) -> UnderWay {
    Box::pin(async move {
        let outcome = match step {
            Step::Propose(command) => raft.propose(&command, STEP_PATIENCE).await,
            Step::ChangeQuorum(change) => raft.change_quorum(change, STEP_PATIENCE).await,
        };
        let outcome = outcome.into();
        Event::Ended { term, outcome }
    })
}

/// Logs what operators should know.
fn log(report: &Report, state: &State) {
    match report {
        Report::Down(member) => {
            tracing::warn!(%member, "member is down, its partitions went to others");
        }
        Report::MovesGivenUp {
            is_unreachable: true,
        } => tracing::warn!("moves given up: their members do not reach each other"),
        Report::MovesGivenUp {
            is_unreachable: false,
        } => tracing::info!("moves given up: their new owners leave"),
        Report::Ended(step, Outcome::Applied) => {
            tracing::debug!(?step, epoch = %state.epoch(), "members changed");
        }
        Report::Ended(step, outcome) => tracing::debug!(?step, ?outcome, "members not changed"),
    }
}
