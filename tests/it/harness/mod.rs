//! What the tests drive `gcache` with: addresses, processes, clusters, HTTP, metrics and load.

pub(crate) mod cluster;
pub(crate) mod control;
pub(crate) mod dev;
pub(crate) mod fronted;
pub(crate) mod grown;
pub(crate) mod grpc;
pub(crate) mod layout;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod setup;
pub(crate) mod versions;
