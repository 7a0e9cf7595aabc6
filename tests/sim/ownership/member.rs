//! A member: what it has, what its clock shows, and what it may do for what it owns.

use std::collections::BTreeMap;
use std::sync::Arc;

use gcache::cache::{Cache, Limits, Request, Role, Stamps};
use gcache::ids::{Generation, Incarnation, Millis, NodeId, Partition, Tenure};
use gcache::ownership::{Duty, LeaseState};
use gcache::topology::lease::Lease;
use gcache::topology::model::group::Group;
use gcache::topology::moves::MoveReport;
use gcache::topology::view::{Route, Standing, View};

use super::copies::FOR_EVER;
use super::reads::Waiting;
use super::slips::Slip;
use super::stream::Gone;
use super::world::{GROUP, World};
use crate::queue::{MILLISECOND, Micros};

/// How fast clocks run, in millionths of a right one.
const RATES: [u64; 3] = [990_000, 1_010_000, 1_000_000];

pub(super) struct Member {
    pub(super) id: u64,
    pub(super) start: u64,
    rate: u64,
    pub(super) cache: Cache,
    pub(super) lease: Lease,
    pub(super) view: Arc<View>,
    pub(super) index: usize,
    pub(super) report: MoveReport,
    pub(super) paused_until: Micros,
    /// From whom what arrives comes, and with which tenure.
    pub(super) came_from: BTreeMap<Partition, (u64, Tenure)>,
    /// What this one gave away.
    pub(super) gone: BTreeMap<Partition, Gone>,
    pub(super) waiting: Vec<Waiting>,
}

impl Member {
    pub(super) fn new(seed: u64, id: u64, start: u64, view: Arc<View>) -> Self {
        let limits = Limits {
            memory_bytes: 1 << 20,
            max_waiters_per_key: 100,
            max_waiters_per_group: 1_000,
            max_waiters: 2_000,
        };
        let mut lease = Lease::new(NodeId(id), Incarnation(start));
        lease.applied(view.epoch(), view.latest_since(NodeId(id)));
        Self {
            id,
            start,
            rate: RATES[(seed.wrapping_add(id) % RATES.len() as u64) as usize],
            cache: Cache::new(limits),
            lease,
            view,
            index: 0,
            report: MoveReport::default(),
            paused_until: 0,
            came_from: BTreeMap::new(),
            gone: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// What its clock shows.
    pub(super) fn clock(&self, now: Micros) -> Millis {
        Millis(100_000 + now * self.rate / 1_000_000 / MILLISECOND)
    }

    /// How it stands to a partition, by its own view.
    pub(super) fn standing(&self, partition: Partition) -> Standing {
        self.view.standing(NodeId(self.id), partition)
    }

    pub(super) fn group(&self) -> &Group {
        self.view.group_by_name(GROUP).expect("it stays")
    }

    pub(super) fn stamps(&self, partition: Partition, slip: Option<Slip>) -> Stamps {
        stamps(&self.view, partition, slip)
    }

    pub(super) fn lease_state(&self) -> LeaseState {
        LeaseState::from(&self.lease)
    }

    /// What it may do as `role` by `route`.
    pub(super) fn duty(&self, role: Role, route: &Route, now: Micros) -> Duty {
        self.lease_state().duty(role, route, self.clock(now))
    }
}

/// What is valid in a partition by a view, to a member that makes this mistake.
pub(super) fn stamps(view: &View, partition: Partition, slip: Option<Slip>) -> Stamps {
    let group = view.group_by_name(GROUP).expect("it stays");
    let stamps = view.stamps(partition, group);
    match slip {
        Some(Slip::NoTenure) => Stamps {
            tenure: Tenure(1),
            inherits: None,
            copies: None,
            ..stamps
        },
        Some(Slip::CopiesForEver) => Stamps {
            inherits: stamps.inherits.map(|_| FOR_EVER),
            copies: stamps.copies.map(|_| FOR_EVER),
            ..stamps
        },
        Some(Slip::GenerationRolledBack) => Stamps {
            generation: Generation(1 + stamps.generation.0 % 2),
            ..stamps
        },
        _ => stamps,
    }
}

impl World {
    pub(super) fn request<'a>(
        &self,
        member: &Member,
        key: usize,
        bytes: &'a [u8],
        role: Role,
    ) -> Request<'a> {
        Request {
            group: self.group(),
            key: bytes,
            hash: self.hash(key),
            role,
            stamps: member.stamps(self.partition(key), self.slip),
            now: member.clock(self.now()),
        }
    }
}
