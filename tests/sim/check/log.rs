//! One log and one state: the committed entries, and what applying each of them once makes.
//!
//! The checker keeps a state of its own that it applies every entry to, so that a mistake that all
//! nodes make alike is found as well.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::Arc;

use bytes::Bytes;
use gcache::topology::commands::Command;
use gcache::topology::model::quorum::Quorum;
use gcache::topology::state::State;
use prost::Message as _;
use xxhash_rust::xxh3::Xxh3Default;

use super::leaders::Leaders;
use super::leases::Downs;
use super::members::Members;
use super::quorum;
use crate::violation::{Checked, Promise, Violation, ensure};
use crate::wire::Entry;

/// The index of the founding snapshot.
const FOUNDING: u64 = 1;

/// States that are kept to compare whole ones with.
const STATES_KEPT: u64 = 64;

/// Indexes after which a whole state is compared, and not only what changes often.
const COMPARED_EVERY: u64 = 16;

/// The kind of an entry that carries a command.
const NORMAL: i32 = 0;

/// The committed log.
pub(crate) struct Committed {
    /// By index: term and encoding.
    entries: BTreeMap<u64, (u64, Bytes)>,
    /// What applying all of them makes.
    state: Arc<State>,
    /// The quorum before the last change of it: entries may be committed by it until the leader applies
    /// the change.
    previous: Quorum,
    /// The index of that change.
    changed: u64,
    /// By index: what the state was after it.
    points: BTreeMap<u64, Point>,
    members: Members,
    /// When members were failed over.
    pub(crate) downs: Downs,
    /// By index: the command that was acknowledged there, if its entry was not seen yet.
    awaited: BTreeMap<u64, Bytes>,
    /// Members whose disk was wiped: what they held counts as held.
    pub(crate) lost: BTreeSet<u64>,
}

/// The state after an index.
struct Point {
    /// Of what changes often and is quickly hashed.
    print: u64,
    epoch: u64,
    /// All of it; only after the last indexes, since it is large.
    state: Option<Arc<State>>,
    /// The hash of all of it, once somebody has asked.
    hash: OnceCell<u64>,
}

impl Committed {
    /// The log of a cluster that was founded with this state.
    pub(crate) fn new(founding: State) -> Self {
        let mut log = Self {
            entries: BTreeMap::new(),
            members: Members::default(),
            downs: Downs::default(),
            previous: founding.quorum().clone(),
            changed: FOUNDING,
            state: Arc::new(founding),
            points: BTreeMap::new(),
            awaited: BTreeMap::new(),
            lost: BTreeSet::new(),
        };
        log.mark(FOUNDING);
        log
    }

    /// The index of the last entry that anyone has seen committed.
    pub(crate) fn last(&self) -> u64 {
        self.entries
            .last_key_value()
            .map_or(FOUNDING, |(index, _)| *index)
    }

    /// The index of the last change of the quorum.
    pub(crate) fn changed(&self) -> u64 {
        self.changed
    }

    /// The state after all committed entries.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The hash of the state at `index`, if that was lately.
    pub(crate) fn hash(&self, index: u64) -> Option<u64> {
        let point = self.points.get(&index)?;
        let state = point.state.as_ref()?;
        Some(*point.hash.get_or_init(|| state.hash()))
    }

    /// The epoch at `index`.
    pub(crate) fn epoch(&self, index: u64) -> Option<u64> {
        self.points.get(&index).map(|point| point.epoch)
    }

    /// `node` holds these to be committed: each index, term and encoding.
    pub(crate) fn committed(
        &mut self,
        node: u64,
        entries: &[(u64, u64, Bytes)],
        leaders: &Leaders,
        is_held: impl Fn(u64, u64, u64) -> bool,
    ) -> Checked {
        for (index, term, bytes) in entries {
            if let Some((known, same)) = self.entries.get(index) {
                ensure((known, same) == (term, bytes), Promise::SameEntries, || {
                    format!("node {node} has another entry {index}, of term {term} and not {known}")
                })?;
                continue;
            }
            ensure(*index == self.last() + 1, Promise::SameEntries, || {
                format!(
                    "node {node} has entry {index}, and the last before is {}",
                    self.last()
                )
            })?;
            let is_safe = [self.state.quorum(), &self.previous]
                .into_iter()
                .any(|quorum| {
                    quorum.is_quorum(|id| self.lost.contains(&id.0) || is_held(id.0, *index, *term))
                });
            ensure(is_safe, Promise::AcknowledgedIsKept, || {
                format!(
                    "node {node} commits entry {index} of term {term}, which no majority has synced"
                )
            })?;
            self.apply(*index, *term, bytes, leaders)?;
        }
        Ok(())
    }

