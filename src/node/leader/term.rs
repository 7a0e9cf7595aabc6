//! What a leader knows in one term, and the decisions it takes from that alone. All of it is dropped with the
//! term.

use std::collections::{BTreeMap, BTreeSet};

use super::handle::{Answer, Asked};
use crate::ids::{Epoch, Millis, NodeId};
use crate::topology::commands::{AbortRun, Command};
use crate::topology::leader::facts::{Heard, Since};
use crate::topology::lease::{LeaseBook, Renewal};
use crate::topology::moves::MoveBook;
use crate::topology::state::State;

/// The knowledge of a leader in one term.
pub(super) struct Term {
    pub(super) number: u64,
    pub(super) since: Millis,
    pub(super) book: LeaseBook,
    pub(super) moves: MoveBook,
    pub(super) awaited: BTreeMap<NodeId, Vec<Asked>>,
    pub(super) heard: Heard,
    /// When the leader last failed a member over, or gave moves up.
    pub(super) failed_over: Option<Millis>,
    /// The epoch in which partitions were last found to be shared out well.
    pub(super) shared_out: Option<Epoch>,
    /// Since when each caught-up member has been caught up without a break.
    pub(super) caught_up: Since,
    /// An epoch, and for each owner in it the `since` of the partition that it got last.
    pub(super) sinces: (Epoch, BTreeMap<NodeId, Epoch>),
}

impl Term {
    /// Term `number`, which this node has led since `since`. It begins with no knowledge.
    pub(super) fn new(number: u64, since: Millis) -> Self {
        Self {
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
        }
    }

    pub(super) fn note_sinces(&mut self, state: &State) {
        if self.sinces.0 != state.epoch() {
            self.sinces = (state.epoch(), state.table().latest_sinces());
        }
    }

    pub(super) fn note_caught_up(&mut self, caught_up: &BTreeSet<NodeId>, now: Millis) {
        self.caught_up.retain(|id, _| caught_up.contains(id));
        for id in caught_up {
            self.caught_up.entry(*id).or_insert(now);
        }
    }

    /// The command that takes the partitions of a member which is silent for too long.
    pub(super) fn fail_over(&mut self, now: Millis, state: &State) -> Option<Command> {
        let down = self.book.down(now, state)?;
        let command = state.plan_fail_over(down)?;
        self.book.failing(down, state.epoch());
        Some(command)
    }

    /// The command that ends moves which are complete, or make no progress.
    pub(super) fn end_moves(&mut self, now: Millis, state: &State) -> Option<Command> {
        let settled = self.book.settled(now, state);
        let command = self.moves.next(now, state, settled)?;
        if let Command::AbortMoves(runs) = &command {
            let to = |run: &AbortRun| state.table()[run.first].move_to.map(|moving| moving.to);
            let is_up = |id| state.is_up(id);
            if runs.iter().filter_map(to).any(is_up) {
                // Moves do not begin again at once: the obstacle may still be there.
                self.failed_over = Some(now);
                tracing::warn!("moves given up: their members do not reach each other");
            } else {
                // The partitions go to others at once: members that leave have no time to lose.
                tracing::info!("moves given up: their new owners leave");
            }
        }
        Some(command)
    }

    /// Answers `renewal`, and the renewals of the same member that it has overtaken.
    pub(super) fn answer(&mut self, renewal: &Renewal, answer: &Answer) {
        let Some(awaited) = self.awaited.get_mut(&renewal.member) else {
            return;
        };
        let order = |renewal: &Renewal| (renewal.incarnation, renewal.sent_at);
        let (answered, kept): (Vec<_>, Vec<_>) = std::mem::take(awaited)
            .into_iter()
            .partition(|asked| order(&asked.renewal) <= order(renewal));
        *awaited = kept;
        for asked in answered {
            let is_it = asked.renewal == *renewal;
            asked.answer(if is_it {
                answer.clone()
            } else {
                Answer::NotLeader
            });
        }
    }
}
