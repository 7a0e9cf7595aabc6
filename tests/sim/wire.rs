//! Raft's messages and hard state as the checkers read them, by their field numbers: a second reader,
//! so that a mistake of the driver's own is not made here too.

use prost::Message as _;

/// The kinds of messages, as numbered in `eraftpb.proto`.
pub(crate) mod kind {
    pub(crate) const APPEND: i32 = 3;
    pub(crate) const APPEND_RESPONSE: i32 = 4;
    pub(crate) const REQUEST_VOTE: i32 = 5;
    pub(crate) const REQUEST_VOTE_RESPONSE: i32 = 6;
    pub(crate) const SNAPSHOT: i32 = 7;
    pub(crate) const HEARTBEAT: i32 = 8;
    pub(crate) const HEARTBEAT_RESPONSE: i32 = 9;
    pub(crate) const TIMEOUT_NOW: i32 = 14;
    pub(crate) const REQUEST_PRE_VOTE: i32 = 17;
    pub(crate) const REQUEST_PRE_VOTE_RESPONSE: i32 = 18;
}

/// `eraftpb.Message`, as far as it is looked at.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) to: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) from: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) log_term: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) index: u64,
    #[prost(message, repeated, tag = "7")]
    pub(crate) entries: Vec<Entry>,
    #[prost(uint64, tag = "8")]
    pub(crate) commit: u64,
    #[prost(message, optional, tag = "9")]
    pub(crate) snapshot: Option<Snapshot>,
    #[prost(bool, tag = "10")]
    pub(crate) is_rejected: bool,
}

/// `eraftpb.Entry`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) index: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) data: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) context: Vec<u8>,
}

/// `eraftpb.Snapshot`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Snapshot {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(crate) metadata: Option<SnapshotMetadata>,
}

/// `eraftpb.SnapshotMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotMetadata {
    #[prost(message, optional, tag = "1")]
    pub(crate) quorum: Option<ConfState>,
    #[prost(uint64, tag = "2")]
    pub(crate) index: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) term: u64,
}

/// `eraftpb.ConfState`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ConfState {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    pub(crate) voters_outgoing: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    pub(crate) learners_next: Vec<u64>,
}

/// `eraftpb.HardState`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct HardState {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) vote: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) commit: u64,
}

/// The message in these bytes.
pub(crate) fn message(bytes: &[u8]) -> Message {
    Message::decode(bytes).expect("a driver sends Raft messages")
}

/// The hard state in these bytes.
pub(crate) fn hard_state(bytes: &[u8]) -> HardState {
    HardState::decode(bytes).expect("a driver writes a hard state")
}

impl Message {
    /// The message in a line, for people.
    pub(crate) fn told(&self) -> String {
        let name = match self.kind {
            kind::APPEND => "append",
            kind::APPEND_RESPONSE => "append response",
            kind::REQUEST_VOTE => "request vote",
            kind::REQUEST_VOTE_RESPONSE => "vote",
            kind::SNAPSHOT => "snapshot",
            kind::HEARTBEAT => "heartbeat",
            kind::HEARTBEAT_RESPONSE => "heartbeat response",
            kind::REQUEST_PRE_VOTE => "request pre-vote",
            kind::REQUEST_PRE_VOTE_RESPONSE => "pre-vote",
            kind::TIMEOUT_NOW => "timeout now",
            _ => "other",
        };
        let rejected = if self.is_rejected { " rejected" } else { "" };
        format!(
            "{name}{rejected} in term {}, index {} of term {}, {} entries, commit {}",
            self.term,
            self.index,
            self.log_term,
            self.entries.len(),
            self.commit
        )
    }
}
