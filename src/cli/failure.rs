//! Why a command did not succeed, and which exit code says so.

/// Why a command did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Asked wrongly: exit 2.
    Usage(String),
    /// Could not be done: exit 1.
    Failed(String),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}
