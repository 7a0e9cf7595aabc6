//! The messages of `proto/state.proto`, as prost makes them.
#![expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]

include!(concat!(env!("OUT_DIR"), "/gcache.state.v1.rs"));
