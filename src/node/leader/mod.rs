//! A leader at work, for as long as it leads: it grants leases, fails over members that are silent, and looks
//! after the others, one step at a time.
//!
//! The rules are in [`crate::topology::lease`] and [`crate::topology::leader`]; this module connects them
//! to the clock, the network and Raft. All that a leader knows belongs to one term, and is dropped with it.

pub(super) mod handle;
pub(super) mod step_down;
mod term;

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use self::handle::{Answer, Asked, LeaderHandle, Settled};
use self::term::Term;
use crate::clock::Clock;
use crate::discovery::{Discovery, Listed};
use crate::ids::NodeId;
use crate::ids::as_millis;
use crate::raft::event::Outcome;
use crate::raft::thread::{Handle, Standing, TICK};
use crate::shutdown::Shutdown;
use crate::topology::commands::Command;
use crate::topology::leader::decide::{Next, Step, decide};
use crate::topology::leader::facts::{Facts, Noted};
use crate::topology::lease::Round;
use crate::topology::model::member::{MemberRecord, MemberStatus};
use crate::topology::state::State;

/// How often a leader looks for a step to take.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a quorum may take to confirm a round.
const ROUND_PATIENCE: Duration = Duration::from_secs(2);

/// How long one step may take before the leader looks again.
const STEP_PATIENCE: Duration = Duration::from_secs(3);

/// The most renewals of one member that wait for an answer.
const AWAITED_MAX: usize = 4;

/// The leader of one node. It works while the node leads.
pub(in crate::node) struct Leader {
    me: NodeId,
    raft: Handle,
    clock: Clock,
    asks: mpsc::Receiver<Asked>,
    settled: watch::Sender<Settled>,
    /// How many voters the cluster should have.
    voters: usize,
    /// Whether partitions are handed over warm.
    is_warm: bool,
    discovery: Discovery,
    term: Option<Term>,
}

/// An operation under way, with what it is for.
type UnderWay<T> = Option<Pin<Box<dyn Future<Output = (T, Outcome)> + Send>>>;

impl Leader {
    /// The leader of member `me`, and how to reach it.
    pub(in crate::node) fn new(
        me: NodeId,
        raft: Handle,
        clock: Clock,
        (voters, is_warm, discovery): (usize, bool, Discovery),
    ) -> (Self, LeaderHandle) {
        let (handle, asks, settled) = LeaderHandle::new();
        let leader = Self {
            me,
            raft,
            clock,
            asks,
            settled,
            voters,
            is_warm,
            discovery,
            term: None,
        };
        (leader, handle)
    }

    /// Works whenever this node leads, until shutdown or the end of its Raft.
    pub(in crate::node) async fn run(mut self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut standings = self.raft.standing();
        let (mut reading, mut stepping): (UnderWay<Round>, UnderWay<Step>) = (None, None);
        loop {
            let (mut is_time, mut arrived) = (false, None);
            tokio::select! {
                _ = ticks.tick() => is_time = true,
                Some(asked) = self.asks.recv() => arrived = Some(asked),
                (round, outcome) = ended(&mut reading) => self.round_ended(round, &outcome),
                (step, outcome) = ended(&mut stepping) => {
                    self.step_ended(&step, &outcome);
                    // A refused step would be refused again at once: the next look is soon enough.
                    is_time = matches!(outcome, Outcome::Applied { result: Ok(_), .. });
                }
                changed = standings.changed() => if changed.is_err() { return },
                () = shutdown.begun() => return,
            }
            let standing = standings.borrow_and_update().clone();
            if self.attend(&standing) {
                // What is under way belongs to another term: its outcome is of no use.
                (reading, stepping) = (None, None);
            }
            if let Some(asked) = arrived {
                self.arrived(asked);
            }
            if reading.is_none() {
                reading = self.begin_round();
            }
            if is_time {
                self.publish();
                if stepping.is_none() {
                    stepping = self.begin_step(&standing);
                }
            }
        }
    }

    /// Begins or ends a term. True if the term has changed.
    fn attend(&mut self, standing: &Standing) -> bool {
        let leads = standing.role.is_leader.then_some(standing.role.term);
        if leads == self.term.as_ref().map(|term| term.number) {
            return false;
        }
        let since = self.clock.now();
        self.term = leads.map(|number| Term::new(number, since));
        self.publish();
        true
    }

    fn arrived(&mut self, asked: Asked) {
        let state = self.raft.state().borrow().clone();
        let Some(term) = &mut self.term else {
            return asked.answer(Answer::NotLeader);
        };
        term.moves
            .reported(asked.renewal.member, asked.renewal.moves);
        if let Err(refusal) = term.book.arrived(asked.renewal, &state) {
            let is_removed = state.is_tombstone(asked.renewal.member);
            return asked.answer(match is_removed {
                true => Answer::Removed,
                false => Answer::Refused(refusal),
            });
        }
        let awaited = term.awaited.entry(asked.renewal.member).or_default();
        if awaited.len() >= AWAITED_MAX {
            awaited.remove(0).answer(Answer::NotLeader);
        }
        awaited.push(asked);
    }

