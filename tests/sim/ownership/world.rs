//! One history: clients, members and a leader, driven from one queue of happenings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gcache::cache::Lead;
use gcache::hash::KeyHash;
use gcache::ids::{GroupId, NodeId, Partition};
use gcache::topology::Refusal;
use gcache::topology::commands::Command;
use gcache::topology::lease::DOWN_MS;
use gcache::topology::state::State;
use gcache::topology::view::View;

use super::Seen;
use super::call::Call;
use super::carry::Carried;
use super::faults::Fault;
use super::member::Member;
use super::office::Office;
use super::oracle::Oracle;
use super::slips::Slip;
use super::stream::Stream;
use crate::cluster;
use crate::dice::Dice;
use crate::queue::{MILLISECOND, Micros, Queue};

/// How many keys there are.
pub(super) const KEYS: usize = 5;

/// The group they are of.
pub(super) const GROUP: &str = "scores";

/// Frontends: each with a view of its own age.
pub(super) const FRONTENDS: u64 = 2;

/// How long a member or a frontend tries to learn of an epoch, between attempts.
const LEARN_EVERY: Micros = 30 * MILLISECOND;

/// How long the first leader leads before anybody asks for anything: no other grant runs then.
pub(super) const WARM_UP: Micros = (DOWN_MS + 500) * MILLISECOND;

/// What happens.
pub(super) enum Happening {
    /// A client reads.
    Ask,
    /// A client changes a row, and deletes its key.
    Change,
    /// A call is there.
    Arrive(Call),
    /// A member looks whether a delete is done.
    Told(u64, u64, Call),
    /// A row is read for a load.
    ReadRow(u64),
    /// A load ends.
    Loaded(u64),
    /// A member, or a frontend, learns of what was committed.
    Learn { who: Who, start: u64, index: usize },
    /// A member looks after its lease.
    Lease { member: u64, start: u64 },
    /// The leader looks after everything.
    Office,
    /// A question of the leader is answered.
    Round(gcache::topology::leader::event::Question),
    /// Something that members say to each other.
    Carried(Carried),
    /// Something breaks.
    Fault,
    /// A fault is over.
    Mend(Fault),
}

/// Who follows the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Member(u64),
    Frontend(u64),
}

