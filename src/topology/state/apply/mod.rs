//! What each command does to the state. Pure and deterministic: no clock, no chance, no order but that
//! of ids.
//!
//! Called by [`State::apply`](super::State::apply) with a state that is thrown away if the command is
//! refused, so nothing here has to undo what it began.

mod copies;
pub(in crate::topology) mod epoch;
mod groups;
mod members;
mod partitions;
mod plan;

use self::epoch::bump;
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{Change, Command};
use crate::topology::state::{Founding, State};

pub(super) use groups::{MAX_NOTE_BYTES, check_set, check_spec};
pub(super) use members::{check_joiner, check_settings};

impl Founding {
    /// Whether this can found a cluster.
    ///
    /// # Errors
    /// What is wrong with the founder.
    pub fn check(&self) -> Result<(), Refusal> {
        check_joiner(&self.first)?;
        check_settings(&self.settings, &self.first)
    }
}

impl State {
    /// Does what `command` asks for, or nothing at all. Every node comes to the same.
    ///
    /// # Errors
    /// Why nothing was done.
    pub fn apply(&mut self, command: &Command) -> Result<Change, Refusal> {
        // Changed beside the state, so that a refusal half-way leaves no trace.
        let mut next = self.clone();
        let change = apply_to(&mut next, command)?;
        next.version = next.version.max(command.version());
        *self = next;
        Ok(change)
    }
}

/// Does what `command` asks for.
fn apply_to(state: &mut State, command: &Command) -> Result<Change, Refusal> {
    match command {
        Command::Join(joiner) => members::join(state, joiner),
        Command::Resume(resume) => members::resume(state, resume),
        Command::SetStatus(set) => members::set_status(state, set),
        Command::RemoveMember(id) => members::remove(state, *id),
        Command::Assign(assign) => partitions::assign(state, assign),
        Command::PrepareMoves(prepare) => partitions::prepare(state, prepare),
        Command::ActivateMoves(runs) => partitions::activate(state, runs),
        Command::AbortMoves(runs) => partitions::abort(state, runs),
        Command::FailOver(fail_over) => partitions::fail_over(state, fail_over),
        Command::SetGroups(set) => groups::set(state, set),
        Command::ResetGroup(group) => groups::reset(state, group),
        Command::SetPaused(is_paused) => Ok(set_paused(state, *is_paused)),
        Command::SetCopies(runs) => copies::set(state, runs),
    }
}

/// Stops all planned moves, or lets them go on. It makes an epoch, so that a plan which was made before it
/// is refused: once it is committed, nothing begins to move.
fn set_paused(state: &mut State, is_paused: bool) -> Change {
    if state.is_paused == is_paused {
        return Change::Nothing;
    }
    state.is_paused = is_paused;
    bump(state)
}

#[cfg(test)]
mod tests;
