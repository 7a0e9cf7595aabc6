//! Messages that nobody sent just now: of another cluster, for another node, damaged, or from long ago.

use std::sync::LazyLock;

use bytes::Bytes;
use gcache::ids::ClusterId;
use gcache::raft::envelope::Envelope;
use gcache::raft::event::Event;
use gcache::raft::filter::MAX_MESSAGE_BYTES;
use prost::Message as _;

use super::Step;
use crate::cluster;
use crate::faults::Fault;
use crate::queue::{MILLISECOND, Micros, SECOND};
use crate::violation::Checked;
use crate::wire::{self, Entry, Message, kind};
use crate::world::{Happening, World};

/// Another cluster, whose nodes had our nodes' addresses.
const OTHER: ClusterId = ClusterId(0x52);

/// How often, in a thousand, a message has a stranger after it.
const STRAYS: u32 = 30;

/// How often, in a thousand, a damaged message is too large.
const TOO_LARGE: u32 = 5;

/// How often, in a thousand, a message comes once more, long after.
const REPLAYS: u32 = 20;

/// After how long a stranger arrives.
const SOON: std::ops::Range<Micros> = MILLISECOND..3 * SECOND;

/// After how long a message comes once more.
const LONG_AFTER: std::ops::Range<Micros> = SECOND..30 * SECOND;

/// A message of too many bytes.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| vec![0; MAX_MESSAGE_BYTES + 1].into());

/// Kinds that no node sends to another, and one that is none.
const NEVER_SENT: [i32; 10] = [0, 1, 2, 10, 11, 12, 13, 15, 16, 99];

impl World {
    /// This message was sent: maybe something like it comes as well, or it comes once more.
    pub(crate) fn echo(&mut self, envelope: &Envelope) {
        if self.is_healed {
            return;
        }
        if self.is_wild(Fault::Replay) && self.dice.chance(REPLAYS) {
            let after = self.dice.within(LONG_AFTER);
            let (to, envelope) = (envelope.to.0, envelope.clone());
            self.plan_delivery(after, to, envelope);
        }
        if self.is_wild(Fault::Stray) && self.dice.chance(STRAYS) {
            let after = self.dice.within(SOON);
            let (to, envelope) = match self.dice.within(0..3) {
                0 => self.of_another_cluster(envelope),
                1 => self.for_another_node(envelope),
                _ => self.damaged(envelope),
            };
            self.plan_delivery(after, to, envelope);
        }
    }

    fn plan_delivery(&mut self, after: Micros, to: u64, envelope: Envelope) {
        let step = Step::Deliver { to, envelope };
        self.queue.push(after, Happening::Wild(step));
    }

    /// A node of another cluster says what ours might say, in a later term and about other entries.
    fn of_another_cluster(&mut self, envelope: &Envelope) -> (u64, Envelope) {
        let mut message = wire::message(&envelope.message);
        message.term += self.dice.within(0..4);
        for entry in &mut message.entries {
            entry.data = cluster::probe().encode().into();
        }
        let stray = Envelope {
            cluster: OTHER,
            message: message.encode_to_vec().into(),
            ..envelope.clone()
        };
        (envelope.to.0, stray)
    }

    /// A message reaches another node than it is for: that one has its address now.
    fn for_another_node(&mut self, envelope: &Envelope) -> (u64, Envelope) {
        let ends = [envelope.from.0, envelope.to.0];
        let others = self.up(|node| !ends.contains(&node.id));
        let to = self.dice.pick(&others).unwrap_or(envelope.from.0);
        (to, envelope.clone())
    }

    /// A message that is not as it was sent.
    fn damaged(&mut self, envelope: &Envelope) -> (u64, Envelope) {
        let message = if self.dice.chance(TOO_LARGE) {
            LARGE.clone()
        } else {
            self.damage_of(&envelope.message).into()
        };
        let stray = Envelope {
            message,
            ..envelope.clone()
        };
        self.checks.strangers.damaged(&stray);
        (envelope.to.0, stray)
    }

    fn damage_of(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut message = wire::message(bytes);
        match self.dice.within(0..7) {
            0 => return bytes[..bytes.len() - 1].to_vec(),
            1 => message.kind = self.dice.pick(&NEVER_SENT).unwrap_or_default(),
            2 => message.from += 1,
            3 => message.to += 1,
            4 => message.term = 0,
            5 => hole(&mut message),
            _ => early(&mut message),
        }
        message.encode_to_vec()
    }

    /// Something arrives that nobody sent just now.
    pub(super) fn deliver(&mut self, to: u64, envelope: Envelope) -> Checked {
        let there = self.nodes.get(&to).filter(|node| node.is_up());
        let Some(start) = there.map(|node| node.start) else {
            return Ok(());
        };
        let is_replay = self.is_wild(Fault::Replay);
        self.seen.add(match is_replay && envelope.to.0 == to {
            true => Fault::Replay,
            false => Fault::Stray,
        });
        self.trace.note(&[envelope.from.0, to]);
        self.give(to, start, Event::Receive(envelope))
    }
}

/// Makes it entries of which one is missing.
fn hole(message: &mut Message) {
    message.kind = kind::APPEND;
    message.entries = vec![Entry {
        term: message.term,
        index: message.index + 2,
        ..Entry::default()
    }];
}

/// Makes it an entry of a term that has not begun.
fn early(message: &mut Message) {
    message.kind = kind::APPEND;
    message.entries = vec![Entry {
        term: message.term + 1,
        index: message.index + 1,
        ..Entry::default()
    }];
}
