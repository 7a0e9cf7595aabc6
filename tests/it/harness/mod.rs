//! What the tests drive `gcache` with: addresses, processes, clusters, HTTP, metrics and load.

pub(crate) mod address;
pub(crate) mod cluster;
pub(crate) mod control;
pub(crate) mod dev;
pub(crate) mod disk;
pub(crate) mod fronted;
pub(crate) mod grown;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod layout;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod setup;
pub(crate) mod versions;
pub(crate) mod wait;
