//! The topology: the members, which of them owns which partition, and the immutable view of both.
//!
//! Pure: no I/O, no clock, no spawn. The leader places partitions with [`place`], and every process finds the
//! owner of a key in a [`View`]. Both must give the same answer on every platform and in every version, so
//! all arithmetic here is on integers, and vectors in `tests/data` freeze it.
//!
//! The log replicates the [`State`]: every node applies the same [`Command`]s in the same order, and each
//! epoch of the state gives a view.
//!
//! The modules; each knows only those above it:
//!
//! - `model`: members, groups, partitions, the quorum, and the limits on their fields.
//! - `placement`: gives each partition an owner and a standby. `commands`: the changes that an entry of the
//!   log can ask for.
//! - `view`: the immutable snapshot for readers.
//! - `state`: the replicated state, the effect of each command on it, its encoding, its snapshot file.
//! - `moves`: which partitions move or are copied next, and what a change of members would move.
//! - `lease`: how long an owner may act.
//! - `leader`: what a leader decides: leases, moves, copies, the members and their votes.

pub mod model;

pub mod commands;
pub mod placement;

pub mod view;

pub mod state;

pub mod moves;

pub mod lease;

pub mod leader;

pub mod losses;

#[cfg(test)]
pub(crate) mod fixtures;

pub use commands::refusal::Refusal;
pub use commands::{Agreed, COMMAND_VERSION, Change, Command, Joiner};
pub use model::group::{Group, GroupSpec, KeyType, Source};
pub use model::member::{
    MAX_MEMBERS, MAX_WEIGHT, Member, MemberRecord, MemberStatus, Tombstone, Zone,
};
pub use model::partitions::{Assignment, Move, PartitionTable, PendingMove, WrongLength, moves};
pub use model::quorum::{Quorum, QuorumChange, QuorumRole};
pub use placement::place;
pub use state::codec::DecodeError;
pub use state::{Founding, Revision, State};
pub use view::{
    MemberIndex, PartitionRule, Role, Route, Stamps, Standing, View, ViewError, ViewMistake,
};
