//! The read path of a node, on one thread of virtual time: hits, flights and loads.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use gcache::cache::{Entry, Fill, Found, Freshness, LoadOutcome, Loaded, Role};
use gcache::ownership::Duty;
use gcache::ownership::answer::{Answer, answer};
use gcache::topology::view::Route;

use super::call::Call;
use super::oracle::{Detail, LOAD_MAX};
use super::slips::Slip;
use super::world::{Happening, Load, World, key_of};
use crate::queue::{MILLISECOND, Micros};

/// How long values are fresh: longer than a history.
const TTL_MS: u32 = 60_000;

/// A call that waits for a load.
pub(super) struct Waiting {
    call: Call,
    detail: Detail,
    outcome: Pin<Box<dyn Future<Output = LoadOutcome>>>,
}

impl World {
    pub(super) fn read(&mut self, call: Call, role: Role) {
        let (now, bytes) = (self.now(), key_of(call.key));
        let member = &self.members[&call.to];
        let route = member.standing(self.partition(call.key)).route;
        let duty = member.duty(role, &route, now);
        let cache = member.cache.clone();
        let (role, detail) = match answer(duty, role, member.group().spec.on_isolated) {
            Answer::LookUp(role, detail) => (role, Detail::of(role, detail)),
            Answer::CachedOrLastResort(role) => {
                let request = self.request(member, call.key, &bytes, role);
                if let Some(entry) = cache.get(&request) {
                    return self.answer(&call, &entry, Detail::Isolated);
                }
                (Role::LastResort, Detail::Isolated)
            }
            Answer::Refusal => {
                self.seen.refused += 1;
                return;
            }
        };
        let request = self.request(&self.members[&call.to], call.key, &bytes, role);
        self.seen.took_over += u64::from(duty == Duty::TakesOver);
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
        outcome: impl Future<Output = LoadOutcome> + 'static,
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
        let tenure = member.stamps(route.partition, self.slip).tenure;
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
        let began = match self.slip {
            Some(Slip::StandbyFromTheEnd) => self.now(),
            _ => began,
        };
        Fill {
            stamps: member.stamps(self.partition(key), self.slip),
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
}
