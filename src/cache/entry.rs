//! One cached answer: key, value and everything that decides whether it may be served, in one
//! allocation.
//!
//! An [`Entry`] is a counted pointer: a hit clones the pointer and nothing else, and bytes handed
//! out stay valid after the cache has dropped them. Made by a flight that lands or by a transfer
//! from another member; judged by `shard` under the shard's lock.

use std::fmt;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use triomphe::ThinArc;

use super::load::{LoadError, LoadErrorKind};
use super::request::Role;
use crate::ids::{Generation, GroupId, Millis, Partition, Tenure};
use crate::topology::view::Stamps;

/// What an entry says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The origin has the key; [`Entry::value`] is its value.
    Value,
    /// The origin has no such key; the value is empty.
    Negative,
    /// The load failed; the value is the message, see [`Entry::error`].
    Error(LoadErrorKind),
}

/// How far an entry is into its life at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Within its lifetime: served without a word.
    Fresh,
    /// Within the `stale` window: served while one refresh runs.
    Stale,
    /// Past `stale`, within `stale_if_error`: served only because the origin fails.
    StaleOnError,
    /// Beyond every window: never served again.
    Dead,
}

/// Everything an entry is made of: what a transfer carries from one member to another.
///
/// Together the three lifetimes never pass `u32::MAX` ms (49.7 days); [`Entry::new`] cuts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryParts<'a> {
    /// The partition of the key.
    pub partition: Partition,
    /// The group of the key.
    pub group: GroupId,
    /// The key.
    pub key: &'a [u8],
    /// The value; the message if `kind` is an error.
    pub value: &'a [u8],
    /// What the entry says.
    pub kind: Kind,
    /// Filled by a standby in place of the owner: invisible to an owner.
    pub standby: bool,
    /// The ownership under which the value was asked for.
    pub tenure: Tenure,
    /// The version of the group's content for which it was asked.
    pub generation: Generation,
    /// When the value arrived, on this process's clock.
    pub filled_at: Millis,
    /// How long after `filled_at` it is fresh.
    pub fresh_ms: u32,
    /// How long after that it may be served while one refresh runs.
    pub stale_ms: u32,
    /// How long after `fresh_ms` it may be served because the origin fails.
    pub stale_if_error_ms: u32,
}

/// The metadata in front of key and value. Frozen: transfers carry these fields.
///
/// 48 bytes without padding: memory per entry is one of the numbers we are measured by.
struct Meta {
    filled_at: Millis,
    tenure: Tenure,
    group: GroupId,
    generation: Generation,
    /// Lowered by `expire`, never raised. Written under the shard's lock; read without it by holders of a
    /// handle, for which either value is a true answer.
    fresh_ms: AtomicU32,
    stale_ms: u32,
    stale_if_error_ms: u32,
    /// The age until which the origin is not asked again, after a failed refresh. Same access rule.
    hold_ms: AtomicU32,
    key_len: u16,
    /// When its use was last reported to the members that keep copies, in units of
    /// [`REPORTED_EVERY_MS`]; it wraps.
    reported: AtomicU16,
    partition: Partition,
    kind: Kind,
    filler: Filler,
}

/// Which member an entry comes from, and in what role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filler {
    /// This member, as the owner, or the owner before.
    Owner,
    /// This member, in place of the owner.
    Standby,
    /// The owner, with this member as its standby.
    Copy,
}

/// How often the members that keep copies hear that an entry is used, so that they keep it as long as the
/// owner does.
pub const REPORTED_EVERY_MS: u64 = 4_096;

const _: () = assert!(
    crate::hash::MAX_KEY_BYTES <= u16::MAX as usize,
    "the length of a key fits"
);

const _: () = assert!(size_of::<Meta>() == 48, "memory per entry is accounted for");

/// Bytes of every entry's allocation that are neither key nor value: the metadata, the reference
/// count and the length.
pub(super) const HEADER_BYTES: usize = size_of::<Meta>() + 2 * size_of::<usize>();

