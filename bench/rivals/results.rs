//! What each part of the comparison came to.

use serde::Serialize;

use crate::{http, lookups, memory, misses, stampede};

/// The parts; one that was not asked for is none.
#[derive(Default, Serialize)]
pub(crate) struct Results {
    pub(crate) http: Option<Vec<http::Comparison>>,
    pub(crate) lookups: Option<Vec<lookups::Comparison>>,
    pub(crate) misses: Option<Vec<misses::Measured>>,
    pub(crate) memory: Option<Vec<memory::Measured>>,
    pub(crate) stampede: Option<Vec<stampede::Measured>>,
}
