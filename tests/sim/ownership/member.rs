//! What a member does with calls: the read path of a node, on one thread of virtual time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gcache::cache::{
    Cache, Entry, Fill, Found, Freshness, Heard, Limits, Loaded, Outcome, Receipt, Request, Role,
    Stamps,
};
use gcache::ids::{Epoch, Generation, Incarnation, Millis, NodeId, Partition, Tenure};
use gcache::topology::lease::Lease;
use gcache::topology::moves::MoveReport;
use gcache::topology::view::{Role as ViewRole, Route, View};

use super::carry::Gone;
use super::copies::FOR_EVER;
use super::oracle::{Detail, LOAD_MAX};
use super::slips::Slip;
use super::world::{GROUP, Happening, Load, World, key_of};
use crate::queue::{MILLISECOND, Micros};

/// How long a call with a newer epoch waits for it.
const EPOCH_WAIT: Micros = 200 * MILLISECOND;

/// Between two looks at what a call waits for.
const LOOK_EVERY: Micros = 5 * MILLISECOND;

/// Before a delete is tried again.
const AGAIN_AFTER: Micros = 20 * MILLISECOND;

/// How long a delete waits.
const DELETE_PATIENCE: Micros = 4_000 * MILLISECOND;

/// How fast clocks run, in millionths of a right one.
const RATES: [u64; 3] = [990_000, 1_010_000, 1_000_000];

/// How long values are fresh: longer than a history.
const TTL_MS: u32 = 60_000;

/// What somebody asks of a member.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) key: usize,
    /// What is true from before a delete was sent; none for a read.
    version: Option<u64>,
    pub(super) began: Micros,
    pub(super) to: u64,
    pub(super) role: Role,
    pub(super) epoch: Epoch,
    tries: u32,
    receipts: Vec<Receipt>,
}

impl Call {
    pub(super) fn read(number: u64, key: usize, began: Micros) -> Self {
        Self {
            number,
            key,
            version: None,
            began,
            to: 0,
            role: Role::Owner,
            epoch: Epoch(0),
            tries: 0,
            receipts: Vec::new(),
        }
    }

    pub(super) fn delete(number: u64, key: usize, version: u64, began: Micros) -> Self {
        Self {
            version: Some(version),
            ..Self::read(number, key, began)
        }
    }

    pub(super) fn is_delete(&self) -> bool {
        self.version.is_some()
    }
}

/// A call that waits for a load.
struct Waiting {
    call: Call,
    detail: Detail,
    outcome: Pin<Box<dyn Future<Output = Outcome>>>,
}

