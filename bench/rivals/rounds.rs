//! How much is measured, in rounds over all rivals, and what many rounds come to.

use serde::Serialize;

/// How much is measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scale {
    /// Rounds over all rivals.
    pub(crate) repeats: usize,
    /// Of one slot.
    pub(crate) seconds: u64,
    /// Of wrk.
    pub(crate) connections: Vec<usize>,
    pub(crate) wrk_threads: usize,
}

/// The middle one; the lower of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}

/// Tells people what is going on.
#[expect(clippy::print_stderr, reason = "progress, beside the result on stdout")]
pub(crate) fn note(text: &str) {
    eprintln!("rivals: {text}");
}
