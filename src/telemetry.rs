//! Logs: one subscriber per process, on stderr, so that stdout holds nothing but results.
//!
//! A line that cannot be written is lost and counted: a full disk or a reader that has left costs lines, and no
//! task.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use metrics::Counter;
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::metrics::Registry;

/// The filter directive cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "process.log: {directive:?} is not a log filter ({reason}); examples: info, warn,gcache=debug"
)]
pub struct BadFilter {
    directive: String,
    reason: String,
}

/// The lines that could not be written. Clones count together.
#[derive(Clone, Default)]
pub struct LostLines(Arc<Mutex<Lost>>);

#[derive(Default)]
struct Lost {
    /// Lost before there was a counter.
    before: u64,
    counter: Option<Counter>,
}

impl LostLines {
    /// Counts them in `registry` from now on, those of before too.
    pub fn register(&self, registry: &Registry) {
        let counter = registry.counter(
            "gcache_process_lost_lines_total",
            "Lines of the log that could not be written.",
            &[],
        );
        let mut lost = self.0.lock();
        counter.increment(std::mem::take(&mut lost.before));
        lost.counter = Some(counter);
    }

    fn add(&self) {
        let mut lost = self.0.lock();
        match &lost.counter {
            Some(counter) => counter.increment(1),
            None => lost.before += 1,
        }
    }
}

/// Writes each line whole to `W`, or loses it.
#[derive(Clone)]
struct Lines<W> {
    out: W,
    lost: LostLines,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.out.write_all(line).is_err() {
            self.lost.add();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _lost = self.out.flush();
        Ok(())
    }
}

/// Makes the writer of each line.
struct Stderr(LostLines);

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Lines<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines {
            out: io::stderr(),
            lost: self.0.clone(),
        }
    }
}

/// Starts logging to stderr with the filter `directive`, as text or as one JSON object a line.
///
/// A second call in one process changes nothing, so that tests may each call it.
///
/// # Errors
/// [`BadFilter`].
pub fn start(directive: &str, json: bool) -> Result<LostLines, BadFilter> {
    let filter = EnvFilter::try_new(directive).map_err(|error| BadFilter {
        directive: directive.to_owned(),
        reason: error.to_string(),
    })?;
    let lost = LostLines::default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Stderr(lost.clone()))
        // It would report on stderr that stderr fails, and panic.
        .log_internal_errors(false)
        .with_target(false);
    // The result only says that a subscriber stands already.
    let _already = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).try_init()
    };
    Ok(lost)
}

/// Writes one line to stderr, or loses it: `eprintln!` would panic where nobody reads.
pub fn complain(text: &str) {
    let _lost = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_costs_nothing() {
        let (lost, registry) = (LostLines::default(), Registry::new());
        let mut lines = Lines {
            out: Broken,
            lost: lost.clone(),
        };
        writeln!(lines, "before").unwrap();
        lost.register(&registry);
        writeln!(lines, "after").unwrap();
        lines.flush().unwrap();
        let shown = registry.render();
        assert!(
            shown.contains("gcache_process_lost_lines_total 2\n"),
            "{shown}"
        );
    }
}
