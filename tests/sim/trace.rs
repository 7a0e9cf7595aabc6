//! The history of a run: a running hash of all of it, and the last lines for people.
//!
//! Lines are only made when somebody is going to read them: a run that failed is run again.

use std::collections::VecDeque;
use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::queue::Micros;

/// How many lines are kept for the report of a violation.
const LINES: usize = 60;

/// What happened, for comparison and for people.
pub(crate) struct Trace {
    hash: u64,
    is_told: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty history; with `is_told` its last lines are kept.
    pub(crate) fn new(is_told: bool) -> Self {
        Self {
            hash: 0,
            is_told,
            lines: VecDeque::new(),
        }
    }

    /// The hash of all that happened so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Adds numbers to the history.
    pub(crate) fn note(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.bytes(&number.to_le_bytes());
        }
    }

    /// Adds bytes to the history.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.hash = xxh3_64_with_seed(bytes, self.hash);
    }

    /// Whether lines are kept.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Keeps a line, if lines are kept.
    pub(crate) fn tell(&mut self, now: Micros, line: fmt::Arguments<'_>) {
        if !self.is_told {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>9} µs  {line}", now));
    }

    /// The last lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