    /// The next entry.
    fn apply(&mut self, index: u64, term: u64, bytes: &Bytes, leaders: &Leaders) -> Checked {
        let entry = Entry::decode(&bytes[..]).map_err(|error| {
            Violation::new(
                Promise::SameEntries,
                format!("entry {index} is unreadable: {error}"),
            )
        })?;
        self.entries.insert(index, (term, bytes.clone()));
        if let Some(command) = self.awaited.remove(&index) {
            self.acknowledged(index, command)?;
        }
        if entry.kind != NORMAL {
            let next = quorum::after(&self.state, &entry.data);
            if let Some(next) = next {
                quorum::check(self.state.quorum(), &next, leaders.of(term), index)?;
                self.previous = self.state.quorum().clone();
                self.changed = index;
                Arc::make_mut(&mut self.state).set_quorum(next);
            }
        } else if !entry.data.is_empty() {
            let command = Command::decode(&entry.data).map_err(|error| {
                Violation::new(
                    Promise::SameEntries,
                    format!("entry {index} is unreadable: {error}"),
                )
            })?;
            let (was, before) = (self.state.clone(), self.state.epoch().0);
            let (needed, known) = (command.version(), self.state.known_version());
            // A refusal changes nothing, as the hash says if it does.
            let outcome = Arc::make_mut(&mut self.state).apply(&command);
            let is_known = needed <= known || outcome.is_err();
            ensure(is_known, Promise::CommandsAreKnown, || {
                format!("entry {index} needs version {needed}, and a member knows {known}")
            })?;
            let grown = self.state.epoch().0.wrapping_sub(before);
            ensure(grown <= 1, Promise::EpochsCount, || {
                format!(
                    "entry {index} makes epoch {before} to {}",
                    self.state.epoch()
                )
            })?;
            self.downs.seen(&was, &self.state);
            self.members.seen(&self.state)?;
        }
        self.mark(index);
        Ok(())
    }

    fn mark(&mut self, index: u64) {
        let point = Point {
            print: print(&self.state),
            epoch: self.state.epoch().0,
            state: Some(self.state.clone()),
            hash: OnceCell::new(),
        };
        self.points.insert(index, point);
        let old = index
            .checked_sub(STATES_KEPT)
            .and_then(|old| self.points.get_mut(&old));
        if let Some(old) = old {
            old.state = None;
        }
    }

    /// `node` has applied up to `index`, and this is its state.
    pub(crate) fn applied(&self, node: u64, index: u64, state: &State) -> Checked {
        let Some(point) = self.points.get(&index) else {
            // A joiner without a snapshot has applied nothing.
            return ensure(index == 0, Promise::SameState, || {
                format!(
                    "node {node} applied {index}, and the last commit is {}",
                    self.last()
                )
            });
        };
        ensure(state.epoch().0 == point.epoch, Promise::SameState, || {
            format!(
                "node {node} is at epoch {} at index {index}, and not at {}",
                state.epoch(),
                point.epoch
            )
        })?;
        let is_due = index.is_multiple_of(COMPARED_EVERY);
        let whole = point.state.as_ref().filter(|_| is_due);
        let is_same = print(state) == point.print && whole.is_none_or(|whole| **whole == *state);
        ensure(is_same, Promise::SameState, || {
            format!("node {node} has another state at index {index}")
        })
    }

    /// At the end: `node` has applied all, and this is its state.
    pub(crate) fn ended(&self, node: u64, state: &State) -> Checked {
        ensure(*state == *self.state, Promise::SameState, || {
            format!("node {node} has another state at the end")
        })
    }

    /// A client was told that its command is committed at `index`.
    pub(crate) fn acknowledged(&mut self, index: u64, command: Bytes) -> Checked {
        let Some((_, bytes)) = self.entries.get(&index) else {
            self.awaited.insert(index, command);
            return Ok(());
        };
        let entry = Entry::decode(&bytes[..]).unwrap_or_default();
        ensure(
            entry.data == command[..],
            Promise::AcknowledgedIsKept,
            || format!("entry {index} is not the command that was acknowledged there"),
        )
    }

    /// At the end: nothing that was acknowledged is still to be seen.
    pub(crate) fn finish(&self) -> Checked {
        ensure(self.awaited.is_empty(), Promise::AcknowledgedIsKept, || {
            format!("acknowledged at {:?} and never seen", self.awaited.keys())
        })
    }
}

/// A hash of what changes often in `state`. The whole takes too long to be compared after every entry.
fn print(state: &State) -> u64 {
    let mut hash = Xxh3Default::new();
    let mut add = |number: u64| hash.write_u64(number);
    add(state.epoch().0);
    add(state.next_node().0);
    add(state.revision());
    for member in state.members() {
        add(member.id.0);
        add(member.nonce);
        add(member.status as u64);
    }
    for tombstone in state.tombstones() {
        add(tombstone.id.0);
    }
    for group in state.groups() {
        add(u64::from(group.id.0));
        add(u64::from(group.generation.0));
    }
    let quorum = state.quorum();
    for half in [
        &quorum.voters,
        &quorum.outgoing,
        &quorum.learners,
        &quorum.learners_next,
    ] {
        add(half.len() as u64);
        half.iter().for_each(|id| add(id.0));
    }
    hash.finish()
}
