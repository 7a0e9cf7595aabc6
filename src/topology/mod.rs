//! The topology: who is a member, who owns which partition, and the immutable view of both.
//!
//! Pure: no I/O, no clock, no spawn. The leader places partitions with [`place`],
//! every process answers "who owns this key?" from a [`View`], and both must give the same answer
//! on every platform and version, so all arithmetic here is on integers and frozen by the vectors
//! in `tests/data`.
//!
//! What the log replicates is the [`State`]: every node applies the same [`Command`]s in the same order,
//! and every epoch of it gives a view.
//!
//! The rooms, each of which knows only those above it:
//!
//! - `model`: members, groups, partitions, the quorum, and the limits on what is written of them.
//! - `placement`: members → who owns and who stands by. `commands`: what an entry of the log asks for.
//! - `view`: the snapshot that readers look into.
//! - `state`: what the log replicates, what each command does to it, its bytes, its snapshot file.
//! - `moves`: which partitions move or are copied next, and what a change of members would move.
//! - `lease`: until when an owner may act.
//! - `autopilot`: what a leader does next about the members.

pub mod model;

pub mod commands;
pub mod placement;

pub mod view;

pub mod state;

pub mod moves;

pub mod lease;

pub mod autopilot;

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
pub use view::{MemberIndex, PartitionRule, Role, Route, View, ViewError, ViewMistake};
