//! What the transport counts, by lane.

use metrics::{Counter, Gauge};

use super::wire::Refusal;
use crate::metrics::Registry;
use crate::raft::envelope::Lane;

/// Why a message did not get where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The peer's queue was full: it takes less than it is sent.
    QueueFull,
    /// No connection to the peer could be made.
    Unreachable,
    /// The peer's address is not known.
    NoAddress,
    /// Larger than its lane allows, on the way out or in.
    TooLarge,
    /// Raft took nothing more, here or, for a snapshot, at the peer.
    InboxFull,
    /// Not an envelope, or not one that belongs in its stream.
    Malformed,
    /// Begun and not finished: a snapshot.
    Interrupted,
}

impl Lost {
    const ALL: [(Self, &'static str); 7] = [
        (Self::QueueFull, "queue-full"),
        (Self::Unreachable, "unreachable"),
        (Self::NoAddress, "no-address"),
        (Self::TooLarge, "too-large"),
        (Self::InboxFull, "inbox-full"),
        (Self::Malformed, "malformed"),
        (Self::Interrupted, "interrupted"),
    ];

    /// As a log or a label has it.
    pub(super) fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// As a log or a label has it.
pub(super) fn label(lane: Lane) -> &'static str {
    match lane {
        Lane::Heartbeat => "heartbeat",
        Lane::Append => "append",
        Lane::Snapshot => "snapshot",
    }
}

/// What one lane counts.
pub(super) struct OfLane {
    pub(super) sent: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) received: Counter,
    pub(super) received_bytes: Counter,
    connects: Counter,
    open: Gauge,
    lost: [Counter; Lost::ALL.len()],
}

impl OfLane {
    fn register(registry: &Registry, lane: Lane) -> Self {
        let lane = [("lane", label(lane))];
        let counter = |name, help| registry.counter(name, help, &lane);
        Self {
            sent: counter(
                "gcache_raft_sent_messages_total",
                "Raft messages given to a connection; snapshots that the peer acknowledged.",
            ),
            sent_bytes: counter("gcache_raft_sent_bytes_total", "Bytes of those messages."),
            received: counter(
                "gcache_raft_received_messages_total",
                "Raft messages from peers that Raft took.",
            ),
            received_bytes: counter(
                "gcache_raft_received_bytes_total",
                "Bytes of those messages.",
            ),
            connects: counter("gcache_raft_connects_total", "Streams opened to peers."),
            open: registry.gauge(
                "gcache_raft_connected_peers",
                "Peers to which a stream is open.",
                &lane,
            ),
            lost: Lost::ALL.map(|(_, reason)| {
                registry.counter(
                    "gcache_raft_dropped_messages_total",
                    "Raft messages that did not arrive, as far as is known here.",
                    &[lane[0], ("reason", reason)],
                )
            }),
        }
    }

    /// Counts a stream that is open for as long as the result lives.
    pub(super) fn opened(&self) -> Opened<'_> {
        self.connects.increment(1);
        self.open.increment(1.0);
        Opened(&self.open)
    }

    /// Counts `count` messages lost for `reason`.
    pub(super) fn lost(&self, reason: Lost, count: usize) {
        self.lost[reason as usize].increment(count as u64);
    }
}

/// An open stream.
pub(super) struct Opened<'a>(&'a Gauge);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// What the transport counts.
pub(super) struct Metrics {
    heartbeat: OfLane,
    append: OfLane,
    snapshot: OfLane,
    sent: [Counter; Refusal::ALL.len()],
    heard: [Counter; Refusal::ALL.len()],
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Self {
        let refusals = |side: &'static str| {
            Refusal::ALL.map(|(_, reason)| {
                registry.counter(
                    "gcache_raft_refusals_total",
                    "Refusals sent to senders, or heard from addressees.",
                    &[("side", side), ("reason", reason)],
                )
            })
        };
        Self {
            heartbeat: OfLane::register(registry, Lane::Heartbeat),
            append: OfLane::register(registry, Lane::Append),
            snapshot: OfLane::register(registry, Lane::Snapshot),
            sent: refusals("told"),
            heard: refusals("heard"),
        }
    }

    pub(super) fn lane(&self, lane: Lane) -> &OfLane {
        match lane {
            Lane::Heartbeat => &self.heartbeat,
            Lane::Append => &self.append,
            Lane::Snapshot => &self.snapshot,
        }
    }

    /// Counts a refusal that was sent to a sender.
    pub(super) fn sent_refusal(&self, refusal: Refusal) {
        self.sent[refusal as usize].increment(1);
    }

    /// Counts a refusal that this node heard.
    pub(super) fn heard(&self, refusal: Refusal) {
        self.heard[refusal as usize].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_finds_its_own_label() {
        for (place, (reason, label)) in Lost::ALL.iter().enumerate() {
            assert_eq!((*reason as usize, reason.label()), (place, *label));
        }
        for (place, (refusal, _)) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, place);
        }
    }
}
