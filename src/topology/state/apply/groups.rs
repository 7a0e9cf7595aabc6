//! Changes of groups: they are created, changed, removed and reset. Pure.
//!
//! Ids and generations only grow. A name that comes back gets a new id, so that entries of the earlier group
//! of that name are never found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::copies;
use super::epoch::{bump, next_epoch};
use crate::ids::{Epoch, Generation, GroupId};
use crate::topology::commands::refusal::Refusal;
use crate::topology::commands::{Change, GroupRef, GroupsChange, SetGroups};
use crate::topology::model::group::{Group, GroupSpec};
use crate::topology::model::rules::{MAX_GROUPS, is_group_name, wrong_field};
use crate::topology::state::specs::{Pool, Specs, text_bytes};
use crate::topology::state::{KEPT_REVISIONS, Revision, State};

/// The longest note of a revision.
pub(in crate::topology) const MAX_NOTE_BYTES: usize = 256;

/// The most bytes of text of all groups together: they are a part of every topology, and fit in one entry of
/// the log.
const MAX_SET_BYTES: usize = 512 << 10;

/// The most bytes of text of the revisions before the latest, each spec counted once.
const MAX_HISTORY_BYTES: usize = 1 << 20;

/// Makes the next revision of the groups.
pub(super) fn set(state: &mut State, set: &SetGroups) -> Result<Change, Refusal> {
    check(state, set)?;
    let before = state.revisions.last();
    let mut specs: Specs = before
        .map(|last| (*last.groups).clone())
        .unwrap_or_default();
    for name in &set.removed {
        specs.remove(name);
    }
    for (name, spec) in &set.upserts {
        if specs.get(name).is_none_or(|known| **known != *spec) {
            specs.insert(name.clone(), Arc::new(spec.clone()));
        }
    }
    check_set(&specs)?;
    if before.map_or(specs.is_empty(), |last| *last.groups == specs) {
        return Ok(Change::Nothing);
    }
    let upserts: BTreeMap<_, _> = set
        .upserts
        .iter()
        .map(|(name, spec)| (name, spec))
        .collect();
    let copied = copied(state);
    state
        .groups
        .retain(|_, group| !set.removed.contains(&group.name));
    let mut changed = Vec::new();
    for (name, spec) in upserts {
        let (id, generation) = upsert(state, name, spec)?;
        changed.push((name.clone(), id, generation));
    }
    let number = set.expected + 1;
    state.revisions.push(Revision {
        number,
        at_unix_ms: set.at_unix_ms,
        note: set.note.as_str().into(),
        groups: Arc::new(specs),
    });
    forget(&mut state.revisions);
    let is_other = |(id, now): (&GroupId, &u8)| copied.get(id).is_some_and(|was| was != now);
    let had_copies = copied.values().any(|copies| *copies > 1);
    if self::copied(state).iter().any(is_other) || had_copies != state.has_copies() {
        copies::renew(state);
    }
    bump(state);
    Ok(Change::Groups(GroupsChange {
        epoch: state.epoch,
        revision: number,
        groups: changed,
    }))
}

/// The number of copies of each group.
fn copied(state: &State) -> BTreeMap<GroupId, u8> {
    let groups = state.groups.values();
    groups.map(|group| (group.id, group.spec.copies)).collect()
}

/// Checks that the command is for this state and names each group once.
fn check(state: &State, set: &SetGroups) -> Result<(), Refusal> {
    let found = state.revision();
    if set.expected != found {
        return Err(Refusal::StaleRevision {
            expected: set.expected,
            found,
        });
    }
    if set.note.len() > MAX_NOTE_BYTES {
        return Err(Refusal::NoteTooLong {
            found: set.note.len(),
            most: MAX_NOTE_BYTES,
        });
    }
    let mut named = BTreeSet::new();
    let upserted = set.upserts.iter().map(|(name, _)| name);
    for name in upserted.chain(&set.removed) {
        if !named.insert(name) {
            return Err(Refusal::GroupNamedTwice(name.clone()));
        }
    }
    for (name, spec) in &set.upserts {
        check_spec(name, spec)?;
    }
    for name in &set.removed {
        by_name(state, name)?;
    }
    Ok(())
}