/// A cached answer. Cloning is one atomic increment; the bytes are shared and never change.
#[derive(Clone)]
pub struct Entry(ThinArc<Meta, u8>);

impl Entry {
    /// Copies key and value into one new allocation, so that an entry never keeps a larger buffer
    /// alive: a 16-byte value must not pin the 64 KiB frame it arrived in.
    #[must_use]
    pub fn new(parts: &EntryParts<'_>) -> Self {
        let filler = match parts.standby {
            true => Filler::Standby,
            false => Filler::Owner,
        };
        Self::filled(parts, filler)
    }

    /// The same, as a copy of what the owner has.
    #[must_use]
    pub(super) fn copy(parts: &EntryParts<'_>) -> Self {
        Self::filled(parts, Filler::Copy)
    }

    fn filled(parts: &EntryParts<'_>, filler: Filler) -> Self {
        let windows = u32::MAX - parts.fresh_ms;
        let meta = Meta {
            filled_at: parts.filled_at,
            tenure: parts.tenure,
            group: parts.group,
            generation: parts.generation,
            fresh_ms: AtomicU32::new(parts.fresh_ms),
            stale_ms: parts.stale_ms.min(windows),
            stale_if_error_ms: parts.stale_if_error_ms.min(windows),
            hold_ms: AtomicU32::new(0),
            key_len: u16::try_from(parts.key.len()).expect("keys are at most MAX_KEY_BYTES"),
            reported: AtomicU16::new(0),
            partition: parts.partition,
            kind: parts.kind,
            filler,
        };
        // The crate takes one slice; building it byte by byte through an iterator would cost more
        // than this second copy.
        let bytes = [parts.key, parts.value].concat();
        Self(ThinArc::from_header_and_slice(meta, &bytes))
    }

    /// The same fields again, for a transfer. `fresh_ms` reflects an `expire`.
    #[must_use]
    pub fn parts(&self) -> EntryParts<'_> {
        let meta = self.meta();
        EntryParts {
            partition: meta.partition,
            group: meta.group,
            key: self.key(),
            value: self.value(),
            kind: meta.kind,
            standby: meta.filler == Filler::Standby,
            tenure: meta.tenure,
            generation: meta.generation,
            filled_at: meta.filled_at,
            fresh_ms: self.fresh_ms(),
            stale_ms: meta.stale_ms,
            stale_if_error_ms: meta.stale_if_error_ms,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.0.slice[..usize::from(self.meta().key_len)]
    }

