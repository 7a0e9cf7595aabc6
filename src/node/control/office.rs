//! What a leader does, for as long as it leads: it grants leases, fails over who is silent, and looks
//! after the members, one step at a time.
//!
//! The rules are in [`crate::topology::lease`] and in `decide`; here is how they meet the clock, the
//! network and Raft. All that is known is of one term and gone with it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::decide::{Facts, Heard, Next, Noted, Since, Step, decide};
use crate::clock::{Clock, as_millis};
use crate::discovery::{Discovery, Listed};
use crate::ids::{Epoch, Millis, NodeId};
use crate::raft::event::Outcome;
use crate::raft::thread::{Handle, Standing, TICK};
use crate::shutdown::Shutdown;
use crate::topology::commands::{AbortRun, Command};
use crate::topology::lease::{Grant, LeaseBook, LeaseRefusal, Renewal, Round};
use crate::topology::model::member::{MAX_MEMBERS, MemberRecord, MemberStatus};
use crate::topology::moves::MoveBook;
use crate::topology::state::State;

/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a quorum may take to confirm a round.
const ROUND_PATIENCE: Duration = Duration::from_secs(2);

/// How long one step may take before the leader looks again.
const STEP_PATIENCE: Duration = Duration::from_secs(3);

/// Renewals that may wait to be taken from the inbox.
const INBOX_MAX: usize = 4 * MAX_MEMBERS;

/// Renewals of one member whose answer is awaited.
const AWAITED_MAX: usize = 4;

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Granted(Grant),
    Refused(LeaseRefusal),
    /// The member was removed, and its id is never used again.
    Removed,
    /// This node leads no more, or not yet.
    NotLeader,
}

/// A renewal, and where its answer goes.
struct Asked {
    renewal: Renewal,
    answer: oneshot::Sender<Answer>,
}

/// What is settled, while this node leads; none while it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// No member that holds a lease has applied less.
    pub(super) epoch: Option<Epoch>,
    /// Members that hold a lease and have not applied the latest epoch.
    pub(super) behind: Vec<NodeId>,
    /// Whether all who hold a lease know that they may act for what they own.
    pub(super) all_act: bool,
}

/// How others reach the office.
#[derive(Clone)]
pub(super) struct Asker {
    asks: mpsc::Sender<Asked>,
    settled: watch::Receiver<Settled>,
}

impl Asker {
    /// Asks for a lease to go on. Cancel-safe: nobody waits then.
    pub(super) async fn ask(&self, renewal: Renewal) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.asks.try_send(Asked { renewal, answer }).is_err() {
            return Answer::NotLeader;
        }
        answered.await.unwrap_or(Answer::NotLeader)
    }

    /// What is settled, as it changes.
    pub(super) fn settled(&self) -> watch::Receiver<Settled> {
        self.settled.clone()
    }
}

/// The office of one node, which is open while it leads.
pub(super) struct Office {
    me: NodeId,
    raft: Handle,
    clock: Clock,
    asks: mpsc::Receiver<Asked>,
    settled: watch::Sender<Settled>,
    /// How many voters there are to be.
    voters: usize,
    /// Whether partitions are handed over warm.
    is_warm: bool,
    discovery: Discovery,
    term: Option<Term>,
}

/// What a leader knows in one term.
struct Term {
    number: u64,
    since: Millis,
    book: LeaseBook,
    moves: MoveBook,
    awaited: BTreeMap<NodeId, Vec<Asked>>,
    heard: Heard,
    /// When a member was last failed over, or moves were given up.
    failed_over: Option<Millis>,
    /// The epoch for which the partitions were found to be shared out well.
    shared_out: Option<Epoch>,
    /// Since when members are caught up without a break.
    caught_up: Since,
    /// Of which epoch, and since when each owner owns what it got last then.
    sinces: (Epoch, BTreeMap<NodeId, Epoch>),
}

/// Something that is under way, with what it is for.
type UnderWay<T> = Option<Pin<Box<dyn Future<Output = (T, Outcome)> + Send>>>;

