//! Logs: one subscriber per process, on stderr, so that stdout holds nothing but results.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The filter directive cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "process.log: {directive:?} is not a log filter ({reason}); examples: info, warn,gcache=debug"
)]
pub struct BadFilter {
    directive: String,
    reason: String,
}

/// Starts logging to stderr with the filter `directive`, as text or as one JSON object a line.
///
/// A second call in one process changes nothing, so that tests may each call it.
///
/// # Errors
/// [`BadFilter`].
pub fn start(directive: &str, json: bool) -> Result<(), BadFilter> {
    let filter = EnvFilter::try_new(directive).map_err(|error| BadFilter {
        directive: directive.to_owned(),
        reason: error.to_string(),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // The result only says that a subscriber stands already.
    let _already = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
    };
    Ok(())
}