    /// The value: empty for a negative entry, the message for an error.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.0.slice[usize::from(self.meta().key_len)..]
    }

    /// Returns what the entry says.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.meta().kind
    }

    /// The error of an entry that remembers a failed load.
    #[must_use]
    pub fn error(&self) -> Option<LoadError> {
        match self.kind() {
            Kind::Error(kind) => Some(LoadError::new(
                kind,
                String::from_utf8_lossy(self.value()).into_owned(),
            )),
            Kind::Value | Kind::Negative => None,
        }
    }

    /// The group of the key.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.meta().group
    }

    /// The partition of the key.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.meta().partition
    }

    /// The ownership under which it was filled.
    #[must_use]
    pub fn tenure(&self) -> Tenure {
        self.meta().tenure
    }

    /// The version of the group's content it belongs to.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.meta().generation
    }

    /// Whether a standby filled it in place of the owner.
    #[must_use]
    pub fn is_standby(&self) -> bool {
        self.meta().filler == Filler::Standby
    }

    /// Whether it came as a copy of what another member owned then.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.meta().filler == Filler::Copy
    }

    /// Whether it is time to report its use to the members that keep copies; it counts as reported then.
    pub(super) fn is_to_be_reported(&self, now: Millis) -> bool {
        let reported = (now.0 / REPORTED_EVERY_MS) as u16;
        let before = &self.meta().reported;
        let is_due = before.load(Ordering::Relaxed) != reported;
        if is_due {
            before.store(reported, Ordering::Relaxed);
        }
        is_due
    }

    /// Returns when it was filled.
    #[must_use]
    pub fn filled_at(&self) -> Millis {
        self.meta().filled_at
    }

    /// Milliseconds since it was filled; 0 if `now` is earlier.
    #[must_use]
    pub fn age_ms(&self, now: Millis) -> u64 {
        now.since(self.filled_at())
    }

    /// Milliseconds of freshness left; negative once it is over.
    #[must_use]
    pub fn ttl_left_ms(&self, now: Millis) -> i64 {
        i64::from(self.fresh_ms()).saturating_sub_unsigned(self.age_ms(now))
    }

    /// Returns how far into its life the entry is at `now`.
    #[must_use]
    pub fn phase(&self, now: Millis) -> Phase {
        let meta = self.meta();
        let (age, fresh) = (self.age_ms(now), u64::from(self.fresh_ms()));
        if age < fresh {
            Phase::Fresh
        } else if age < fresh + u64::from(meta.stale_ms) {
            Phase::Stale
        } else if age < fresh + u64::from(meta.stale_if_error_ms) {
            Phase::StaleOnError
        } else {
            Phase::Dead
        }
    }

    /// Whether this is a value that may be served at `now` although the origin fails.
    ///
    /// Ask again at the moment of serving: a fallback handed out before a load may be past its cap
    /// when the load has failed.
    #[must_use]
    pub fn serves_on_error(&self, now: Millis) -> bool {
        self.kind() == Kind::Value && self.phase(now) != Phase::Dead
    }

    /// Whether the two handles share one allocation.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ptr() == other.0.ptr()
    }

    /// Whether the origin is not to be asked before some later moment, because it just failed.
    pub(super) fn is_held(&self, now: Millis) -> bool {
        self.age_ms(now) < u64::from(self.meta().hold_ms.load(Ordering::Relaxed))
    }

    /// Keeps the origin from being asked for `ms` from `now`.
    pub(super) fn hold(&self, now: Millis, ms: u32) {
        let until = self.age_ms(now).saturating_add(u64::from(ms));
        self.meta()
            .hold_ms
            .store(saturated(until), Ordering::Relaxed);
    }

    /// Ends the freshness at `now`; the windows begin. No effect once it has ended.
    pub(super) fn end_freshness(&self, now: Millis) {
        self.meta()
            .fresh_ms
            .fetch_min(saturated(self.age_ms(now)), Ordering::Relaxed);
    }

    /// The first moment at which nothing may be served any more.
    pub(super) fn ends_at(&self) -> Millis {
        let meta = self.meta();
        let windows = meta.stale_ms.max(meta.stale_if_error_ms);
        meta.filled_at
            .plus(u64::from(self.fresh_ms()) + u64::from(windows))
    }

    /// Whether the entry is about this very key, not one with the same hash.
    pub(super) fn is_for(&self, group: GroupId, key: &[u8]) -> bool {
        self.meta().group == group && self.key() == key
    }

    /// Whether a caller with these stamps and this role may serve it, freshness aside.
    pub(super) fn is_valid(&self, stamps: &Stamps, role: Role) -> bool {
        let meta = self.meta();
        let accepts = match (role, meta.filler) {
            // The second where it is about to be known as the owner, by a fail-over: the owner before
            // acknowledges nothing any more.
            (Role::Standby, Filler::Copy) => {
                stamps.copies == Some(meta.tenure) || stamps.inherits == Some(meta.tenure)
            }
            (Role::Standby, Filler::Owner) => false,
            (Role::Owner | Role::LastResort, Filler::Standby) => false,
            _ => stamps.accept_tenure(meta.tenure),
        };
        meta.generation == stamps.generation && accepts
    }

    /// Whether no present or future view can make it valid, as far as `stamps` know.
    ///
    /// An entry *newer* than the stamps is not void: the caller's view is late, or the entry was
    /// transferred ahead of its activation.
    pub(super) fn is_void(&self, stamps: &Stamps) -> bool {
        let meta = self.meta();
        meta.generation < stamps.generation
            || (meta.tenure < stamps.tenure
                && !stamps.accept_tenure(meta.tenure)
                && stamps.copies != Some(meta.tenure))
    }

    /// Whether it carries a stamp above one of these.
    pub(super) fn is_newer_than(&self, tenure: Tenure, generation: Generation) -> bool {
        self.meta().tenure > tenure || self.meta().generation > generation
    }

    /// Length of key and value together.
    pub(super) fn payload_bytes(&self) -> usize {
        self.0.slice.len()
    }

    fn fresh_ms(&self) -> u32 {
        self.meta().fresh_ms.load(Ordering::Relaxed)
    }

    fn meta(&self) -> &Meta {
        &self.0.header.header
    }
}

