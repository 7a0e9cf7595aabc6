//! The bounds of the Raft port: sizes, queues and times.

use std::time::Duration;

use super::queue::Bounds;
use crate::raft::envelope::Lane;

/// A heartbeat or vote with all that belongs to it.
pub(super) const MAX_HEARTBEAT_BYTES: usize = 64 << 10;
/// An append with its entries: as many as Raft puts in one, or a single large one.
pub(super) const MAX_APPEND_BYTES: usize = 4 << 20;
/// A snapshot. The state is a few tens of KiB.
pub(super) const MAX_SNAPSHOT_BYTES: usize = 16 << 20;
/// The part of a snapshot that travels in one message.
pub(super) const SNAPSHOT_CHUNK_BYTES: usize = 64 << 10;
/// The largest message on the wire: an append in its envelope.
pub(super) const MAX_WIRE_BYTES: usize = MAX_APPEND_BYTES + 1024;
/// The largest answer.
pub(super) const MAX_NACK_BYTES: usize = 1024;

/// What waits on the heartbeat lane of one peer: a few seconds' worth.
pub(super) const HEARTBEAT_QUEUE: Bounds = Bounds {
    messages: 64,
    bytes: 256 << 10,
};
/// What waits on the append lane of one peer: as many as Raft has in flight.
pub(super) const APPEND_QUEUE: Bounds = Bounds {
    messages: 256,
    bytes: 8 << 20,
};

/// How long a connection may take until its stream is open.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// The first pause before connecting again.
pub(super) const RECONNECT_MIN: Duration = Duration::from_millis(50);
/// The longest: an election takes one to two seconds, and needs a connection first.
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a snapshot may take, with the connection and the acknowledgement.
pub(super) const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);
/// Between two reports of the same kind about one peer; a heartbeat's interval.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(100);

/// The largest message of a lane.
#[must_use]
pub fn max_bytes(lane: Lane) -> usize {
    match lane {
        Lane::Heartbeat => MAX_HEARTBEAT_BYTES,
        Lane::Append => MAX_APPEND_BYTES,
        Lane::Snapshot => MAX_SNAPSHOT_BYTES,
    }
}
