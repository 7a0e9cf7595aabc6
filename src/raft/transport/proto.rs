//! Generated from `proto/raft.proto`.
tonic::include_proto!("gcache.raft.v1");
