//! The topology: who is a member, who owns which partition, and the immutable view of both.
//!
//! Pure: no I/O, no clock, no spawn. The leader places partitions with [`place`],
//! every process answers "who owns this key?" from a [`View`], and both must give the same answer
//! on every platform and version, so all arithmetic here is on integers and frozen by the vectors
//! in `tests/data`.
//!
//! What the log replicates is the [`State`]: every node applies the same [`Command`]s in the same order,
//! and every epoch of it gives a view.

pub mod command;
pub mod copies;
pub mod fixed;
pub mod forecast;
pub mod group;
pub mod lease;
pub mod member;
pub mod moves;
pub mod partitions;
pub mod placement;
pub mod quorum;
pub mod recover;
pub mod refusal;
pub mod rendezvous;
pub mod rules;
pub mod saved;
pub mod state;
pub mod view;

mod apply;
mod codec;
#[cfg(test)]
pub(crate) mod fixtures;
mod quota;
mod rounding;
mod runs;
mod specs;
mod standby;

pub use command::{Agreed, COMMAND_VERSION, Change, Command, DecodeError, Joiner};
pub use group::{Group, GroupSpec, KeyType, Source};
pub use member::{MAX_MEMBERS, MAX_WEIGHT, Member, MemberRecord, MemberStatus, Tombstone, Zone};
pub use partitions::{Assignment, Move, PartitionTable, PendingMove, WrongLength, moves};
pub use placement::place;
pub use quorum::{Quorum, QuorumChange, QuorumRole};
pub use refusal::Refusal;
pub use state::{Founding, Revision, State};
pub use view::{MemberIndex, PartitionRule, Role, Route, View, ViewError, ViewMistake};