/// A load in the air.
pub(super) struct Load {
    pub(super) member: u64,
    pub(super) start: u64,
    pub(super) key: usize,
    pub(super) lead: Option<Lead>,
    pub(super) began: Micros,
    /// What the row was when it was read.
    pub(super) version: u64,
    /// The old owner was asked, and has not answered.
    pub(super) is_peeking: bool,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) queue: Queue<Happening>,
    pub(super) slip: Option<Slip>,
    /// Whether operators let standbys keep copies, now and then.
    pub(super) is_copied: bool,
    pub(super) log: Vec<(Arc<State>, Arc<View>)>,
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) frontends: BTreeMap<u64, usize>,
    /// Until when a frontend hears of no epoch.
    pub(super) stuck_until: BTreeMap<u64, Micros>,
    pub(super) office: Office,
    pub(super) streams: BTreeMap<u64, Stream>,
    pub(super) loads: BTreeMap<u64, Load>,
    /// Links that do not carry.
    pub(super) cut: BTreeSet<(u64, u64)>,
    /// The rows.
    pub(super) versions: [u64; KEYS],
    pub(super) oracle: Oracle,
    pub(super) seen: Seen,
    numbers: u64,
    is_told: bool,
    story: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, slip: Option<Slip>, is_told: bool) -> Self {
        let mut dice = Dice::new(seed ^ 0x6f77_6e65_7273);
        let count = dice.within(3..6);
        let mut state = cluster::founding(count);
        cluster::share(&mut state);
        state
            .apply(&cluster::one_group(GROUP))
            .expect("a first group");
        // A mistake is looked for where it can be made.
        let has_copies = match slip {
            Some(slip) => slip.is_about_copies(),
            None => dice.chance(600),
        };
        if has_copies {
            let two = Self::other_copies(&state);
            state.apply(&two).expect("a group may have two copies");
        }
        let voters = Self::odd_voters(&mut state);
        let view = Arc::new(state.view().expect("a sound topology"));
        let mut world = Self {
            queue: Queue::new(),
            slip,
            is_copied: has_copies,
            log: vec![(Arc::new(state), Arc::clone(&view))],
            members: BTreeMap::new(),
            frontends: (0..FRONTENDS).map(|number| (number, 0)).collect(),
            stuck_until: (0..FRONTENDS).map(|number| (number, 0)).collect(),
            office: Office::new(1, 1, voters, slip),
            streams: BTreeMap::new(),
            loads: BTreeMap::new(),
            cut: BTreeSet::new(),
            versions: [1; KEYS],
            oracle: Oracle::default(),
            seen: Seen::default(),
            numbers: 0,
            is_told,
            story: Vec::new(),
            dice,
        };
        for id in 1..=count {
            let member = Member::new(seed, id, 1, Arc::clone(&view));
            world.members.insert(id, member);
            let (phase, start) = (world.dice.within(0..500 * MILLISECOND), 1);
            world
                .queue
                .push(phase, Happening::Lease { member: id, start });
        }
        world.queue.push(0, Happening::Office);
        for first in [Happening::Ask, Happening::Change, Happening::Fault] {
            world.queue.push(WARM_UP, first);
        }
        world
    }

    /// Makes the number of voters odd, as a leader wants it. Returns it.
    fn odd_voters(state: &mut State) -> usize {
        let mut quorum = state.quorum().clone();
        if quorum.voters.len().is_multiple_of(2) {
            quorum.learners.extend(quorum.voters.pop_last());
        }
        let voters = quorum.voters.len();
        state.set_quorum(quorum);
        voters
    }

    pub(super) fn now(&self) -> Micros {
        self.queue.now()
    }

    /// Whether the first leader has led for so long that nobody else has granted a lease which still runs.
    pub(super) fn has_begun(&self) -> bool {
        self.now() >= WARM_UP
    }

    /// What was broken, with the story so far if it is told.
    pub(super) fn broken(&self) -> Option<String> {
        let broken = self.oracle.broken.as_ref()?;
        Some(format!("{}\n{broken}", self.story.join("\n")))
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.is_told {
            self.story.push(format!("{:>9} {}", self.now(), what()));
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The latest that was committed.
    pub(super) fn latest(&self) -> &Arc<State> {
        &self.log[self.log.len() - 1].0
    }

    pub(super) fn group(&self) -> GroupId {
        let (_, view) = &self.log[0];
        view.group_by_name(GROUP).expect("it is never removed").id
    }

    pub(super) fn hash(&self, key: usize) -> KeyHash {
        KeyHash::of(self.group(), &key_of(key))
    }

    pub(super) fn partition(&self, key: usize) -> Partition {
        self.hash(key).partition()
    }

    /// How long a message takes.
    pub(super) fn delay(&mut self) -> Micros {
        match self.dice.chance(50) {
            true => self.dice.within(1..60) * MILLISECOND,
            false => self.dice.within(100..3_000),
        }
    }

    /// Whether `from` is heard by `to` now.
    pub(super) fn carries(&self, from: u64, to: u64) -> bool {
        !self.cut.contains(&(from, to)) && !self.is_paused(to)
    }

    pub(super) fn is_paused(&self, id: u64) -> bool {
        self.members[&id].paused_until > self.now()
    }

    pub(super) fn step(&mut self) {
        let next = self.queue.pop().expect("clients ask for ever");
        match next {
            Happening::Ask => self.ask(),
            Happening::Change => self.change(),
            Happening::Arrive(call) => self.arrive(call),
            Happening::Told(member, start, call) => self.told(member, start, call),
            Happening::ReadRow(load) => self.read_row(load),
            Happening::Loaded(load) => self.loaded(load),
            Happening::Learn { who, start, index } => self.learn(who, start, index),
            Happening::Lease { member, start } => self.renew(member, start),
            Happening::Office => self.preside(),
            Happening::Round(question) => self.round_ended(question),
            Happening::Carried(carried) => self.carried(carried),
            Happening::Fault => self.fault(),
            Happening::Mend(fault) => self.mend(fault),
        }
    }

    /// Commits what is proposed, unless the state refuses it.
    pub(super) fn commit(&mut self, command: &Command) -> Result<(), Refusal> {
        let mut state = State::clone(self.latest());
        let before = state.epoch();
        state.apply(command)?;
        if state.epoch() == before {
            return Ok(());
        }
        self.tell(|| format!("epoch {}: {}", state.epoch(), short(command)));
        let view = Arc::new(state.view().expect("a sound topology"));
        self.log.push((Arc::new(state), view));
        let index = self.log.len() - 1;
        let members = self.members.iter();
        let members = members.map(|(id, member)| (Who::Member(*id), member.start));
        let frontends = self.frontends.keys().map(|id| (Who::Frontend(*id), 0));
        for (who, start) in members.chain(frontends).collect::<Vec<_>>() {
            // Replicas lag, some of them for long.
            let lag = match self.dice.chance(200) {
                true => self.dice.within(0..400) * MILLISECOND,
                false => 0,
            };
            let after = self.delay() + lag;
            self.queue
                .push(after, Happening::Learn { who, start, index });
        }
        Ok(())
    }

    fn learn(&mut self, who: Who, start: u64, index: usize) {
        let leader = self.office.on;
        match who {
            Who::Frontend(id) => {
                let until = self.stuck_until[&id];
                if until > self.now() {
                    let again = Happening::Learn { who, start, index };
                    return self.queue.push(until - self.now(), again);
                }
                let known = self.frontends.get_mut(&id).expect("frontends stay");
                *known = (*known).max(index);
            }
            Who::Member(id) => {
                if self.members[&id].start != start {
                    return;
                }
                let hears = id == leader || self.carries(leader, id);
                if !hears || self.is_paused(id) {
                    let again = Happening::Learn { who, start, index };
                    return self.queue.push(LEARN_EVERY, again);
                }
                self.follow(id, index);
            }
        }
    }

    fn ask(&mut self) {
        let after = self.dice.within(200..6_000);
        self.queue.push(after, Happening::Ask);
        let key = self.dice.within(0..KEYS as u64) as usize;
        self.seen.reads += 1;
        let call = Call::read(self.number(), key, self.now());
        self.send(call);
    }

    fn change(&mut self) {
        let after = self.dice.within(2..50) * MILLISECOND;
        self.queue.push(after, Happening::Change);
        let key = self.dice.within(0..KEYS as u64) as usize;
        self.versions[key] += 1;
        let version = self.versions[key];
        let call = Call::delete(self.number(), key, version, self.now());
        self.send(call);
    }

    /// Sends a call to whom its frontend takes for the owner, or if that one is not there to a stand-in.
    pub(super) fn send(&mut self, mut call: Call) {
        let frontend = call.number % FRONTENDS;
        let view = Arc::clone(&self.log[self.frontends[&frontend]].1);
        call.epoch = view.epoch();
        let route = view.route_of(self.partition(call.key));
        let id = |index: Option<_>| index.map(|index| view.at(index).id.0);
        let owner = id(route.owner);
        let is_cut_off = self.dice.chance(30);
        let reaches = |id: &u64| !self.is_paused(*id) && !is_cut_off;
        let reached = owner.filter(reaches);
        let standby = id(route.standby).filter(|id| !self.is_paused(*id));
        if call.is_delete() {
            let Some(owner) = owner else { return };
            (call.to, call.role) = (owner, gcache::cache::Role::Owner);
        } else if let Some(owner) = reached {
            (call.to, call.role) = (owner, gcache::cache::Role::Owner);
        } else if let Some(standby) = standby.filter(|_| !self.dice.chance(200)) {
            (call.to, call.role) = (standby, gcache::cache::Role::Standby);
        } else {
            let there: Vec<u64> = self.members.keys().copied().collect();
            let there: Vec<u64> = there
                .into_iter()
                .filter(|id| !self.is_paused(*id))
                .collect();
            let Some(last) = self.dice.pick(&there) else {
                return;
            };
            (call.to, call.role) = (last, gcache::cache::Role::LastResort);
        }
        let after = self.delay();
        self.queue.push(after, Happening::Arrive(call));
    }
}

/// The bytes of a key.
pub(super) fn key_of(key: usize) -> [u8; 4] {
    [b'k', b'e', b'y', b'0' + key as u8]
}

fn short(command: &Command) -> String {
    let mut text = format!("{command:?}");
    text.truncate(300);
    text
}

/// The member of this id.
pub(super) fn node(id: u64) -> NodeId {
    NodeId(id)
}
