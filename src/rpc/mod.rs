//! gRPC on port 8001: the generated code, the pipeline's two ends, the server with its limits, and
//! the only place where errors and the wire's status numbers meet.

#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]
pub mod proto {
    //! Generated from `proto/cache.proto`.
    tonic::include_proto!("gcache.v1");

    /// What server reflection serves.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
}

#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]
pub mod control_proto {
    //! Generated from `proto/control.proto`.
    tonic::include_proto!("gcache.control.v1");
}

mod connect;
pub mod control;
pub mod explain;
pub mod leader;
mod liveness;
pub mod outbox;
mod pending;
pub mod pipeline;
pub mod server;
mod settings;
pub mod status;
mod stream;
pub mod transfer;
pub mod wire;
