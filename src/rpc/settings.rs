//! The bounds of a pipeline, as its section of the configuration has them.

use std::time::Duration;

use super::outbox::BatchLimits;
use crate::config;
use crate::overload::shares::Bounds;

/// The bounds of a pipeline; each is a key of `[pipeline]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a ping is sent to a node that owes an answer.
    pub ping_interval: Duration,
    /// How long the node may stay silent before it counts as unreachable.
    pub ping_timeout: Duration,
    /// For the connection, and again for the stream's first answer.
    pub connect_timeout: Duration,
    /// The first pause after a lost connection; doubled each time, with jitter.
    pub reconnect_min: Duration,
    /// The longest pause.
    pub reconnect_max: Duration,
    /// Calls that may wait for answers.
    pub max_in_flight: Bounds,
    /// Calls in one message.
    pub max_batch: usize,
    /// Bytes in one message, either way.
    pub max_message_bytes: usize,
}

impl From<&config::Pipeline> for Settings {
    fn from(section: &config::Pipeline) -> Self {
        Self {
            ping_interval: section.ping_interval,
            ping_timeout: section.ping_timeout,
            connect_timeout: section.connect_timeout,
            reconnect_min: section.reconnect_min,
            reconnect_max: section.reconnect_max,
            max_in_flight: section.into(),
            max_batch: section.max_batch,
            max_message_bytes: usize::try_from(section.max_message.0).unwrap_or(usize::MAX),
        }
    }
}

impl From<&config::Pipeline> for Bounds {
    fn from(section: &config::Pipeline) -> Self {
        Self {
            in_all: section.max_in_flight,
            per_group: section.max_in_flight_per_group,
        }
    }
}

impl Settings {
    /// Returns what goes into one message: far less than its limit, so that one large value cannot make the
    /// small ones behind it wait for megabytes.
    #[must_use]
    pub fn batch(&self) -> BatchLimits {
        const SOFT_BYTES: usize = 256 << 10;
        BatchLimits {
            items: self.max_batch,
            bytes: SOFT_BYTES.min(self.max_message_bytes / 2),
        }
    }
}
