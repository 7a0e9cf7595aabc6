//! Which group holds which lane, which statements wait, and which is next: the state behind
//! [`Lanes`](super::Lanes).
//!
//! Pure: it neither waits nor opens nor drops connections. `lanes` calls it under its lock and does
//! those things outside of it. After every change the caller asks [`Table::settle`] which waiters to
//! serve, so between two calls none waits for which there is room.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use tokio::sync::oneshot;

/// How much may be in use at once.
#[derive(Clone, Copy, Debug)]
pub(in crate::origin::postgres) struct Limits {
    /// Lanes of all groups together, at least 1. One group holds at most three quarters of them.
    pub(in crate::origin::postgres) connections: usize,
    /// Statements in flight on one lane, at least 1.
    pub(in crate::origin::postgres) depth: usize,
}

/// What is in use now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::origin::postgres) struct Counts {
    /// Open lanes.
    pub(in crate::origin::postgres) open: usize,
    /// Lanes that are being opened, and for a moment those that are being closed.
    pub(in crate::origin::postgres) opening: usize,
    /// Statements that have a seat.
    pub(in crate::origin::postgres) in_flight: usize,
    /// Statements that wait for one.
    pub(in crate::origin::postgres) waiting: usize,
}

/// What a statement was given.
#[derive(Debug)]
pub(super) enum Grant<C> {
    /// The right, and the duty, to open a lane.
    Open,
    /// A seat on an open lane.
    Join { lane: u64, connection: Arc<C> },
}

/// A waiter that was served: the grant is counted as its own, and has yet to be sent.
pub(super) struct Served<C, K> {
    pub(super) group: K,
    pub(super) waiter: oneshot::Sender<Grant<C>>,
    pub(super) grant: Grant<C>,
}

struct OpenLane<C> {
    id: u64,
    connection: Arc<C>,
    in_flight: usize,
    /// Takes no more statements: condemned, or promised to another group.
    leaving: bool,
}

struct Group<C> {
    lanes: Vec<OpenLane<C>>,
    opening: usize,
    /// By ticket: first come first served, and leaving the queue early is cheap.
    waiting: BTreeMap<u64, oneshot::Sender<Grant<C>>>,
    /// When it was last given a place to open a lane in.
    last_turn: u64,
}

impl<C> Default for Group<C> {
    fn default() -> Self {
        Self {
            lanes: Vec::new(),
            opening: 0,
            waiting: BTreeMap::new(),
            last_turn: 0,
        }
    }
}

impl<C> Group<C> {
    /// Its part of the connections, leaving lanes included.
    fn held(&self) -> usize {
        self.lanes.len() + self.opening
    }

    /// Its part of the connections once the leaving lanes have gone.
    fn staying(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.leaving).count() + self.opening
    }

    fn lane(&mut self, id: u64) -> &mut OpenLane<C> {
        self.lanes
            .iter_mut()
            .find(|lane| lane.id == id)
            .expect("a lane stays in the table while it has seats")
    }

    /// The lane with the fewest statements in flight among those that take one more.
    fn joinable(&mut self, depth: usize) -> Option<&mut OpenLane<C>> {
        self.lanes
            .iter_mut()
            .filter(|lane| !lane.leaving && lane.in_flight < depth)
            .min_by_key(|lane| lane.in_flight)
    }
}

/// The table of lanes and waiters.
pub(super) struct Table<C, K> {
    limits: Limits,
    /// Lanes that one group may hold.
    share: usize,
    groups: HashMap<K, Group<C>>,
    counts: Counts,
    /// Gives lanes, tickets and turns their numbers, and thereby their order.
    clock: u64,
}