/// Checks the name and the spec of a group.
pub(in crate::topology) fn check_spec(name: &Arc<str>, spec: &GroupSpec) -> Result<(), Refusal> {
    if !is_group_name(name) {
        return Err(Refusal::BadGroupName(name.clone()));
    }
    match wrong_field(spec) {
        None => Ok(()),
        Some(field) => Err(Refusal::BadGroup {
            group: name.clone(),
            field,
        }),
    }
}

/// Checks that all groups together are within their bounds.
pub(in crate::topology) fn check_set(specs: &Specs) -> Result<(), Refusal> {
    if specs.len() > MAX_GROUPS {
        return Err(Refusal::TooManyGroups(specs.len()));
    }
    let found = specs
        .iter()
        .map(|(name, spec)| text_bytes(name, spec))
        .sum();
    if found > MAX_SET_BYTES {
        return Err(Refusal::GroupsTooLarge {
            found,
            most: MAX_SET_BYTES,
        });
    }
    Ok(())
}

/// Creates a group or changes it. Only another source makes its entries void, because they may be of other
/// rows.
fn upsert(
    state: &mut State,
    name: &Arc<str>,
    spec: &GroupSpec,
) -> Result<(GroupId, Generation), Refusal> {
    let Ok(id) = by_name(state, name) else {
        let id = state.next_group;
        let next = id.0.checked_add(1).ok_or(Refusal::Exhausted("group ids"))?;
        state.next_group = GroupId(next);
        let group = Group {
            id,
            name: name.clone(),
            generation: Generation(1),
            copies_since: Epoch(0),
            spec: spec.clone(),
        };
        let generation = group.generation;
        state.groups.insert(id, group);
        return Ok((id, generation));
    };
    let at = next_epoch(state);
    let group = group_mut(state, id);
    if group.spec.source != spec.source {
        group.generation = next_generation(group)?;
    }
    if group.spec.copies != spec.copies {
        group.copies_since = at;
    }
    group.spec = spec.clone();
    Ok((id, group.generation))
}

/// Makes every entry of a group void.
pub(super) fn reset(state: &mut State, group: &GroupRef) -> Result<Change, Refusal> {
    let id = match group {
        GroupRef::Name(name) => by_name(state, name)?,
        GroupRef::Id(id) if state.groups.contains_key(id) => *id,
        GroupRef::Id(id) => return Err(Refusal::UnknownGroupId(*id)),
    };
    let group = group_mut(state, id);
    let generation = next_generation(group)?;
    group.generation = generation;
    bump(state);
    Ok(Change::Reset(id, generation))
}

fn by_name(state: &State, name: &Arc<str>) -> Result<GroupId, Refusal> {
    let mut groups = state.groups.values();
    groups
        .find(|group| group.name == *name)
        .map(|group| group.id)
        .ok_or_else(|| Refusal::UnknownGroup(name.clone()))
}

fn group_mut(state: &mut State, id: GroupId) -> &mut Group {
    state
        .groups
        .get_mut(&id)
        .expect("the caller has found this group")
}

fn next_generation(group: &Group) -> Result<Generation, Refusal> {
    let next = group.generation.0.checked_add(1);
    next.map(Generation)
        .ok_or(Refusal::Exhausted("generations"))
}

/// Drops the oldest revisions beyond the bounds; never the latest.
fn forget(revisions: &mut Vec<Revision>) {
    let mut pool = Pool::default();
    let mut bytes = 0;
    let mut kept = 0;
    for revision in revisions.iter().rev().take(KEPT_REVISIONS) {
        for (name, spec) in revision.groups.iter() {
            let (_, is_new) = pool.add(name, spec);
            if is_new && kept > 0 {
                bytes += text_bytes(name, spec);
            }
        }
        if bytes > MAX_HISTORY_BYTES {
            break;
        }
        kept += 1;
    }
    revisions.drain(..revisions.len() - kept);
}
