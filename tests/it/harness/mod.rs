//! What only tests drive `gcache` with: clusters that are waited for, claims, load. What benches need too is in `testkit`.

pub(crate) mod claims;
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
