//! What `raft` says goes to our log, one level lower than it thinks: an election is news here, the
//! steps of one are not.

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record};

/// A logger that writes to ours.
pub(super) fn logger() -> Logger {
    Logger::root(OurLog, slog::o!())
}

struct OurLog;

impl Drain for OurLog {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let message = record.msg();
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(%message, "raft failed"),
            Level::Warning => tracing::info!(%message, "raft warned"),
            Level::Info => tracing::debug!(%message, "raft reported"),
            Level::Debug | Level::Trace => tracing::trace!(%message, "raft reported"),
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        match level {
            Level::Critical | Level::Error => true,
            Level::Warning => tracing::enabled!(tracing::Level::INFO),
            Level::Info => tracing::enabled!(tracing::Level::DEBUG),
            Level::Debug | Level::Trace => tracing::enabled!(tracing::Level::TRACE),
        }
    }
}