/// Never shows the value or the key: both may be private.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("kind", &self.kind())
            .field("group", &self.group())
            .field("tenure", &self.tenure())
            .field("generation", &self.generation())
            .field("filled_at", &self.filled_at())
            .field("payload_bytes", &self.payload_bytes())
            .finish_non_exhaustive()
    }
}

/// `ms` as 32 bits, stopping at the largest.
pub(super) fn saturated(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(key: &'a [u8], value: &'a [u8]) -> EntryParts<'a> {
        EntryParts {
            partition: Partition(7),
            group: GroupId(3),
            key,
            value,
            kind: Kind::Value,
            standby: false,
            tenure: Tenure(5),
            generation: Generation(2),
            filled_at: Millis(1_000),
            fresh_ms: 100,
            stale_ms: 50,
            stale_if_error_ms: 200,
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let parts = parts(b"key", b"the value");
        let entry = Entry::new(&parts);
        assert_eq!(entry.parts(), parts);
        assert_eq!(entry.payload_bytes(), 12);
        assert_eq!(size_of::<Entry>(), size_of::<usize>());
    }

    #[test]
    fn phases_follow_one_another_at_their_exact_moments() {
        let entry = Entry::new(&parts(b"k", b"v"));
        for (now, phase, left) in [
            (0, Phase::Fresh, 100),
            (1_099, Phase::Fresh, 1),
            (1_100, Phase::Stale, 0),
            (1_149, Phase::Stale, -49),
            (1_150, Phase::StaleOnError, -50),
            (1_299, Phase::StaleOnError, -199),
            (1_300, Phase::Dead, -200),
        ] {
            assert_eq!(entry.phase(Millis(now)), phase, "at {now}");
            assert_eq!(entry.ttl_left_ms(Millis(now)), left, "at {now}");
        }
        assert_eq!(entry.ends_at(), Millis(1_300));
    }

    #[test]
    fn ending_freshness_moves_the_windows_forward_and_never_back() {
        let entry = Entry::new(&parts(b"k", b"v"));
        entry.end_freshness(Millis(1_010));
        assert_eq!(entry.phase(Millis(1_010)), Phase::Stale);
        assert_eq!(entry.ends_at(), Millis(1_210));
        entry.end_freshness(Millis(1_100));
        assert_eq!(
            entry.ends_at(),
            Millis(1_210),
            "a second expire gives no new window"
        );
    }

    #[test]
    fn lifetimes_together_stay_within_32_bits() {
        let entry = Entry::new(&EntryParts {
            fresh_ms: u32::MAX - 10,
            stale_ms: u32::MAX,
            ..parts(b"k", b"v")
        });
        assert_eq!(entry.ends_at(), Millis(1_000 + u64::from(u32::MAX)));
    }

    #[test]
    fn debug_output_keeps_key_and_value_private() {
        let shown = format!("{:?}", Entry::new(&parts(b"secret-key", b"secret-value")));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
