//! Why a request got no node's answer: the outcomes of `gate` and `route` that `problem` makes answers of.

/// Why no node answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// No member that may answer can be reached, or the retry budget is spent.
    Unreachable,
    /// This setting's bound was reached.
    Overloaded(&'static str),
    /// The request's deadline passed.
    Deadline,
    /// A delete was sent, and whether it was carried out is not known.
    Unknown,
    /// The members did not agree in time on which of them answers for the key.
    Unsettled,
}