impl Office {
    /// The office of member `me`, and how to reach it.
    pub(super) fn new(
        me: NodeId,
        raft: Handle,
        clock: Clock,
        (voters, is_warm, discovery): (usize, bool, Discovery),
    ) -> (Self, Asker) {
        let (sender, asks) = mpsc::channel(INBOX_MAX);
        let (settled, seen) = watch::channel(Settled::default());
        let office = Self {
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
        let asker = Asker {
            asks: sender,
            settled: seen,
        };
        (office, asker)
    }

    /// Is open whenever this node leads, until shutdown or the end of its Raft.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
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
                    // What was refused once would be refused again: the next look is soon enough.
                    is_time = matches!(outcome, Outcome::Applied { result: Ok(_), .. });
                }
                changed = standings.changed() => if changed.is_err() { return },
                () = shutdown.begun() => return,
            }
            let standing = standings.borrow_and_update().clone();
            if self.attend(&standing) {
                // What is under way is of another term, and what comes of it is nobody's.
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

    /// Opens or closes the office with the term. True if the term is another.
    fn attend(&mut self, standing: &Standing) -> bool {
        let leads = standing.role.is_leader.then_some(standing.role.term);
        if leads == self.term.as_ref().map(|term| term.number) {
            return false;
        }
        let since = self.clock.now();
        self.term = leads.map(|number| Term {
            number,
            since,
            book: LeaseBook::default(),
            moves: MoveBook::default(),
            awaited: BTreeMap::new(),
            heard: Heard::new(),
            failed_over: None,
            shared_out: None,
            caught_up: Since::new(),
            sinces: (Epoch(0), BTreeMap::new()),
        });
        self.publish();
        true
    }

    fn arrived(&mut self, asked: Asked) {
        let state = self.raft.state().borrow().clone();
        let Some(term) = &mut self.term else {
            return asked.tell(Answer::NotLeader);
        };
        term.moves
            .reported(asked.renewal.member, asked.renewal.moves);
        if let Err(refusal) = term.book.arrived(asked.renewal, &state) {
            let is_removed = state.is_tombstone(asked.renewal.member);
            return asked.tell(match is_removed {
                true => Answer::Removed,
                false => Answer::Refused(refusal),
            });
        }
        let awaited = term.awaited.entry(asked.renewal.member).or_default();
        if awaited.len() >= AWAITED_MAX {
            awaited.remove(0).tell(Answer::NotLeader);
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
                term.tell(&renewal, &Answer::NotLeader);
            }
            return;
        }
        // Nothing is read before an entry of the leader's own term is committed.
        term.book.first_committed(now, &state);
        for (renewal, answer) in term.book.confirmed(round, now, &state) {
            term.heard.insert(renewal.member, (renewal, now));
            let answer = match answer {
                Ok(grant) => Answer::Granted(grant),
                Err(refusal) => Answer::Refused(refusal),
            };
            term.tell(&renewal, &answer);
        }
        self.publish();
    }

    /// Shows what is settled.
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

    /// The next step, begun, if there is one to take.
    fn begin_step(&mut self, standing: &Standing) -> UnderWay<Step> {
        let term = self.term.as_mut()?;
        // Until its own term has begun to be applied, a leader does not know what is committed.
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

    /// Members that discovery says are nowhere any more.
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
        // While it is unknown, no grant may slip in between; the state tells in the end.
        if !matches!(outcome, Outcome::Unknown) {
            term.book.resolved(fail_over.id);
        }
        if matches!(outcome, Outcome::Applied { result: Ok(_), .. }) {
            term.failed_over = Some(self.clock.now());
            tracing::warn!(member = %fail_over.id, "member is down, its partitions are others' now");
        }
    }
}

impl Term {
    fn note_sinces(&mut self, state: &State) {
        if self.sinces.0 != state.epoch() {
            self.sinces = (state.epoch(), state.table().latest_sinces());
        }
    }

    fn note_caught_up(&mut self, caught_up: &BTreeSet<NodeId>, now: Millis) {
        self.caught_up.retain(|id, _| caught_up.contains(id));
        for id in caught_up {
            self.caught_up.entry(*id).or_insert(now);
        }
    }

    /// The command that takes its partitions from a member that is silent for too long.
    fn fail_over(&mut self, now: Millis, state: &State) -> Option<Command> {
        let down = self.book.down(now, state)?;
        let command = state.plan_fail_over(down)?;
        self.book.failing(down, state.epoch());
        Some(command)
    }

    /// The command that ends moves which are over, or do not get on.
    fn end_moves(&mut self, now: Millis, state: &State) -> Option<Command> {
        let settled = self.book.settled(now, state);
        let command = self.moves.next(now, state, settled)?;
        if let Command::AbortMoves(runs) = &command {
            let to = |run: &AbortRun| state.table()[run.first].move_to.map(|moving| moving.to);
            let is_up = |id| state.member(id).map(|member| member.status) == Some(MemberStatus::Up);
            if runs.iter().filter_map(to).any(is_up) {
                // Not at once again: what stood in the way may still be there.
                self.failed_over = Some(now);
                tracing::warn!("moves are given up: their members do not hear each other");
            } else {
                // They go to others, and those who leave have no time to lose.
                tracing::info!("moves are given up: whom they go to leaves");
            }
        }
        Some(command)
    }

    /// Answers this renewal, and those of the same member that it has overtaken.
    fn tell(&mut self, renewal: &Renewal, answer: &Answer) {
        let Some(awaited) = self.awaited.get_mut(&renewal.member) else {
            return;
        };
        let order = |renewal: &Renewal| (renewal.incarnation, renewal.sent_at);
        let (told, kept): (Vec<_>, Vec<_>) = std::mem::take(awaited)
            .into_iter()
            .partition(|asked| order(&asked.renewal) <= order(renewal));
        *awaited = kept;
        for asked in told {
            let is_it = asked.renewal == *renewal;
            asked.tell(if is_it {
                answer.clone()
            } else {
                Answer::NotLeader
            });
        }
    }
}

impl Asked {
    fn tell(self, answer: Answer) {
        // Whoever asked may have left.
        let _left = self.answer.send(answer);
    }
}

/// The end of what is under way; never, if nothing is.
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
