//! The topology: who is a member, who owns which partition, and the immutable view of both.
//!
//! Pure: no I/O, no clock, no spawn. The leader places partitions with [`place`],
//! every process answers "who owns this key?" from a [`View`], and both must give the same answer
//! on every platform and version, so all arithmetic here is on integers and frozen by the vectors
//! in `tests/data`.

pub mod fixed;
pub mod group;
pub mod member;
pub mod partitions;
pub mod placement;
pub mod rendezvous;
pub mod view;

mod quota;
mod rounding;
mod standby;

pub use group::{Group, GroupSpec, KeyType, Source};
pub use member::{MAX_MEMBERS, MAX_WEIGHT, Member, MemberStatus, Zone};
pub use partitions::{Assignment, Move, PartitionTable, WrongLength, moves};
pub use placement::place;
pub use view::{MemberIndex, PartitionRule, Role, Route, View, ViewError, ViewMistake};
