//! What must hold: whoever asks after an acknowledgement gets nothing older than it.

use gcache::cache::Role;
use gcache::ownership::answer;

use super::world::KEYS;
use crate::queue::{MILLISECOND, Micros};

/// How a call was answered, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Owner,
    Standby,
    /// A standby, with a copy of what the owner has.
    Copy,
    LastResort,
    Isolated,
}

impl Detail {
    /// What a client learns of an answer in this role.
    pub(super) fn of(role: Role, detail: answer::Detail) -> Self {
        match (detail, role) {
            (answer::Detail::Isolated, _) => Self::Isolated,
            (_, Role::Owner) => Self::Owner,
            (_, Role::Standby) => Self::Standby,
            (_, Role::LastResort) => Self::LastResort,
        }
    }
}

/// How long a load takes at most.
pub(super) const LOAD_MAX: Micros = 500 * MILLISECOND;

/// How old a stand-in's answer may be when it is asked for: 2 s, on a clock that is 1 % slow.
const STAND_IN_MAX: Micros = 2_021 * MILLISECOND;

/// What clients know to be so.
#[derive(Default)]
pub(super) struct Oracle {
    /// By key: when which version was acknowledged to be the oldest that anybody may see.
    floors: [Vec<(Micros, u64)>; KEYS],
    pub(super) broken: Option<String>,
}

impl Oracle {
    /// From `now` on nobody may get anything older than `version`.
    pub(super) fn acknowledged(&mut self, key: usize, version: u64, now: Micros) {
        self.floors[key].push((now, version));
    }

    /// A call that began at `began` was answered.
    pub(super) fn answered(&mut self, key: usize, version: u64, began: Micros, detail: Detail) {
        let by = match detail {
            Detail::Owner | Detail::Copy => began,
            Detail::Standby | Detail::LastResort => began.saturating_sub(STAND_IN_MAX),
            Detail::Isolated => return,
        };
        let known = self.floors[key].iter().filter(|(at, _)| *at <= by);
        let floor = known.map(|(_, version)| *version).max().unwrap_or(0);
        if version < floor && self.broken.is_none() {
            self.broken = Some(format!(
                "key {key} was asked for at {began} µs and answered with version {version} \
                 by {detail:?}, after {floor} was acknowledged"
            ));
        }
    }
}
