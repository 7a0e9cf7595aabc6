//! A member: what it has, what its clock shows, and what it may do for what it owns.

use std::collections::BTreeMap;
use std::sync::Arc;

use gcache::cache::{Cache, Limits, Request, Role, Stamps};
use gcache::ids::{Generation, Incarnation, Millis, NodeId, Partition, Tenure};
use gcache::topology::lease::Lease;
use gcache::topology::moves::MoveReport;
use gcache::topology::view::{Route, View};

use super::copies::FOR_EVER;
use super::reads::Waiting;
use super::slips::Slip;
use super::stream::Gone;
use super::world::{GROUP, World};
use crate::queue::{MILLISECOND, Micros};

/// How fast clocks run, in millionths of a right one.
const RATES: [u64; 3] = [990_000, 1_010_000, 1_000_000];

/// What a node may do for what it owns; as `node::lease` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    Acts,
    TakesOver,
    Arrives,
    Isolated,
}

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

    pub(super) fn stamps(&self, route: &Route, slip: Option<Slip>) -> Stamps {
        let group = self.view.group_by_name(GROUP).expect("it stays");
        let stamps = Stamps {
            tenure: route.tenure,
            inherits: route.inherits,
            copies: self.view.copies_of(route.partition).stamp(),
            generation: group.generation,
        };
        match slip {
            Some(Slip::NoTenure) => Stamps {
                tenure: Tenure(1),
                inherits: None,
                copies: None,
                ..stamps
            },
            Some(Slip::CopiesForEver) => Stamps {
                inherits: stamps.inherits.map(|_| FOR_EVER),
                ..stamps
            },
            Some(Slip::GenerationRolledBack) => Stamps {
                generation: Generation(1 + stamps.generation.0 % 2),
                ..stamps
            },
            _ => stamps,
        }
    }

    pub(super) fn duty(&self, route: &Route, now: Micros) -> Duty {
        if !self.lease.is_valid(self.clock(now)) {
            Duty::Isolated
        } else if self.lease.settled() >= route.since {
            Duty::Acts
        } else if route.since.0 > route.tenure.0 {
            Duty::TakesOver
        } else {
            Duty::Arrives
        }
    }
}

impl World {
    pub(super) fn request<'a>(
        &self,
        member: &Member,
        key: usize,
        bytes: &'a [u8],
        role: Role,
    ) -> (Request<'a>, Route) {
        let hash = self.hash(key);
        let route = member.view.route(hash);
        let request = Request {
            group: self.group(),
            key: bytes,
            hash,
            role,
            stamps: member.stamps(&route, self.slip),
            now: member.clock(self.now()),
        };
        (request, route)
    }
}