    fn begin_round(&mut self) -> UnderWay<Round> {
        let round = self.term.as_mut()?.book.begin()?;
        let raft = self.raft.clone();
        Some(Box::pin(
            async move { (round, raft.read(ROUND_PATIENCE).await) },
        ))
    }

    fn round_ended(&mut self, round: Round, outcome: &Outcome) {
        let (now, state) = (self.clock.now(), self.raft.state().borrow().clone());
        let Some(term) = &mut self.term else {
            return;
        };
        if !matches!(outcome, Outcome::Readable(_)) {
            for renewal in term.book.failed(round) {
                term.answer(&renewal, &Answer::NotLeader);
            }
            return;
        }
        // Raft confirms no read before an entry of the leader's own term is committed.
        term.book.first_committed(now, &state);
        for (renewal, answer) in term.book.confirmed(round, now, &state) {
            term.heard.insert(renewal.member, (renewal, now));
            let answer = match answer {
                Ok(grant) => Answer::Granted(grant),
                Err(refusal) => Answer::Refused(refusal),
            };
            term.answer(&renewal, &answer);
        }
        self.publish();
    }

    /// Publishes what is settled.
    fn publish(&mut self) {
        let now = self.clock.now();
        let settled = match &mut self.term {
            None => Settled::default(),
            Some(term) => {
                let state = self.raft.state().borrow().clone();
                term.note_sinces(&state);
                Settled {
                    epoch: Some(term.book.settled(now, &state)),
                    behind: term.book.behind(now, state.epoch()).collect(),
                    all_act: term.book.all_act(now, &term.sinces.1),
                }
            }
        };
        self.settled.send_if_modified(|known| {
            let is_new = *known != settled;
            *known = settled;
            is_new
        });
    }

    /// Begins the next step, if there is one to take.
    fn begin_step(&mut self, standing: &Standing) -> UnderWay<Step> {
        let term = self.term.as_mut()?;
        // A leader does not know what is committed before it has applied an entry of its own term.
        if standing.role.term != term.number || standing.applied < standing.commit {
            return None;
        }
        let (now, state) = (self.clock.now(), self.raft.state().borrow().clone());
        let due = term.fail_over(now, &state);
        let step = match due.or_else(|| term.end_moves(now, &state)) {
            Some(command) => Step::Propose(command),
            None => {
                let unlisted = self.unlisted(&state);
                let term = self.term.as_mut()?;
                let facts = Facts {
                    me: self.me,
                    state: &state,
                    last_index: standing.commit,
                    progress: &standing.progress,
                    led_ticks: now.since(term.since) / as_millis(TICK),
                    noted: Noted {
                        voters: self.voters,
                        is_warm: self.is_warm,
                        caught_up: &term.caught_up,
                        unlisted: &unlisted,
                        heard: &term.heard,
                        settled: term.book.settled(now, &state),
                        now,
                        failed_over: term.failed_over,
                        is_shared_out: term.shared_out == Some(state.epoch()),
                    },
                };
                let next = decide(&facts);
                let caught_up = state.members().map(|member| member.id);
                let caught_up: BTreeSet<_> =
                    caught_up.filter(|id| facts.has_caught_up(*id)).collect();
                term.note_caught_up(&caught_up, now);
                match next {
                    Next::Step(step) => step,
                    Next::SharedOut => {
                        term.shared_out = Some(state.epoch());
                        return None;
                    }
                    Next::Wait => return None,
                }
            }
        };
        let raft = self.raft.clone();
        Some(Box::pin(async move {
            let outcome = match &step {
                Step::Propose(command) => raft.propose(command, STEP_PATIENCE).await,
                Step::ChangeQuorum(change) => {
                    raft.change_quorum(change.clone(), STEP_PATIENCE).await
                }
            };
            (step, outcome)
        }))
    }

    /// The members that are down and that discovery lists no more.
    fn unlisted(&self, state: &State) -> BTreeSet<NodeId> {
        let is_unlisted = |member: &&MemberRecord| {
            self.discovery.lists(&member.host, member.grpc_port) == Listed::No
        };
        let down = state
            .members()
            .filter(|member| member.status == MemberStatus::Down);
        down.filter(is_unlisted).map(|member| member.id).collect()
    }

    fn step_ended(&mut self, step: &Step, outcome: &Outcome) {
        match outcome {
            Outcome::Applied { result: Ok(_), .. } => tracing::debug!(?step, "members changed"),
            other => tracing::debug!(?step, outcome = ?other, "members not changed"),
        }
        let (Some(term), Step::Propose(Command::FailOver(fail_over))) = (&mut self.term, step)
        else {
            return;
        };
        // While the outcome is unknown, no grant may slip in between; the state shows it in the end.
        if !matches!(outcome, Outcome::Unknown) {
            term.book.resolved(fail_over.id);
        }
        if matches!(outcome, Outcome::Applied { result: Ok(_), .. }) {
            term.failed_over = Some(self.clock.now());
            tracing::warn!(member = %fail_over.id, "member is down, its partitions went to others");
        }
    }
}

/// Waits for the end of what is under way; for ever, if nothing is.
async fn ended<T>(under_way: &mut UnderWay<T>) -> (T, Outcome) {
    match under_way {
        Some(future) => {
            let ended = future.await;
            *under_way = None;
            ended
        }
        None => pending().await,
    }
}