impl<C, K: Copy + Eq + Hash> Table<C, K> {
    pub(super) fn new(limits: Limits) -> Self {
        assert!(
            limits.connections > 0 && limits.depth > 0,
            "nothing could ever be seated"
        );
        Self {
            limits,
            share: (limits.connections * 3 / 4).max(1),
            groups: HashMap::new(),
            counts: Counts::default(),
            clock: 0,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// A place for one statement of `group`, if there is one: a new lane rather than a shared one.
    ///
    /// A newcomer cannot overtake the waiters of its group: they wait because there is none.
    pub(super) fn admit(&mut self, group: K) -> Option<Grant<C>> {
        let room = self.has_room();
        let state = self.groups.entry(group).or_default();
        if room && state.held() < self.share {
            self.clock += 1;
            state.last_turn = self.clock;
            state.opening += 1;
            self.counts.opening += 1;
            return Some(Grant::Open);
        }
        let lane = state.joinable(self.limits.depth)?;
        lane.in_flight += 1;
        self.counts.in_flight += 1;
        Some(Grant::Join {
            lane: lane.id,
            connection: Arc::clone(&lane.connection),
        })
    }

    /// Puts a statement of `group` at the end of the group's queue, and returns its ticket.
    pub(super) fn wait(&mut self, group: K, waiter: oneshot::Sender<Grant<C>>) -> u64 {
        self.clock += 1;
        let state = self.groups.entry(group).or_default();
        state.waiting.insert(self.clock, waiter);
        self.counts.waiting += 1;
        // One more waiter serves nobody, but somebody may have to make room for it.
        let ticket = self.clock;
        self.retire_for_starving();
        ticket
    }

    /// Takes a waiter out of the queue. False if it was served before.
    pub(super) fn forget(&mut self, group: K, ticket: u64) -> bool {
        let Some(state) = self.groups.get_mut(&group) else {
            return false;
        };
        let waited = state.waiting.remove(&ticket).is_some();
        if waited {
            self.counts.waiting -= 1;
            self.remove_if_idle(group);
        }
        waited
    }

    /// Turns a place of `group` into a lane on `connection`, with the opener's statement on it.
    pub(super) fn opened(&mut self, group: K, connection: Arc<C>) -> u64 {
        self.clock += 1;
        let id = self.clock;
        let state = self.state(group);
        state.opening -= 1;
        state.lanes.push(OpenLane {
            id,
            connection,
            in_flight: 1,
            leaving: false,
        });
        self.counts.opening -= 1;
        self.counts.open += 1;
        self.counts.in_flight += 1;
        id
    }

    /// Gives up a place of `group` in which no lane was opened, or from which one is gone.
    pub(super) fn give_up(&mut self, group: K) {
        self.state(group).opening -= 1;
        self.counts.opening -= 1;
        self.remove_if_idle(group);
    }

    /// Takes a statement off its lane. The lane goes with the last one: then its connection is
    /// returned, and the place stays taken until the caller has dropped it and calls
    /// [`Table::give_up`], so that there is never one connection more than allowed.
    #[must_use]
    pub(super) fn leave(&mut self, group: K, lane: u64) -> Option<Arc<C>> {
        self.counts.in_flight -= 1;
        let state = self.state(group);
        let left = state.lane(lane);
        left.in_flight -= 1;
        if left.in_flight > 0 {
            return None;
        }
        let at = state.lanes.iter().position(|other| other.id == lane)?;
        let gone = state.lanes.swap_remove(at);
        state.opening += 1;
        self.counts.open -= 1;
        self.counts.opening += 1;
        Some(gone.connection)
    }

    /// Lets no more statements onto a lane.
    pub(super) fn condemn(&mut self, group: K, lane: u64) {
        self.state(group).lane(lane).leaving = true;
    }

    /// Serves the waiters for which the last change, one of `group`, made room.
    pub(super) fn settle(&mut self, group: K) -> Vec<Served<C, K>> {
        let mut served = Vec::new();
        if self.counts.waiting == 0 {
            return served;
        }
        // A free place concerns every group, a seat on a lane only the lane's.
        while self.has_room()
            && let Some(one) = self.neediest().and_then(|neediest| self.serve(neediest))
        {
            served.push(one);
        }
        while let Some(one) = self.serve(group) {
            served.push(one);
        }
        self.retire_for_starving();
        served
    }

    fn serve(&mut self, group: K) -> Option<Served<C, K>> {
        self.groups.get(&group)?.waiting.first_key_value()?;
        let grant = self.admit(group)?;
        let (_, waiter) = self.state(group).waiting.pop_first()?;
        self.counts.waiting -= 1;
        Some(Served {
            group,
            waiter,
            grant,
        })
    }

    /// Chooses which group gets a free place: the one that holds the least, among equals the one whose turn was
    /// longest ago. Not the longest waiter: a slow group's backlog is all older than the first
    /// statement of a group that comes later.
    fn neediest(&self) -> Option<K> {
        self.groups
            .iter()
            .filter(|(_, state)| state.held() < self.share)
            .filter_map(|(group, state)| {
                let (ticket, _) = state.waiting.first_key_value()?;
                Some(((state.held(), state.last_turn, *ticket), *group))
            })
            .min_by_key(|(need, _)| *need)
            .map(|(_, group)| group)
    }

    /// Marks lanes as leaving until one is under way for every group that waits and holds too little:
    /// nothing, or two less than the group that holds the most. Leaving lanes still count as held by
    /// their group, or it would starve at once and take the next group's lane in its turn.
    fn retire_for_starving(&mut self) {
        let mut leaving = self
            .groups
            .values()
            .flat_map(|state| &state.lanes)
            .filter(|lane| lane.leaving)
            .count();
        while let Some((most, lane)) = self.richest() {
            let starving = self
                .groups
                .values()
                .filter(|state| !state.waiting.is_empty())
                .filter(|state| state.held() == 0 || state.held() + 2 <= most)
                .count();
            if leaving >= starving {
                return;
            }
            self.condemn(lane.0, lane.1);
            leaving += 1;
        }
    }

    /// Returns how much the group holds that holds the most, and which of its lanes it can best do without:
    /// the one that will be free first. Among equals the group with the oldest lane, which makes the
    /// lanes go round where there are more groups than connections.
    fn richest(&self) -> Option<(usize, (K, u64))> {
        let (group, state, _) = self
            .groups
            .iter()
            .filter_map(|(group, state)| {
                let oldest = staying(state).map(|lane| lane.id).min()?;
                Some((group, state, (state.staying(), Reverse(oldest))))
            })
            .max_by_key(|(_, _, wealth)| *wealth)?;
        let lane = staying(state).min_by_key(|lane| (lane.in_flight, lane.id))?;
        Some((state.staying(), (*group, lane.id)))
    }

    fn has_room(&self) -> bool {
        self.counts.open + self.counts.opening < self.limits.connections
    }

    fn state(&mut self, group: K) -> &mut Group<C> {
        self.groups
            .get_mut(&group)
            .expect("a group stays in the table while it holds or awaits anything")
    }

    /// Groups come and go with the configuration; the table remembers only those at work.
    fn remove_if_idle(&mut self, group: K) {
        let state = self.state(group);
        if state.held() == 0 && state.waiting.is_empty() {
            self.groups.remove(&group);
        }
    }
}

fn staying<C>(state: &Group<C>) -> impl Iterator<Item = &OpenLane<C>> {
    state.lanes.iter().filter(|lane| !lane.leaving)
}

#[cfg(test)]
impl<C, K: Copy + Eq + Hash> Table<C, K> {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The lanes that `group` holds and may keep.
    pub(super) fn staying(&self, group: K) -> usize {
        self.groups.get(&group).map_or(0, Group::staying)
    }

    /// Checks everything that must hold between two calls.
    pub(super) fn audit(&self) {
        let mut found = Counts::default();
        for state in self.groups.values() {
            assert!(
                state.held() > 0 || !state.waiting.is_empty(),
                "an idle group was kept"
            );
            assert!(
                state.held() <= self.share,
                "a group holds more than its share"
            );
            for lane in &state.lanes {
                assert!((1..=self.limits.depth).contains(&lane.in_flight));
                found.in_flight += lane.in_flight;
            }
            found.open += state.lanes.len();
            found.opening += state.opening;
            found.waiting += state.waiting.len();
            if !state.waiting.is_empty() {
                assert!(
                    !(self.has_room() && state.held() < self.share),
                    "one waits who could open"
                );
                assert!(
                    staying(state).all(|lane| lane.in_flight == self.limits.depth),
                    "one waits who could join"
                );
            }
        }
        assert_eq!(found, self.counts);
        assert!(found.open + found.opening <= self.limits.connections);
    }
}
