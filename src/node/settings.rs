//! Derives the settings of each part of a node from the configuration.

use super::{loader, read, service};
use crate::cache::Limits;
use crate::config::Config;
use crate::rpc::outbox::BatchLimits;

/// Room in a message for everything except its values.
const MESSAGE_OVERHEAD_BYTES: usize = 64 << 10;

pub(super) fn max_message(config: &Config) -> usize {
    usize::try_from(config.pipeline.max_message.0).unwrap_or(usize::MAX)
}

pub(super) fn cache_limits(config: &Config) -> Limits {
    Limits {
        memory_bytes: config.node.memory.0,
        max_waiters_per_key: config.node.max_waiters_per_key,
        max_waiters_per_group: config.node.max_waiters_per_group,
        max_waiters: config.node.max_waiters,
    }
}

pub(super) fn loader_settings(config: &Config) -> loader::Settings {
    loader::Settings {
        timeout: config.origin.timeout,
        max_batch: config.origin.max_batch,
        max_concurrent_loads: config.origin.max_concurrent_loads,
        max_concurrent_refreshes: config.origin.max_concurrent_refreshes,
        miss_queue: config.node.miss_queue,
        miss_queue_timeout: config.node.miss_queue_timeout,
        refresh_queue: config.node.refresh_queue,
    }
}

pub(super) fn read_settings(config: &Config) -> read::Settings {
    read::Settings {
        epoch_wait: config.node.epoch_wait,
        max_deadline: config.node.max_deadline,
        max_value_bytes: max_message(config) - MESSAGE_OVERHEAD_BYTES.min(max_message(config) / 2),
    }
}

pub(super) fn service_settings(config: &Config) -> service::Settings {
    let max = max_message(config);
    service::Settings {
        batch: BatchLimits {
            items: config.pipeline.max_batch,
            bytes: max / 32,
        },
        max_in_flight: (&config.pipeline).into(),
        max_unsent_bytes: 2 * max,
    }
}
