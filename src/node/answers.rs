//! Builds answers in their wire format. No decisions are made here.

use crate::cache::{Entry, Kind};
use crate::ids::{Epoch, Millis};
use crate::rpc::proto::{Answer, Detail, Status, Via};
use crate::rpc::status;
use crate::rpc::wire::AnswerItem;

/// An answer without a value, with its reason.
pub(super) fn refusal(id: u64, status: Status, message: &str) -> AnswerItem {
    AnswerItem {
        answer: Answer {
            id,
            status: status.into(),
            message: message.to_owned(),
            ..Answer::default()
        },
        value: None,
    }
}

/// The answer to a delete or expire that was carried out.
pub(super) fn done(id: u64) -> AnswerItem {
    refusal(id, Status::Ok, "")
}

/// The answer of a node that, by its view of `epoch`, does not answer for the key.
pub(super) fn not_owner(id: u64, epoch: Epoch) -> AnswerItem {
    let mut item = refusal(id, Status::NotOwner, "another member answers for this key");
    item.answer.epoch = epoch.0;
    item
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provenance {
    pub(super) via: Via,
    pub(super) stored: bool,
    pub(super) collapsed: bool,
    pub(super) detail: Detail,
}

impl Provenance {
    /// The provenance of a value from the cache.
    pub(super) fn of(via: Via, detail: Detail) -> Self {
        Self {
            via,
            stored: false,
            collapsed: false,
            detail,
        }
    }
}

/// The answer that an entry gives: a value, the absence of one, or the reason why it could not be loaded.
pub(super) fn of_entry(id: u64, entry: Entry, provenance: Provenance, now: Millis) -> AnswerItem {
    let (status, message) = match entry.kind() {
        Kind::Value => (Status::Ok, String::new()),
        Kind::Negative => (Status::Absent, "the origin has no such key".into()),
        Kind::Error(kind) => {
            let message = entry.error().map(|error| error.message).unwrap_or_default();
            (status::of_load(kind), message)
        }
    };
    let answer = Answer {
        id,
        status: status.into(),
        via: provenance.via.into(),
        age_ms: entry.age_ms(now),
        ttl_ms: entry.ttl_left_ms(now),
        stored: provenance.stored,
        collapsed: provenance.collapsed,
        message,
        detail: provenance.detail.into(),
        ..Answer::default()
    };
    let value = (entry.kind() == Kind::Value).then_some(entry);
    AnswerItem { answer, value }
}
