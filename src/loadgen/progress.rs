//! How a run goes, on stderr: on a terminal one line that is written anew each second, else a line
//! every ten seconds.

use std::io::IsTerminal;
use std::time::Duration;

use super::record::Record;
use super::table::Micros;
use super::worker::SNAPSHOT_INTERVAL;

/// Where nobody watches, every so many snapshots are one line.
const SNAPSHOTS_PER_LINE: u64 = 10;

/// Shows the progress of one run.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    end: Duration,
}

impl Progress {
    /// For a run that is to end so long after its start.
    pub(super) fn new(end: Duration) -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            end,
        }
    }

    /// Reports one second, given what it and all so far have brought.
    pub(super) fn report(&self, second: u64, last: &Record, total: &Record) {
        let is_due = second.is_multiple_of(SNAPSHOTS_PER_LINE);
        if self.is_terminal {
            write(&format!("\r\x1b[K{}", self.text(second, last, total)));
        } else if is_due {
            write(&format!("{}\n", self.text(second, last, total)));
        }
    }

    /// Leaves the line to whatever comes next.
    pub(super) fn end(&self) {
        if self.is_terminal {
            write("\r\x1b[K");
        }
    }

    fn text(&self, second: u64, last: &Record, total: &Record) -> String {
        let rate = last.answered() as f64 / SNAPSHOT_INTERVAL.as_secs_f64();
        let percent = total.replies.hit_ratio().map(|ratio| ratio * 100.0);
        let hits = percent.map_or_else(|| "no replies".into(), |hits| format!("{hits:.1} % hits"));
        let latency = |quantile| Micros(last.latency.value_at_quantile(quantile));
        let warmup = match last.warmup {
            0 => String::new(),
            warmup => format!(", warm-up {warmup}/s"),
        };
        format!(
            "{second} s of {:.0}: {rate:.0}/s{warmup}, p50 {}, p99 {}, {} errors, {hits}",
            self.end.as_secs_f64(),
            latency(0.5),
            latency(0.99),
            total.errors(),
        )
    }
}

#[expect(clippy::print_stderr, reason = "progress is for people who watch")]
fn write(text: &str) {
    eprint!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_last_second_and_all_errors() {
        let progress = Progress {
            is_terminal: false,
            end: Duration::from_secs(60),
        };
        let mut last = Record::new();
        last.latency.record(250).unwrap();
        last.statuses.insert(200, 1000);
        let mut total = last.clone();
        total.statuses.insert(503, 2);
        total.replies.hit = 9;
        total.replies.miss = 1;
        assert_eq!(
            progress.text(7, &last, &total),
            "7 s of 60: 1000/s, p50 250 µs, p99 250 µs, 2 errors, 90.0 % hits"
        );
    }
}
