//! The effect of each command on the state. Pure and deterministic: no clock, no randomness, no order except
//! that of ids.
//!
//! [`State::apply`](super::State::apply) calls the functions here with a state that it drops if the command
//! is refused, so they never have to undo anything.

mod copies;
pub(in crate::topology) mod epoch;
mod groups;
mod members;
mod partitions;
mod plan;

use self::epoch::bump;
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{Change, Command, UNFINALIZED_VERSION};
use crate::topology::state::{Founding, State};

pub(super) use groups::{MAX_NOTE_BYTES, check_set, check_spec};
pub(super) use members::{check_joiner, check_settings};

impl Founding {
    /// Checks whether this can found a cluster.
    ///
    /// # Errors
    /// What is wrong with the founder.
    pub fn check(&self) -> Result<(), Refusal> {
        check_joiner(&self.first)?;
        check_settings(&self.settings, &self.first)
    }
}

impl State {
    /// Carries `command` out, or changes nothing at all. The result is the same on every node.
    ///
    /// # Errors
    /// The reason why nothing was changed.
    pub fn apply(&mut self, command: &Command) -> Result<Change, Refusal> {
        self.may_use(command)?;
        self.carry_out(command)
    }

    /// Checks that commands of the version of `command` are in use: every member knows them, and if they are not
    /// those of the oldest release, the operator has taken them into use.
    ///
    /// # Errors
    /// They are not.
    pub fn may_use(&self, command: &Command) -> Result<(), Refusal> {
        let needs = command.version();
        self.must_know(needs)?;
        let in_use = self.version.max(UNFINALIZED_VERSION);
        match command {
            Command::Finalize(version) if *version <= UNFINALIZED_VERSION => {
                Err(Refusal::NeedsNoFinalizing(*version))
            }
            Command::Finalize(_) => Ok(()),
            _ if needs <= in_use => Ok(()),
            _ => Err(Refusal::NotFinalized { needs, in_use }),
        }
    }

    /// Checks that every member knows commands of this version. The leader has checked it for the members
    /// that it knew when it proposed the command; one that knows less may have joined before the command in
    /// the log. A member whose executable cannot even read the command refuses it by this rule, as all others
    /// do.
    ///
    /// # Errors
    /// A member does not know the version.
    pub fn must_know(&self, needs: u32) -> Result<(), Refusal> {
        let known = self.known_version();
        match needs > known {
            true => Err(Refusal::NotKnown { needs, known }),
            false => Ok(()),
        }
    }

    /// [`apply`](Self::apply) without asking whether every member knows the command.
    ///
    /// # Errors
    /// The reason why nothing was changed.
    pub(crate) fn carry_out(&mut self, command: &Command) -> Result<Change, Refusal> {
        // A clone is changed, so that a refusal half-way leaves no trace.
        let mut next = self.clone();
        let change = apply_to(&mut next, command)?;
        next.version = next.version.max(command.version());
        *self = next;
        Ok(change)
    }
}

/// Carries `command` out on `state`.
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
        Command::Finalize(version) => finalize(state, *version),
    }
}

/// Takes a version into use. The topology stays as it is.
fn finalize(state: &State, version: u32) -> Result<Change, Refusal> {
    match version {
        0..=UNFINALIZED_VERSION => Err(Refusal::NeedsNoFinalizing(version)),
        _ if version <= state.version => Ok(Change::Nothing),
        _ => Ok(Change::Finalized(version)),
    }
}

/// Pauses or resumes the ring. This makes an epoch, so that a plan made before it is refused: once a pause is
/// committed, no move begins.
fn set_paused(state: &mut State, is_paused: bool) -> Change {
    if state.is_paused == is_paused {
        return Change::Nothing;
    }
    state.is_paused = is_paused;
    bump(state)
}

#[cfg(test)]
mod tests;