/// What a node may do for what it owns; as `node::lease` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
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
    waiting: Vec<Waiting>,
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

    fn duty(&self, route: &Route, now: Micros) -> Duty {
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

    /// A call is there; or once more, if what it needs was not.
    pub(super) fn arrive(&mut self, mut call: Call) {
        let now = self.now();
        let member = &self.members[&call.to];
        if member.paused_until > now {
            let after = member.paused_until - now;
            return self.queue.push(after, Happening::Arrive(call));
        }
        if call.epoch > member.view.epoch() {
            if u64::from(call.tries) * LOOK_EVERY < EPOCH_WAIT {
                call.tries += 1;
                self.queue.push(LOOK_EVERY, Happening::Arrive(call));
            }
            return;
        }
        let own = member
            .view
            .role_of(NodeId(call.to), self.partition(call.key));
        let role = match (call.role, own) {
            (Role::Owner | Role::Standby, ViewRole::Owner) => Role::Owner,
            (Role::Standby, ViewRole::Standby) => Role::Standby,
            (Role::LastResort, _) => Role::LastResort,
            _ => {
                self.seen.refused += 1;
                return;
            }
        };
        if call.is_delete() {
            return match role {
                Role::Owner => self.take_back(call),
                _ => self.seen.refused += 1,
            };
        }
        self.read(call, role);
    }

    fn read(&mut self, call: Call, role: Role) {
        let now = self.now();
        let member = &self.members[&call.to];
        let route = member.view.route(self.hash(call.key));
        let duty = match role {
            Role::Owner => member.duty(&route, now),
            _ if member.lease.is_valid(member.clock(now)) => Duty::Acts,
            _ => Duty::Isolated,
        };
        let (role, detail) = match (duty, role) {
            (Duty::TakesOver, _) => {
                self.seen.took_over += 1;
                (Role::Owner, Detail::Owner)
            }
            (Duty::Acts, Role::Owner) => (role, Detail::Owner),
            (Duty::Acts, Role::Standby) | (Duty::Arrives, _) => (Role::Standby, Detail::Standby),
            (Duty::Acts, Role::LastResort) => (role, Detail::LastResort),
            (Duty::Isolated, _) => (Role::LastResort, Detail::Isolated),
        };
        let bytes = key_of(call.key);
        let (request, route) = self.request(&self.members[&call.to], call.key, &bytes, role);
        let cache = self.members[&call.to].cache.clone();
        if duty == Duty::Isolated {
            let own = Request {
                role: Role::Owner,
                ..request
            };
            if let Some(entry) = cache.get(&own) {
                return self.answer(&call, &entry, detail);
            }
        }
        match cache.get_or_join(&request) {
            Found::Fresh(entry) | Found::Stale { entry, .. } => {
                self.seen.hits += 1;
                self.answer(&call, &entry, detail);
            }
            Found::Lead { lead, wait, .. } => {
                let (member, key) = (call.to, call.key);
                self.wait(call, detail, wait.outcome());
                self.load(member, key, lead, &route);
            }
            Found::Wait { wait, .. } => self.wait(call, detail, wait.outcome()),
            Found::Refused { .. } => {}
        }
    }

    fn wait(
        &mut self,
        call: Call,
        detail: Detail,
        outcome: impl Future<Output = Outcome> + 'static,
    ) {
        let member = self.members.get_mut(&call.to).expect("it was asked");
        member.waiting.push(Waiting {
            call,
            detail,
            outcome: Box::pin(outcome),
        });
    }

    fn answer(&mut self, call: &Call, entry: &Entry, detail: Detail) {
        let Ok(version) = <[u8; 8]>::try_from(entry.value()) else {
            return;
        };
        let detail = match detail {
            // Deletes wait for copies, so that they are as good as what the owner has.
            Detail::Standby if entry.is_copy() => Detail::Copy,
            detail => detail,
        };
        match detail {
            Detail::Copy => self.seen.copies += 1,
            Detail::Owner => {}
            Detail::Standby => self.seen.standby += 1,
            Detail::LastResort => self.seen.last_resort += 1,
            Detail::Isolated => self.seen.isolated += 1,
        }
        let version = u64::from_le_bytes(version);
        self.tell(|| {
            format!(
                "{}: key {} is {version} for call {} of {} ({detail:?}, {entry:?})",
                call.to, call.key, call.number, call.began
            )
        });
        self.oracle.answered(call.key, version, call.began, detail);
    }

    /// Loads a key for a flight: from the old owner, if there may be something, or from the origin.
    fn load(&mut self, id: u64, key: usize, lead: gcache::cache::Lead, route: &Route) {
        let number = self.number();
        let member = &self.members[&id];
        let is_owner = lead.role() == Role::Owner;
        let tenure = member.stamps(route, self.slip).tenure;
        let from = member.came_from.get(&route.partition).copied();
        let from = from.filter(|(_, came)| *came == route.tenure || Some(*came) == route.inherits);
        let may_peek = self.slip == Some(Slip::PeekAfterDelete)
            || member.cache.is_expected(self.hash(key), tenure);
        let is_peeking = is_owner && from.is_some() && may_peek;
        self.loads.insert(
            number,
            Load {
                member: id,
                start: member.start,
                key,
                lead: Some(lead),
                began: self.queue.now(),
                version: 0,
                is_peeking,
            },
        );
        match from {
            Some((from, _)) if is_peeking => self.peek(number, from, key, route),
            _ => self.begin_load(number),
        }
    }

    pub(super) fn begin_load(&mut self, load: u64) {
        let after = match self.dice.chance(50) {
            true => self.dice.within(0..LOAD_MAX / 2),
            false => self.dice.within(0..5 * MILLISECOND),
        };
        self.queue.push(after, Happening::ReadRow(load));
    }

    pub(super) fn read_row(&mut self, number: u64) {
        if let Some(load) = self.loads.get_mut(&number) {
            load.version = self.versions[load.key];
            let after = match self.dice.chance(50) {
                true => self.dice.within(0..LOAD_MAX / 2),
                false => self.dice.within(0..5 * MILLISECOND),
            };
            self.queue.push(after, Happening::Loaded(number));
        }
    }

    pub(super) fn loaded(&mut self, number: u64) {
        let now = self.now();
        let Some(load) = self.loads.get(&number) else {
            return;
        };
        let member = &self.members[&load.member];
        if member.start == load.start && member.paused_until > now {
            let after = member.paused_until - now;
            return self.queue.push(after, Happening::Loaded(number));
        }
        let mut load = self.loads.remove(&number).expect("it is there");
        let Some(lead) = load.lead.take().filter(|_| member.start == load.start) else {
            return;
        };
        let (key, id) = (load.key, load.member);
        let fill = self.fill(id, key, load.began);
        let value = load.version.to_le_bytes();
        let outcome = lead.finish(Loaded::Value(&value), &fill);
        if self.slip == Some(Slip::NoToken) && !outcome.stored {
            let parts = gcache::cache::EntryParts {
                tenure: fill.stamps.tenure,
                generation: fill.stamps.generation,
                ..outcome.entry.parts()
            };
            let _kept = self.members[&id].cache.put(&Entry::new(&parts));
        }
        self.wake(id);
    }

    pub(super) fn fill(&self, id: u64, key: usize, began: Micros) -> Fill {
        let member = &self.members[&id];
        let route = member.view.route(self.hash(key));
        let began = match self.slip {
            Some(Slip::StandbyFromTheEnd) => self.now(),
            _ => began,
        };
        Fill {
            stamps: member.stamps(&route, self.slip),
            freshness: Freshness {
                ttl_ms: TTL_MS,
                jitter: 0,
                stale_ms: 0,
                stale_if_error_ms: 0,
                negative_ttl_ms: 0,
                error_ttl_ms: 0,
                max_value_bytes: 1 << 10,
            },
            now: member.clock(self.now()),
            load_started: member.clock(began),
            random: 0,
        }
    }

    /// Those whose load has ended are answered.
    pub(super) fn wake(&mut self, id: u64) {
        let member = self.members.get_mut(&id).expect("it has loaded");
        let mut answered = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        member.waiting.retain_mut(|waiting| {
            let Poll::Ready(outcome) = waiting.outcome.as_mut().poll(&mut context) else {
                return true;
            };
            answered.push((waiting.call.clone(), outcome.entry, waiting.detail));
            false
        });
        for (call, entry, detail) in answered {
            self.answer(&call, &entry, detail);
        }
    }

    /// A delete: dropped at once, and acknowledged when it may be.
    fn take_back(&mut self, mut call: Call) {
        let now = self.now();
        let hash = self.hash(call.key);
        let member = &self.members[&call.to];
        let route = self.acts_by(member, member.view.route(hash));
        let voided = member.cache.delete(self.group(), &key_of(call.key), hash);
        let duty = member.duty(&route, now);
        self.seen.forwarded += voided.receipts.len() as u64;
        self.tell(|| format!("{}: key {} goes, {duty:?} {voided:?}", call.to, call.key));
        let may_say = match duty {
            Duty::Acts => true,
            Duty::TakesOver => self.slip == Some(Slip::ActsAtOnce),
            Duty::Arrives | Duty::Isolated => false,
        };
        let is_alone = self.slip == Some(Slip::AcknowledgedAlone) || voided.receipts.is_empty();
        if may_say && is_alone {
            return self.acknowledge(&call);
        }
        call.receipts = if may_say { voided.receipts } else { Vec::new() };
        let start = self.members[&call.to].start;
        self.queue
            .push(LOOK_EVERY, Happening::Told(call.to, start, call));
    }

    /// The route of a delete: nobody else may believe to have copies.
    fn acts_by(&self, member: &Member, route: Route) -> Route {
        let copied = member.view.copies_of(route.partition).since;
        let since = match self.slip {
            Some(Slip::DroppedUnsettled) => route.since,
            _ => route.since.max(copied),
        };
        Route { since, ..route }
    }

    fn acknowledge(&mut self, call: &Call) {
        self.seen.acknowledged += 1;
        let version = call.version.expect("it is a delete");
        self.tell(|| format!("{}: key {} is {version} from now on", call.to, call.key));
        self.oracle.acknowledged(call.key, version, self.now());
    }

    /// Whether a delete may be acknowledged by now.
    pub(super) fn told(&mut self, id: u64, start: u64, call: Call) {
        let now = self.now();
        let member = &self.members[&id];
        if member.start != start || now > call.began + DELETE_PATIENCE {
            self.seen.refused += 1;
            return;
        }
        if member.paused_until > now {
            let after = member.paused_until - now;
            return self.queue.push(after, Happening::Told(id, start, call));
        }
        let heard = call.receipts.iter().map(Receipt::heard);
        let waits = heard.clone().any(|heard| heard == Heard::Waits);
        if waits {
            return self
                .queue
                .push(LOOK_EVERY, Happening::Told(id, start, call));
        }
        let all_have =
            !call.receipts.is_empty() && heard.clone().all(|heard| heard == Heard::Applied);
        let route = self.acts_by(member, member.view.route(self.hash(call.key)));
        let owns = member.view.is_owner(NodeId(id), route.partition);
        if all_have && owns && member.duty(&route, now) == Duty::Acts {
            return self.acknowledge(&call);
        }
        // From the beginning: it may be another's by now.
        self.queue.push(AGAIN_AFTER, Happening::Arrive(call));
    }
}
