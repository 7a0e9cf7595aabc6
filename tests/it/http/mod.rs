//! What a client sees on the frontend's HTTP port and a node's gRPC port.

mod bodies;
mod deadlines;
mod failing_origin;
mod greedy_clients;
mod grpc;
mod keys;
mod many_keys;
mod protocol;
mod shared;
mod slow_clients;
mod stampede;
mod values;
